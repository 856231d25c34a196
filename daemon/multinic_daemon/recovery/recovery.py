"""What a daemon does first: finish what the last one was in the middle of.

Rows of another boot describe links that cannot exist; they go without a look, unless executables or actions of plugins
have done something for them, which may still be there. Rows left ``pending`` or ``deleting``
lose their links and then their addresses. Rows that are ``ready`` stay, whatever became of their namespace: only DEL,
GC or another boot proves that a pod is gone. All this needs no API and is done before the socket answers.
"""

from __future__ import annotations

import logging
import math

import trio

from multinic_core.errors import DaemonUnavailableError, MultinicError
from multinic_daemon import crashpoints
from multinic_daemon.engine import Engine
from multinic_daemon.engine.detach import detach
from multinic_daemon.journal.journal import Record

log = logging.getLogger(__name__)

OTHERS_SECONDS = 10.0
"""For executables and actions of one row: nobody else is served before, and the sweep goes on."""


async def recover(engine: Engine) -> int:
    """Finish every unfinished row; how many are still there because the kernel refused.

    Such a row blocks nothing but its own addresses, and :mod:`multinic_daemon.recovery.sweep` tries again.
    """
    unfinished = {record.id: record for record in engine.journal.unfinished()}
    for record in engine.journal.of_other_boots():
        if record.outside:
            unfinished[record.id] = record  # what others have done outlives a boot
            continue
        unfinished.pop(record.id, None)
        engine.journal.forget(record)
        crashpoints.reached("recovery.forgotten")
        log.info("forgotten, from before this boot", extra=record.key.log_fields)
    refused: list[tuple[Record, MultinicError]] = []

    async def finish(record: Record) -> None:
        try:
            with trio.fail_after(OTHERS_SECONDS if record.outside else math.inf):
                await detach(engine, record, point="recovery")
        except trio.TooSlowError:
            late = f"executables and actions did not end within {OTHERS_SECONDS:g} seconds"
            refused.append((record, DaemonUnavailableError(late)))
        except MultinicError as error:
            refused.append((record, error))
        else:
            log.info("recovered", extra={**record.key.log_fields, "found": record.state})

    async with trio.open_nursery() as nursery:
        for record in unfinished.values():
            nursery.start_soon(finish, record)
    for record, error in refused:
        log.warning("not recovered yet, will retry", extra={**record.key.log_fields, "cause": str(error)})
    return len(refused)
