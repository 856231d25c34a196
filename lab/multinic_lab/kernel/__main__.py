"""``python -m multinic_lab.kernel [options] -- COMMAND …``: run a command in the lab kernel as if it ran
here."""

import argparse
import os
import sys
from pathlib import Path

from ..provision import tools
from .supervisor import Order, Supervisor
from .uml import kept_folders


def main() -> int:
    """The command's exit status; 124 when the time was up, 125 when the lab kernel failed."""
    parser = argparse.ArgumentParser(prog="python -m multinic_lab.kernel", description=main.__doc__)
    parser.add_argument("--memory", type=int, default=1024, metavar="MIB", help="memory of the guest (default 1024)")
    parser.add_argument(
        "--timeout", type=float, default=600, metavar="SECONDS", help="end the guest after this (default 600)"
    )
    parser.add_argument(
        "--grace", type=float, default=10, metavar="SECONDS", help="between SIGTERM and the end (default 10)"
    )
    parser.add_argument("--control", type=Path, metavar="SOCKET", help="unix socket for connections into the guest")
    parser.add_argument(
        "--keep", type=Path, action="append", default=[], metavar="FOLDER", help="stays visible under /tmp or /run"
    )
    parser.add_argument("argv", nargs="+", metavar="COMMAND")
    options = parser.parse_args()
    try:
        order = Order(
            options.argv,
            tools.environment() | {"COLUMNS": os.environ.get("COLUMNS", "120")},
            Path.cwd(),
            options.memory,
            options.timeout,
            options.grace,
            options.control,
            kept_folders(Path.cwd(), *options.keep),
        )
        return Supervisor(order).run()
    except tools.ToolMissingError as error:
        sys.stderr.write(f"lab kernel: {error}\n")
        return 125


if __name__ == "__main__":
    sys.exit(main())
