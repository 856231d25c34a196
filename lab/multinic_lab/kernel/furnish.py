"""Turn the bare guest into a usable machine: file systems over hostfs, devices, kernel modules.

Runs in the guest before anything else, in the agent's process: a system call here costs microseconds where
starting ``mount`` costs 60 ms. Standard library only.
"""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

MS_BIND, MS_MOVE = 4096, 8192
"""Source: linux/mount.h."""

COVERED = {"/run": "mode=0755", "/tmp": "mode=1777"}  # noqa: S108 - mount points of the guest
"""Folders that become tmpfs in the guest, with their mount data."""
MODULES = ("ipv6", "veth", "bridge", "ipvlan", "macvlan", "8021q", "vrf", "dummy", "bonding")
"""Loaded at boot; everything else loads when it is asked for, through the kernel's own module loader."""


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError naming both ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), kind.encode() or None, flags, data.encode() or None):
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} on {target}: {os.strerror(number)}")


def furnish(folder: str, keep: Sequence[str], modules: Sequence[str] = MODULES) -> None:
    """Mount everything and load `modules`; `folder` is the machine's own and has its ``modprobe``, `keep` are the host
    folders that stay visible.

    Raises:
        OSError: a mount failed that nothing works without.
    """
    for kind, target in (("proc", "/proc"), ("sysfs", "/sys")):
        mount(kind, target, kind)
    for target in ("/dev/shm", "/dev/pts", "/dev/kept"):  # noqa: S108 - mount points of the guest
        Path(target).mkdir(exist_ok=True)
    mount("tmpfs", "/dev/shm", "tmpfs")  # noqa: S108
    # Nice to have: not every build of the kernel has them.
    for kind, target in (("cgroup2", "/sys/fs/cgroup"), ("bpf", "/sys/fs/bpf"), ("devpts", "/dev/pts")):
        with contextlib.suppress(OSError):
            mount(kind, target, kind)
    with contextlib.suppress(FileExistsError):
        Path("/dev/fd").symlink_to("/proc/self/fd")
    _cover(keep)
    for path in ("/run/lock", "/run/netns"):
        Path(path).mkdir()
    Path("/proc/sys/kernel/modprobe").write_text(f"{folder}/modprobe")
    subprocess.run([f"{folder}/modprobe", "-a", *modules], stdin=subprocess.DEVNULL, check=True)


def _cover(keep: Sequence[str]) -> None:
    """tmpfs over `COVERED`; what must stay visible below is carried across on a bind mount."""
    kept = [path for path in keep if any(Path(path).is_relative_to(top) for top in COVERED)]
    for number, path in enumerate(kept):
        Path(f"/dev/kept/{number}").mkdir()
        mount(path, f"/dev/kept/{number}", flags=MS_BIND)
    for top, data in COVERED.items():
        mount("tmpfs", top, "tmpfs", data=data)
    for number, path in enumerate(kept):
        Path(path).mkdir(parents=True, exist_ok=True)
        mount(f"/dev/kept/{number}", path, flags=MS_MOVE)
