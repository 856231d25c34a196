"""``python -m multinic_lab.emulator [options] -- COMMAND …``: run a command in the emulated PC, as uid 0 there."""

import argparse
import sys

from ..kernel.supervisor import GUEST_FAILED
from ..provision import tools
from .run import run_in_pc


def main() -> int:
    """The command's exit status; 124 when the time was up, 125 when the PC failed."""
    parser = argparse.ArgumentParser(prog="python -m multinic_lab.emulator", description=main.__doc__)
    parser.add_argument(
        "--timeout", type=float, default=600, metavar="SECONDS", help="end the PC after this (default 600)"
    )
    parser.add_argument("argv", nargs="+", metavar="COMMAND")
    options = parser.parse_args()
    try:
        return run_in_pc(options.argv, timeout_seconds=options.timeout)
    except tools.ToolMissingError as error:
        sys.stderr.write(f"emulated PC: {error}\n")
        return GUEST_FAILED


if __name__ == "__main__":
    sys.exit(main())
