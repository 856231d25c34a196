"""The forms that executables are installed in, from the slowest start to the quickest."""

import sys
from pathlib import Path

from multinic_cni.first_stage import gather_first_stage
from multinic_cni.install import install, install_self_contained
from multinic_lab.provision import tools

from harness.report import BenchError

USUAL, PRIVATE, QUICK = "usual", "self-contained", "first-stage"
FORMS = (USUAL, PRIVATE, QUICK)
"""With the host's interpreter; with a private copy of it; with that and a first stage on MicroPython."""


def available() -> tuple[str, ...]:
    """Those that can be had here; what is missing is said on stderr."""
    try:
        tools.find("micropython")
    except tools.ToolMissingError as error:
        sys.stderr.write(f"without the form {QUICK!r}: {error}\n")
        return (USUAL, PRIVATE)
    return FORMS


def install_form(form: str, folder: Path, socket: Path, interpreter: Path | None = None) -> Path:
    """Install the executables in this form; gives `multi-nic`.

    Raises:
        BenchError: that cannot be done here.
    """
    try:
        if form == USUAL:
            return install(folder, socket, interpreter)[0]
        first_stage = gather_first_stage(tools.find("micropython")) if form == QUICK else None
        return install_self_contained(folder, socket, interpreter, first_stage=first_stage)[0]
    except (ValueError, tools.ToolMissingError) as error:
        raise BenchError(str(error)) from error
