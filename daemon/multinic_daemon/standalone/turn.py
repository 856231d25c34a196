"""Taking turns: one process at a time has the journal of a folder, and none has to wait for ever.

Runtimes start several executables at once. The kernel queues them at a lock, which it takes away from a process that
dies, so whoever comes next finds nobody at work and may finish what is half done. The waits are bounded by an alarm,
the only thing that also interrupts a wait inside the kernel.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from multinic_core.errors import DaemonUnavailableError
from multinic_daemon.journal.journal import JournalError

LOCK_FILE = "turn.lock"
TURN_SECONDS = 50.0
"""For those who came before."""
WORK_SECONDS = 80.0
"""For reading a configuration with its plugins, and for a call that has its turn: there the engine itself gives up
after 60, and takes 15 for undoing."""


@contextmanager
def alarm(seconds: float, rings: Callable[[], None]) -> Iterator[None]:
    """Call this in the main thread if the block takes longer. Not to be nested."""
    before = signal.signal(signal.SIGALRM, lambda *_: rings())
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Have the folder to oneself; it is made when missing (mode 0700).

    Raises:
        JournalError: it cannot be made or written.
        DaemonUnavailableError: others have had it for too long.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / LOCK_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(f"dataDir: found {str(folder)!r}, expected a folder to write in: {error}") from error
    try:
        with alarm(TURN_SECONDS, _give_up):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _give_up() -> None:
    raise DaemonUnavailableError(f"standalone: other calls took more than {TURN_SECONDS:g} seconds; try again later")
