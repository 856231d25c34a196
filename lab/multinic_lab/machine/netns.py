"""Named network namespaces, and doing something inside one without moving this process.

A namespace is entered by a fresh thread that ends with the work: its sockets and child processes stay in the
namespace, the process does not notice. Everything here is synchronous; callers use ``trio.to_thread``. Source:
ip-netns(8), namespaces(7), setns(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from multinic_core.errors import ContainerGoneError, KernelError

T = TypeVar("T")

FOLDER = Path("/run/netns")
"""Where ``ip netns`` keeps names; a name is a file on which the namespace is mounted."""
CLONE_NEWNET = 0x40000000
CLONE_NEWNS = 0x00020000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC = 2, 4, 8, 4096, 16384
MS_SLAVE, MS_SHARED = 1 << 19, 1 << 20
MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        raise KernelError(what, ctypes.get_errno())


def mount(source: str, target: str | Path, kind: str = "none", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises KernelError."""
    done = _libc.mount(
        source.encode(), str(target).encode(), kind.encode(), ctypes.c_ulong(flags), data.encode() if data else None
    )
    _check(done, f"mount {kind} on {target}")


def unmount(target: str | Path) -> None:
    """Detach a mount; what is not mounted is no error."""
    _libc.umount2(str(target).encode(), MNT_DETACH)


def unshare(flags: int) -> None:
    """Give the calling thread fresh namespaces. Raises KernelError."""
    _check(_libc.unshare(flags), "unshare")


def enter(path: str | Path) -> None:
    """Move the calling thread into the network namespace at ``path``; never called on a thread that others use.

    Raises:
        ContainerGoneError: there is no namespace at ``path``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ContainerGoneError(f"network namespace {str(path)!r} does not exist") from error
    try:
        _check(_libc.setns(descriptor, CLONE_NEWNET), f"setns({path})")
    finally:
        os.close(descriptor)


def in_thread(function: Callable[[], T]) -> T:
    """The result of ``function`` run on a thread of its own, or its exception."""
    results: list[T] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            results.append(function())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=body, name="netns")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def run_in(path: str | Path, function: Callable[[], T]) -> T:
    """The result of ``function`` run in the network namespace at ``path``; blocking."""

    def body() -> T:
        enter(path)
        return function()

    return in_thread(body)


def path_of(name: str) -> Path:
    return FOLDER / name


def names(prefix: str) -> list[str]:
    """Names of namespaces that start with ``prefix``, sorted."""
    try:
        return sorted(entry for entry in os.listdir(FOLDER) if entry.startswith(prefix))  # noqa: PTH208
    except FileNotFoundError:
        return []


def _share_folder() -> None:
    """Make names appear in the mount namespaces of daemons too, as ip-netns does."""
    FOLDER.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        mount("", FOLDER, flags=MS_SHARED | MS_REC)
    except KernelError:
        mount(str(FOLDER), FOLDER, flags=MS_BIND | MS_REC)
        mount("", FOLDER, flags=MS_SHARED | MS_REC)


def add(name: str, configure: Callable[[], None]) -> Path:
    """Make an empty network namespace, run ``configure`` inside it, and name it. Half-made ones leave nothing.

    Raises:
        KernelError: the name is taken, or the kernel or the rights forbid it.
    """
    path = path_of(name)
    _share_folder()

    def body() -> None:
        unshare(CLONE_NEWNET)
        configure()
        try:
            path.touch(mode=0o400, exist_ok=False)
        except FileExistsError as error:
            raise KernelError(f"network namespace {name!r}", error.errno or 0) from error
        try:
            mount("/proc/thread-self/ns/net", path, flags=MS_BIND)
        except KernelError:
            path.unlink()
            raise

    in_thread(body)
    return path


def remove(name: str) -> None:
    """Remove a name, and with it the namespace unless a process is still inside; what is gone is no error."""
    unmount(path_of(name))
    with contextlib.suppress(FileNotFoundError):
        path_of(name).unlink()


def processes_in(paths: Iterable[str | Path]) -> dict[int, str]:
    """Processes whose network namespace is one of ``paths``: pid to command line. This process is left out."""
    wanted = set()
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(path)  # noqa: PTH116 - nsfs entries are told apart by device and inode
            wanted.add((found.st_dev, found.st_ino))
    processes = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            found = os.stat(f"/proc/{entry}/ns/net")  # noqa: PTH116
            if (found.st_dev, found.st_ino) in wanted:
                command = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                processes[int(entry)] = command.strip() or Path(f"/proc/{entry}/comm").read_text().strip()
    return processes


def set_sysctls(values: Iterable[tuple[str, str]]) -> None:
    """Write ``/proc/sys`` entries of the calling thread's network namespace; those the kernel lacks are passed over."""
    for name, value in values:
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/sys", name).write_text(value)
