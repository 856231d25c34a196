"""What became of the network namespaces that the journal names by path.

That a path leads nowhere proves something only where this process could have seen it: in the folder that it names, and
for paths under /proc in the node's own process namespace.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from multinic_daemon.audit.world import Sandbox
from multinic_daemon.podlinks.namespaces import PROC, namespace_device

_INITIAL_PID_NAMESPACE = 0xEFFFFFFC
"""Inode of the first process namespace of a machine. Source: linux/proc_ns.h, PROC_PID_INIT_INO."""


def find_sandboxes(paths: Iterable[str]) -> dict[str, Sandbox]:
    """What each path leads to; blocking."""
    return {path: _sandbox(path) for path in paths}


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
    if status.st_dev == namespace_device():
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
