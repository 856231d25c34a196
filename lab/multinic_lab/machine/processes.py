"""Processes inside a network namespace, under trio.

The child is started by a thread that has entered the namespace, so it costs one vfork and no helper program; its
end is awaited through a pidfd. Every child leads a process group, so that ending it ends what it started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from errno import ENOENT
from functools import lru_cache, partial
from pathlib import Path
from typing import IO

import trio

from multinic_core.errors import ConfigError
from multinic_lab.machine import netns

MAX_OUTPUT = 4 << 20
"""Bytes kept of each output of a command; the rest is read and dropped."""
_DRAIN_SECONDS = 1.0
"""How long output is still read once the command has ended: a child it left behind may keep the pipe open."""
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command ended."""

    status: int
    """Exit status, 128 + number for a signal."""
    stdout: bytes
    stderr: bytes
    timed_out: bool = False


class Child:
    """One running process; made by ``start``."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pid = popen.pid
        self._pidfd = os.pidfd_open(popen.pid)

    async def wait(self) -> int:
        """Exit status once it has ended, 128 + number for a signal."""
        if self._popen.returncode is None:
            await trio.lowlevel.wait_readable(self._pidfd)
            self._popen.wait()
        status = self._popen.returncode
        return status if status >= 0 else 128 - status

    def signal(self, number: int) -> None:
        """Signal the process group; what has ended is no error."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def end(self) -> None:
        """Kill the group and reap its leader."""
        with trio.CancelScope(shield=True):
            self.signal(signal.SIGKILL)
            await self.wait()
        self.close()

    def close(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


@lru_cache(maxsize=256)
def find_program(name: str, search: str) -> str:
    """The path of a program; looked up once, because inside the lab kernel each failed exec on the way costs 20 ms.

    Raises:
        FileNotFoundError: it is not there.
    """
    if (found := shutil.which(name, path=search)) is None:
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), name)
    return found


async def start(
    argv: Sequence[str],
    *,
    namespace: Path | None,
    env: Mapping[str, str],
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
) -> Child:
    """Start ``argv`` in the network namespace at ``namespace`` (None: this process's own).

    Raises:
        ConfigError: the program cannot be started.
        ContainerGoneError: there is no namespace there.
    """

    def popen() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            list(argv),
            executable=find_program(argv[0], env.get("PATH", os.defpath)),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=dict(env),
            start_new_session=True,
        )

    begin = popen if namespace is None else partial(netns.run_in, namespace, popen)
    try:
        # Not cancellable once begun: a process that nobody holds could not be ended.
        return Child(await trio.to_thread.run_sync(begin))
    except OSError as error:
        raise ConfigError(f"argv: {argv[0]!r} cannot be started: {error.strerror}") from error


async def _collect(fd: int, into: bytearray) -> None:
    async with trio.lowlevel.FdStream(fd) as stream:
        async for data in stream:
            into += data[: max(0, MAX_OUTPUT - len(into))]


async def _feed(fd: int, data: bytes) -> None:
    async with trio.lowlevel.FdStream(fd) as stream:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(data)


async def run(
    argv: Sequence[str],
    *,
    namespace: Path | None,
    env: Mapping[str, str],
    stdin: bytes = b"",
    timeout_seconds: float,
) -> Completed:
    """Run a command to its end; when the time is up its whole group is killed and ``timed_out`` says so.

    Raises:
        ConfigError: the program cannot be started.
        ContainerGoneError: there is no namespace there.
    """
    pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
    (stdin_read, stdin_write), (stdout_read, stdout_write), (stderr_read, stderr_write) = pipes
    try:
        child = await start(
            argv, namespace=namespace, env=env, stdin=stdin_read, stdout=stdout_write, stderr=stderr_write
        )
    except BaseException:
        for fd in (stdin_write, stdout_read, stderr_read):
            os.close(fd)
        raise
    finally:
        for fd in (stdin_read, stdout_write, stderr_write):
            os.close(fd)
    stdout, stderr = bytearray(), bytearray()
    timed_out = False
    status = 0
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_feed, stdin_write, stdin)
            nursery.start_soon(_collect, stdout_read, stdout)
            nursery.start_soon(_collect, stderr_read, stderr)
            with trio.move_on_after(timeout_seconds) as limit:
                status = await child.wait()
            if limit.cancelled_caught:
                timed_out = True
                child.signal(signal.SIGKILL)
                status = await child.wait()
            nursery.cancel_scope.deadline = trio.current_time() + _DRAIN_SECONDS
    finally:
        await child.end()
    return Completed(status, bytes(stdout), bytes(stderr), timed_out)
