"""Where the outside programs are: the checkout's unpacked Debian packages first, then the machine.

`find` gives a path and `environment` what a process needs to run them (PATH, LD_LIBRARY_PATH). The unpacked
folder is ``.tools/debian`` of the checkout this file belongs to, or what ``MULTINIC_TOOLS`` names. Standard
library only; nothing here installs anything.
"""

import os
import shutil
from pathlib import Path

from . import apart

PACKAGES = {
    "linux.uml": "user-mode-linux",
    "modprobe": "kmod",
    "depmod": "kmod",
    "ip": "iproute2",
    "tc": "iproute2",
    "bridge": "iproute2",
    "ping": "iputils-ping",
    "iperf3": "iperf3",
    "macvlan": "containernetworking-plugins",
    "host-local": "containernetworking-plugins",
    "ipvlan": "containernetworking-plugins",
    "podman": "podman",
    "conmon": "conmon",
    "crun": "crun",
    "busybox": "busybox-static",
}
"""Program to the Debian package that holds it."""

_PROGRAM_FOLDERS = ("usr/sbin", "usr/bin", "sbin", "bin", "usr/lib/cni")
_MACHINE_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/lib/cni")
_CNI = "usr/lib/cni"


class ToolMissingError(Exception):
    """A program of another package is not there; the message names the package and the command that gets
    it."""


def checkout() -> Path:
    """The checkout this file belongs to (installed as editable), or the folder above when it is installed
    otherwise."""
    return Path(__file__).resolve().parents[3]


def folders() -> list[Path]:
    """The unpacked folder, if there is one: ``$MULTINIC_TOOLS`` or the checkout's ``.tools/debian``."""
    named = os.environ.get("MULTINIC_TOOLS")
    candidate = Path(named) if named else checkout() / ".tools" / "debian"
    return [candidate.resolve()] if candidate.is_dir() else []


def find(name: str) -> Path:
    """The absolute path of program `name`.

    Raises:
        ToolMissingError: it is neither unpacked nor on the machine.
    """
    for folder in folders():
        for sub in _PROGRAM_FOLDERS:
            if os.access(candidate := folder / sub / name, os.X_OK):
                return candidate
        if (script := apart.find(folder.parent, name)) is not None:
            return script
    search = os.pathsep.join([os.environ.get("PATH", ""), *_MACHINE_FOLDERS])
    if (found := shutil.which(name, path=search)) is not None:
        return Path(found).absolute()
    package = (PACKAGES | apart.PROGRAMS).get(name, name)
    raise ToolMissingError(
        f"{name!r} (Debian package {package!r}) is neither under {checkout() / '.tools'} nor on this machine: "
        "run 'make tools'"
    )


def environment() -> dict[str, str]:
    """This process's environment with PATH and LD_LIBRARY_PATH such that `find`'s programs run by name and
    load their libraries."""
    found = dict(os.environ)
    programs = [str(folder / sub) for folder in folders() for sub in _PROGRAM_FOLDERS if sub != _CNI]
    inherited = [entry for entry in found.get("PATH", os.defpath).split(os.pathsep) if entry]
    found["PATH"] = os.pathsep.join(dict.fromkeys([*programs, *inherited, *_MACHINE_FOLDERS[:-1]]))
    if libraries := library_folders():
        more = [entry for entry in found.get("LD_LIBRARY_PATH", "").split(os.pathsep) if entry]
        found["LD_LIBRARY_PATH"] = os.pathsep.join(dict.fromkeys([*libraries, *more]))
    return found


def library_folders() -> list[str]:
    """Folders of unpacked shared libraries, those of the machine's architecture included."""
    out = []
    for folder in folders():
        for base in (folder / "usr" / "lib", folder / "lib"):
            out += [str(path) for path in (base, *sorted(base.glob("*-linux-*"))) if any(path.glob("*.so*"))]
    return out
