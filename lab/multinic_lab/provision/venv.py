"""The virtual environment: every distribution of this checkout, editable, with versions from constraints.txt.

Works without Debian's python3-venv: the environment is then made without pip, and pip comes from the package
python3-pip-whl.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from . import debian

DISTRIBUTIONS = (
    ".[dev]",
    "plugins/ipvlan",
    "plugins/macvlan",
    "plugins/sriov",
    "plugins/host-device",
    "plugins/aws-ipvlan[aws]",
    "plugins/delegate",
    "plugins/policies",
    "operator",
    "daemon",
    "cni",
    "lab",
)
BUILD = ("hatchling", "editables")
"""Build requirements, installed first: one environment for all builds, not a fresh download for each."""


def install(checkout: Path, *, constrained: bool = True) -> Path:
    """Make or update ``.venv`` in `checkout`; return its interpreter. Blocking; needs the package index.

    Raises:
        ProvisionError: python3 is too old, or a step fails; pip's own words have been printed.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - this runs with whatever python3 the machine has
        raise debian.ProvisionError(f"python3 is {sys.version.split()[0]}; 3.11 or newer is needed")
    python = checkout / ".venv" / "bin" / "python"
    if not _has_pip(python):
        _make(checkout / ".venv", checkout / ".tools")
    constraints = ["-c", "constraints.txt"] if constrained else []
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input", *constraints]
    _step([*pip, *BUILD], checkout)
    editable = [part for name in DISTRIBUTIONS for part in ("-e", name if name.startswith(".") else f"./{name}")]
    _step([*pip, "--no-build-isolation", *editable], checkout)
    return python


def _has_pip(python: Path) -> bool:
    if not python.exists():
        return False
    return not subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode


def _make(target: Path, tools: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    done = subprocess.run([sys.executable, "-m", "venv", str(target)], capture_output=True, text=True, check=False)
    if not done.returncode and _has_pip(target / "bin" / "python"):
        return
    shutil.rmtree(target, ignore_errors=True)
    _step([sys.executable, "-m", "venv", "--without-pip", str(target)], tools.parent)
    unpacked = debian.unpack(["python3-pip-whl"], tools, folder="pip")
    wheels = sorted((unpacked / "usr" / "share" / "python-wheels").glob("pip-*.whl"))
    if not wheels:
        raise debian.ProvisionError(
            "Debian's python3-pip-whl holds no pip wheel: install python3-venv, then run this again"
        )
    python = str(target / "bin" / "python")
    # A wheel of pip can run itself: a path into it is an importable package with a __main__.
    _step(
        [python, f"{wheels[-1]}/pip", "install", "-q", "--no-index", "--disable-pip-version-check", str(wheels[-1])],
        tools.parent,
    )
    shutil.rmtree(unpacked)


def _step(command: list[str], folder: Path) -> None:
    environment = {
        key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    }
    if subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, env=environment, check=False).returncode:
        raise debian.ProvisionError(f"failed: {' '.join(command)}")
