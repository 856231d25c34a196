"""``python3 -m provision WHAT`` with ``lab/multinic_lab`` on the path: what the Makefile's stamps run.

Each command does its work once more, whole: deciding whether it is needed is make's part.
"""

import argparse
import fcntl
import sys
import time
from collections.abc import Callable

from . import apart, constraints, debian, emulator, tools, venv


def _venv() -> str:
    venv.install(tools.checkout())
    return "virtual environment ready"


def _tools() -> str:
    debian.unpack(debian.PACKAGES, tools.checkout() / ".tools")
    for name in tools.PACKAGES:
        tools.find(name)
    apart.say(apart.unpack(tools.checkout() / ".tools"))
    return "Debian tools unpacked"


def _emulator() -> str:
    emulator.unpack(tools.checkout() / ".tools", tools.find("depmod"), tools.environment())
    return "emulated PC unpacked"


def _constraints() -> str:
    checkout = tools.checkout()
    python = venv.install(checkout, constrained=False)
    text = constraints.resolved(python)
    (checkout / "constraints.txt").write_text(text)
    return f"constraints.txt written, {text.count('==')} versions"


def _check() -> str:
    found = constraints.faults((tools.checkout() / "constraints.txt").read_text())
    if found:
        raise debian.ProvisionError("constraints.txt: " + "; ".join(found))
    return "constraints.txt: only pins"


COMMANDS: dict[str, Callable[[], str]] = {
    "venv": _venv,
    "tools": _tools,
    "emulator": _emulator,
    "constraints": _constraints,
    "check": _check,
}


def main() -> int:
    """0 when done; 1 with one message on stderr."""
    parser = argparse.ArgumentParser(prog="provision", description=__doc__)
    parser.add_argument("command", choices=sorted(COMMANDS))
    command = parser.parse_args().command
    lock_folder = tools.checkout() / ".tools"
    lock_folder.mkdir(exist_ok=True)
    with (lock_folder / "lock").open("w") as lock:
        # Two makes at once take turns; the second finds the work done or does it over.
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = time.monotonic()
        try:
            said = COMMANDS[command]()
        except (debian.ProvisionError, tools.ToolMissingError) as error:
            sys.stderr.write(f"provision {command}: {error}\n")
            return 1
    sys.stderr.write(f"{said} ({time.monotonic() - started:.1f} s)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
