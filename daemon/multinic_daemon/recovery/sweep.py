"""Finishes in the background what a call, or the start, began to remove and could not.

A row whose removal the kernel or the journal refused is tried again, first soon and then in growing pauses, until it is
gone. The row is read anew each time, under the lock of its interface: a DEL or an ADD that came first has the say, and
a row that somebody has finished is nothing to do. So is a tombstone that could not be honoured, with the same pauses.
With nothing left nothing runs.
"""

from __future__ import annotations

import logging
from pathlib import Path

import trio

from multinic_core.errors import MultinicError
from multinic_daemon.engine import Engine
from multinic_daemon.engine.detach import detach
from multinic_daemon.journal.journal import Record
from multinic_daemon.recovery.tombstones import honour

log = logging.getLogger(__name__)

FIRST_SECONDS, LAST_SECONDS = 0.5, 30.0
"""Pause before the first attempt, doubled up to the last one while it goes on failing."""


async def serve_sweep(engine: Engine, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Finish what is left over; never returns."""
    at_work: set[int | Path] = set()

    async def finish(what: int | Path, netns: str) -> None:
        try:
            await _finish(engine, what, netns)
        finally:
            at_work.discard(what)

    async with trio.open_nursery() as nursery:
        task_status.started()
        while True:
            for what, netns in (await engine.leftovers.take()).items():
                if what not in at_work:  # what is at work names its own failures, too
                    at_work.add(what)
                    nursery.start_soon(finish, what, netns)


async def _finish(engine: Engine, what: int | Path, netns: str) -> None:
    """Try until the row or the tombstone is gone, or nobody's to remove."""
    pause = FIRST_SECONDS
    while True:
        await trio.sleep(pause)
        try:
            if isinstance(what, Path):
                await honour(engine, what)
            elif record := await _attempt(engine, what, netns):
                log.info("removed at last", extra=record.key.log_fields)
        except MultinicError as error:
            if pause < LAST_SECONDS <= 2 * pause:  # once
                fields = {"tombstone" if isinstance(what, Path) else "row": str(what), "cause": str(error)}
                fields |= {"way_out": error.details} if error.details else {}
                log.error("cannot be removed, tried on and on", extra=fields)  # noqa: TRY400  # the cause says all
            pause = min(2 * pause, LAST_SECONDS)
        else:
            return


async def _attempt(engine: Engine, row: int, netns: str) -> Record | None:
    """The row that is gone now; None: there was nothing to do.

    Raises:
        MultinicError: it is still there.
    """
    if (found := _find(engine, row)) is None:
        return None
    async with engine.locks((found.key.container_id, found.key.ifname)):
        if (record := _find(engine, row)) is not None:
            await detach(engine, record, netns, point="sweep")
    return record


def _find(engine: Engine, row: int) -> Record | None:
    """The row, if it is still half made or half removed."""
    return next((record for record in engine.journal.unfinished() if record.id == row), None)
