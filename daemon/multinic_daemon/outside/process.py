"""One foreign process from its start to its end, bounded in time and in what it may say.

It leads a session of its own, so that it is killed with everything it has started and that has not left the session. It
outlives a daemon that is killed; :mod:`multinic_daemon.outside.orphans` ends it then.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from subprocess import PIPE

import trio

OUTPUT_LIMIT = 1 << 20
"""Bytes of standard output, and of standard error, as much as a whole CNI call may have."""
GRACE_SECONDS = 1.0
"""For output that is still on its way when the process has ended; what it leaves running may hold the pipe for ever."""
KILL_SECONDS = 5.0
"""For a killed process to go. One that hangs in the kernel does not; it is reaped when it does."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that has ended by itself."""

    status: int
    """Exit status, or minus the number of the signal that ended it."""
    output: bytes
    errors: bytes


class OutputTooLongError(Exception):
    """It said more than ``OUTPUT_LIMIT`` bytes and was killed."""


async def run_process(
    command: Sequence[str], environment: Mapping[str, str], stdin: bytes, seconds: float = math.inf
) -> Finished:
    """Run it to its end; when this is cancelled, it is killed.

    Raises:
        OSError: it cannot be started.
        trio.TooSlowError: it was killed after so many seconds.
        OutputTooLongError: it was killed for saying too much.
    """
    process = await trio.lowlevel.open_process(
        list(command), stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment, cwd="/", start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    output, errors = bytearray(), bytearray()
    try:
        with trio.fail_after(seconds):
            async with trio.open_nursery() as talk:
                talk.start_soon(_feed, process.stdin, stdin)
                talk.start_soon(_read, process, process.stdout, output)
                talk.start_soon(_read, process, process.stderr, errors)
                await process.wait()
                talk.cancel_scope.deadline = trio.current_time() + GRACE_SECONDS
        if max(len(output), len(errors)) > OUTPUT_LIMIT:
            raise OutputTooLongError
        return Finished(process.returncode or 0, bytes(output), bytes(errors))
    finally:
        await _end(process)


async def _feed(stream: trio.abc.SendStream, data: bytes) -> None:
    async with stream:
        with suppress(trio.BrokenResourceError):  # it need not read what it gets
            await stream.send_all(data)


async def _read(process: trio.Process, stream: trio.abc.ReceiveStream, found: bytearray) -> None:
    async with stream:
        async for part in stream:
            found += part
            if len(found) > OUTPUT_LIMIT:
                _kill(process)
                return


def _kill(process: trio.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def _end(process: trio.Process) -> None:
    if process.returncode is not None:
        return
    _kill(process)
    with trio.move_on_after(KILL_SECONDS, shield=True):
        await process.wait()
        return
    trio.lowlevel.spawn_system_task(process.wait)
