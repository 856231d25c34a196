"""One User Mode Linux machine: its command line, its init script and its private folder.

The guest's root file system is the host's (hostfs), seen with the rights of whoever started it; inside, that
user is uid 0. What must be fast, private or is in the way on hostfs is laid over it: tmpfs on /run and /tmp
(except the parts of them that the command needs: its working folder, its interpreter, the tools), proc,
sysfs, devtmpfs, cgroup2 and bpffs.

Mind: the guest caches what it has read, so a host file changed later may look unchanged inside.
"""

import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from ..provision import tools
from .mux import MTU, RING

MODULE_OPTIONS = """options bonding max_bonds=0
options dummy numdummies=0
options ifb numifbs=0
"""
"""Loading a module makes no link by itself, on every machine alike (the machine's own modprobe.d is not
read)."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What to boot."""

    folder: Path
    """Private, existing; seen by the guest at the same path."""
    memory_mb: int


def command_line(machine: Machine, wire_descriptor: int, console_descriptor: int) -> list[str]:
    """The User Mode Linux command; writes the init script and the module folder into the machine's folder.

    `console_descriptor` gets the kernel's and init's messages, `wire_descriptor` is one end of a SEQPACKET
    socket pair.

    Raises:
        ToolMissingError: User Mode Linux or kmod is not there.
    """
    kernel = tools.find("linux.uml")
    modules = _uml_modules(kernel)
    write_modprobe(machine.folder, modules)
    _write_script(machine.folder / "init", _init_lines(machine))
    return [
        str(kernel),
        f"mem={machine.memory_mb}M",
        "root=/dev/root",
        "rootfstype=hostfs",
        "rootflags=/",
        "rw",
        "quiet",
        "loglevel=4",
        "panic=-1",
        f"uml_dir={machine.folder}",
        "umid=uml",
        "con=null",
        f"con0=null,fd:{console_descriptor}",
        "ssl=null",
        f"vec0:transport=fd,fd={wire_descriptor},mtu={MTU},depth={RING}",
        f"init={machine.folder / 'init'}",
    ]


def memory_folder(memory_mb: int, fallback: Path) -> Path:
    """Where the guest's memory file goes: /dev/shm when it has the room, else `fallback` (slower, but never a
    bus error)."""
    shared = Path("/dev/shm")  # noqa: S108 - the file is made and unlinked by User Mode Linux itself
    try:
        if os.access(shared, os.W_OK | os.X_OK) and shutil.disk_usage(shared).free > (memory_mb + 64) << 20:
            return shared
    except OSError:
        pass
    return fallback


def _uml_modules(kernel: Path) -> Path:
    """Debian installs ``bin/linux.uml`` and ``lib/uml/modules`` under one prefix, on the machine or
    unpacked."""
    modules = kernel.parent.parent / "lib" / "uml" / "modules"
    if not modules.is_dir():
        raise tools.ToolMissingError(
            f"{modules} is missing beside {kernel}: unpack the Debian package user-mode-linux again"
        )
    return modules


def write_modprobe(folder: Path, modules: Path) -> None:
    """Write ``modprobe`` into the folder of a machine that has these modules; the guest's kernel calls it too.

    Args:
        folder: as `Machine.folder`.
        modules: holds a folder for each version of a kernel.

    Raises:
        ToolMissingError: kmod is not there.
    """
    (folder / "lib").mkdir()
    (folder / "lib" / "modules").symlink_to(modules)
    (folder / "modprobe.d").mkdir()
    (folder / "modprobe.d" / "lab.conf").write_text(MODULE_OPTIONS)
    # The kernel starts it with an environment of its own, so it brings the libraries' folder along.
    libraries = tools.environment().get("LD_LIBRARY_PATH", "")
    lines = [f"export LD_LIBRARY_PATH={shlex.quote(libraries)}"] if libraries else []
    command = shlex.join([str(tools.find("modprobe")), "-C", f"{folder}/modprobe.d", "-d", str(folder)])
    _write_script(folder / "modprobe", [*lines, f'exec {command} "$@"'])


def _write_script(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o700)


def _init_lines(machine: Machine) -> list[str]:
    """The guest's init. It must not end (the kernel would panic), so it powers off after the agent, whatever
    became of it."""
    environment = tools.environment()
    return [
        *(
            f"export {name}={shlex.quote(environment[name])}"
            for name in ("PATH", "LD_LIBRARY_PATH")
            if name in environment
        ),
        _agent_command(machine),
        "[ -e /proc/sysrq-trigger ] || mount -t proc proc /proc",
        "echo o > /proc/sysrq-trigger",
        "while :; do sleep 60; done",
    ]


def _agent_command(machine: Machine) -> str:
    package = Path(__file__).resolve().parent
    code = f"import sys; sys.path.insert(0, {str(package.parent)!r}); from {package.name}.agent import main; main()"
    return shlex.join([sys.executable, "-I", "-S", "-B", "-c", code, str(machine.folder / "order.json")])


def kept_folders(*more: Path) -> tuple[Path, ...]:
    """Folders a command needs even where the guest covers them: this program, its interpreter, the tools, and
    `more`."""
    wanted = {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).resolve().parents[2], *more}
    wanted |= {Path(entry).resolve() for entry in sys.path if entry and os.path.isdir(entry)}  # noqa: PTH112 - a plain test
    wanted |= set(tools.folders())
    ordered = sorted(path.resolve() for path in wanted)
    return tuple(path for path in ordered if not any(path != other and path.is_relative_to(other) for other in ordered))
