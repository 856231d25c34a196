"""Named instants at which a test kills this process the hard way. A test hook; without the variable it does nothing.

``MULTINIC_CRASH_AT=NAME`` makes the process send itself SIGKILL on reaching the point NAME, so no handler,
``finally`` or buffer gets a chance. ``NAMES`` lists the points; each lies between two steps whose order the promises
rest on.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "MULTINIC_CRASH_AT"

NAMES = (
    "add.journaled",  # the row is pending, the kernel untouched
    "add.applied",  # links exist, the row is still pending
    "add.ready",  # the row is ready, the runtime has no answer
    "undo.removed",  # a failed ADD has removed its links, its row and addresses are still there
    "del.marked",  # the row says deleting, the links are still there
    "del.removed",  # links gone, addresses still held
    "del.released",  # all gone, the runtime has no answer
    "recovery.removed",  # recovery has removed the links of a row it found, the row is still there
)

_wanted = os.environ.get(VARIABLE, "")


def reached(name: str) -> None:
    """Die here if the test asks for it."""
    if name == _wanted:
        os.kill(os.getpid(), signal.SIGKILL)
