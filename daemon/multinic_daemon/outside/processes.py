"""Whether a path through a process still leads to the one that was meant: numbers of processes are used again."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

_PROCESS = re.compile(r"/(?:.*/)?proc/\d+(?=/)")
_START = 19
"""Of the fields after the name. Source: proc_pid_stat(5), (22) starttime."""


def is_older(path: str, moment: float) -> bool:
    """Whether a path leads through no process, or through one that was started before this moment.

    A clock that was set in between may make an old process look young, which is the safe error.

    Args:
        moment: seconds since the epoch.
    """
    found = _PROCESS.match(os.path.realpath(path))
    if found is None:
        return True
    try:
        ticks = int(Path(found[0], "stat").read_text().rpartition(")")[2].split()[_START])
    except (OSError, ValueError, IndexError):
        return False
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + ticks / os.sysconf("SC_CLK_TCK") < moment
