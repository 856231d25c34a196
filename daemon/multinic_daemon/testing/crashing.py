"""Dying in the middle of a talk with the kernel, for tests of what the next one finds."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from multinic_daemon import crashpoints


def killed_at(point: str, work: Callable[[], object]) -> None:
    """Do the work in a process of its own, forked from this one, which must die at this crash point."""
    child = os.fork()
    if not child:
        os.environ[crashpoints.VARIABLE] = point
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, f"it never came to {point!r}"
