"""Which network namespaces this node has.

A namespace lives as long as a file is mounted on it, as runtimes do in ``/run/netns``, or a process is in it. Both are
looked through. Two paths that lead to one inode lead to one namespace.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from multinic_core.errors import KernelError

FOLDERS = (Path("/run/netns"), Path("/var/run/netns"), Path("/run/docker/netns"))
"""Where runtimes and ``ip netns`` mount the namespaces they make."""
PROC = Path("/proc")
GONE = (errno.ENOENT, errno.ESRCH, errno.ENOTDIR)

Inode = tuple[int, int]
"""Device and inode number."""


@dataclass(frozen=True, slots=True)
class Namespaces:
    """What was found."""

    paths: Mapping[Inode, tuple[str, ...]]
    """Every namespace to the paths that lead to it, the best first."""
    hidden: tuple[str, ...]
    """Ids of the processes whose namespaces this one may not look into; they may be among ``paths`` or not."""


def find_namespaces(named: Iterable[str] = ()) -> Namespaces:
    """Every network namespace that a path leads to; blocking.

    Args:
        named: paths to try before the usual ones; what leads to no namespace is left out.

    Raises:
        KernelError: it cannot be told of some path what it leads to, other than because of its process's rights.
    """
    device = namespace_device()
    paths: dict[Inode, list[str]] = {}
    hidden: list[str] = []
    for path in (*named, *_mounted()):
        _note(paths, path, _inode(Path(path)), device)
    for process in _processes():
        try:
            inode = _inode(process / "ns/net")
        except PermissionError:
            if (process / "ns").is_dir():  # the kernel says so of a process that has just ended, too
                hidden.append(process.name)
        else:
            _note(paths, str(process / "ns/net"), inode, device)
    return Namespaces({inode: tuple(dict.fromkeys(each)) for inode, each in paths.items()}, tuple(hidden))


def own_namespace() -> Inode:
    """That of the calling thread."""
    status = (PROC / "thread-self/ns/net").stat()
    return status.st_dev, status.st_ino


def namespace_device() -> int:
    """The file system of namespaces."""
    return (PROC / "self/ns/net").stat().st_dev


def _note(paths: dict[Inode, list[str]], path: str, inode: Inode | None, device: int) -> None:
    if inode is not None and inode[0] == device:  # or it is the plain file that an unmounted one leaves
        paths.setdefault(inode, []).append(path)


def _mounted() -> Iterator[str]:
    for folder in FOLDERS:
        if folder.is_dir():
            yield from sorted(str(file) for file in folder.iterdir())


def _processes() -> list[Path]:
    return sorted((file for file in PROC.iterdir() if file.name.isdecimal()), key=lambda file: int(file.name))


def _inode(path: Path) -> Inode | None:
    """What the path leads to; None when that is gone.

    Raises:
        PermissionError: it is a process's, which has more rights than this one.
        KernelError: it cannot be told.
    """
    try:
        found = path.stat()
    except OSError as error:
        if error.errno in GONE:
            return None
        if isinstance(error, PermissionError) and path.is_relative_to(PROC):
            raise
        raise KernelError(f"network namespace {str(path)!r} cannot be looked into", error.errno or 0) from error
    return found.st_dev, found.st_ino
