"""Executables that a daemon left running when it was killed, found by a mark in their environment and ended.

Nothing has to be written down for that, so a kill at any instant leaves none unknown, and no number of a process is
taken for another's. A signal on the parent's death would do less: the kernel ties it to the thread that started the
process, and ours come and go.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from multinic_core.errors import ExecutableError
from multinic_daemon.journal.records import Record

VARIABLE = "MULTINIC_ATTACHMENT"
"""Environment variable with the mark."""
END_SECONDS = 5.0
"""For a killed process to go. One that hangs in the kernel does not."""
PAUSE_SECONDS = 0.01


def mark_of(record: Record, ifname: str) -> str:
    """What tells the executables of one link of one attachment from all others on the machine."""
    return f"{record.id}/{record.created!r}/{record.key.container_id}/{ifname}/{record.netns}"


def end_orphans(mark: str) -> int:
    """Kill executables with this mark, each with its process group; how many there were. Blocks until they are gone.

    What an executable has left running on purpose, after its own end, stays.

    Raises:
        ExecutableError: one is still there, and may still do something.
    """
    wanted = f"{VARIABLE}={mark}".encode()
    left = found = _marked(wanted)
    until = time.monotonic() + END_SECONDS
    while left:
        for pid in left:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        left = [pid for pid in left if _has(pid, wanted)]
        if left and time.monotonic() > until:
            raise ExecutableError(
                f"process {left[0]}: an executable that an earlier daemon started does not end when killed, expected"
                " its end before anything is undone"
            )
        if left:
            time.sleep(PAUSE_SECONDS)
    return len(found)


def _marked(wanted: bytes) -> list[int]:
    own = os.getsid(0)
    pids = (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())
    return [pid for pid in pids if pid != own and _leads(pid) and _has(pid, wanted)]


def _leads(pid: int) -> bool:
    """Whether it leads a session, as every executable does that we start."""
    try:
        return os.getsid(pid) == pid
    except OSError:
        return False


def _has(pid: int, wanted: bytes) -> bool:
    """Whether it has this in its environment; a process that has ended has none."""
    try:
        return wanted in Path("/proc", str(pid), "environ").read_bytes().split(b"\0")
    except OSError:
        return False
