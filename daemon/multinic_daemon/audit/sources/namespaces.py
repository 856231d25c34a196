"""Which network namespaces this node has, and what became of those that the journal names by path.

A namespace lives as long as a process is in it or a file is mounted from it, so both are looked through. Two paths that
lead to one inode lead to one namespace. That a path leads nowhere proves something only where this process could have
seen it: in the folder that it names, and for paths under /proc in the node's own process namespace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from multinic_daemon.audit.world import Sandbox

NETNS_FOLDERS = (Path("/run/netns"), Path("/run/docker/netns"))
"""Where runtimes and ``ip netns`` mount namespaces; /var/run is /run."""
PROC = Path("/proc")
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC
"""Inode of the first process namespace of a machine. Source: linux/proc_ns.h, PROC_PID_INIT_INO."""


def find_sandboxes(paths: Iterable[str]) -> dict[str, Sandbox]:
    """What each path leads to; blocking."""
    return {path: _sandbox(path) for path in paths}


def find_namespaces(sandboxes: Mapping[str, Sandbox]) -> tuple[dict[int, str], int]:
    """Inode of every network namespace to a path that leads there, the journal's own path where it has one.

    Returns:
        Those, and how many processes this one may not look into.
    """
    found = {sandbox.inode: path for path, sandbox in sandboxes.items() if sandbox.inode is not None}
    device, hidden = _device(), 0
    mounts = (path for folder in NETNS_FOLDERS if folder.is_dir() for path in sorted(folder.iterdir()))
    processes = (path for path in PROC.iterdir() if path.name.isdecimal())
    for path in (*mounts, *(process / "ns/net" for process in processes)):
        try:
            status = path.stat()
        except PermissionError:
            hidden += path.parent.is_dir()  # the kernel says so of a process that has just ended, too
        except OSError:
            continue  # ended or unmounted while we look
        else:
            if status.st_dev == device:  # or it is what is left of an unmounted one
                found.setdefault(status.st_ino, str(path))
    return found, hidden


def _device() -> int:
    """The file system of namespaces."""
    return (PROC / "self/ns/net").stat().st_dev


def _sandbox(path: str) -> Sandbox:
    if not path:
        return Sandbox(None, "the row names no path")
    file = Path(path)
    try:
        status = file.stat()
    except FileNotFoundError:
        return Sandbox(None, _unsure(file))
    except OSError as error:
        return Sandbox(None, f"{path}: {error.strerror}")
    if status.st_dev == _device():
        return Sandbox(status.st_ino)
    return Sandbox(None, f"{path} is a plain file: unmounted, or mounted where this process does not see it")


def _unsure(file: Path) -> str:
    """Why a missing file may still be there for others, or ""."""
    if file.is_relative_to(PROC):
        initial = (PROC / "self/ns/pid").stat().st_ino == _INITIAL_PID_NAMESPACE
        return "" if initial else f"{file} is not there, but this process does not see all of the node's processes"
    if not file.parent.is_dir():
        return f"{file} is not there, but neither is its folder: this process may not see the node's mounts"
    return ""
