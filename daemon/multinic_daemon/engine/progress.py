"""How far the executables of an ADD came, so that a failed one undoes what was done and nothing else.

A configuration that an executable cannot read fails its DEL as it failed its ADD. If undoing insisted on that DEL, the
row would stay for ever, with addresses that nobody has. So of an executable that failed by its own word DEL is tried
once, by the specification, and not waited for; of one that was never begun nothing is asked. What has answered, or was
broken off, is undone until that succeeds. After a crash nobody knows this, and all are undone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from multinic_core.errors import MultinicError
from multinic_core.outside import RunIpam, RunPlugin
from multinic_core.plan import Plan
from multinic_daemon.engine.context import Engine
from multinic_daemon.journal.journal import JournalError, Record
from multinic_daemon.outside.executables import RefusedError

log = logging.getLogger(__name__)

TRY_SECONDS = 5.0
"""For the DEL of what failed by its own word."""
R = TypeVar("R", RunIpam, RunPlugin)


@dataclass(slots=True)
class Progress:
    """Of one ADD."""

    kept: dict[tuple[type, str], RunIpam | RunPlugin] = field(default_factory=dict)
    """(class, ifname) of each step that is to be undone, with its answer where it gave one."""
    failed: list[RunIpam | RunPlugin] = field(default_factory=list)

    async def add(self, engine: Engine, record: Record, step: R) -> R:
        """As ``Outside.add``."""
        key = (type(step), step.ifname)
        self.kept[key] = step
        try:
            answered = await engine.outside.add(record, step)
        except RefusedError:
            self.failed.append(self.kept.pop(key))
            raise
        self.kept[key] = answered
        return answered

    async def settle(self, engine: Engine, record: Record) -> Record:
        """The record with the steps that are to be undone; never raises."""
        with trio.move_on_after(TRY_SECONDS, shield=True):
            for step in self.failed:
                try:
                    await engine.outside.delete(record, step)
                except MultinicError as error:
                    fields = {**record.key.log_fields, "link": step.ifname, "cause": str(error)}
                    log.info("what an executable left of a failed ADD is its own to know", extra=fields)
        steps = [
            self.kept.get((type(step), step.ifname)) if isinstance(step, RunIpam | RunPlugin) else step
            for step in record.plan.steps
        ]
        try:
            return engine.journal.replan(record, Plan(tuple(step for step in steps if step is not None)))
        except JournalError:
            return record
