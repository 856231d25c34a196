"""constraints.txt: one pinned version per package that the development environment really resolved to, and
nothing else.

No index addresses, no options, no paths: the file works with whatever package index the machine's pip is set
up for.
"""

import re
import subprocess
from pathlib import Path

PIN = re.compile(r"^[a-z0-9][a-z0-9._-]*==[A-Za-z0-9.+!_-]+$")
OURS = "multinic"
HEADER = "# Versions that are tested together. Rewrite with 'make constraints'; passed to pip with -c.\n"


def faults(text: str) -> list[str]:
    """One line for each line of `text` that is neither a pin, a comment nor empty; and for packages that have
    no business here."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            if "://" in line:
                found.append(f"line {number}: an address in a comment: {line!r}")
        elif not PIN.match(line):
            found.append(f"line {number}: expected NAME==VERSION in lower case, found {line!r}")
        elif line.startswith(("torch==", "nvidia-")):
            found.append(f"line {number}: {line!r} has no business here")
    return found


def resolved(python: Path) -> str:
    """The file's text for the environment of `python`: every installed distribution but ours and the
    installer's own."""
    code = (
        "from importlib.metadata import distributions as d; "
        "print('\\n'.join(sorted({f'{x.name.lower().replace(\"_\", \"-\")}=={x.version}' for x in d()})))"
    )
    listed = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.split()
    kept = [pin for pin in listed if not pin.startswith((OURS, "pip==", "setuptools=="))]
    return HEADER + "\n".join(kept) + "\n"
