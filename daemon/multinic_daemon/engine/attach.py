"""ADD of ``multi-nic``: all the links of one attachment, or nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

import trio

from multinic_core.cni import Result
from multinic_core.errors import (
    DaemonUnavailableError,
    MultinicError,
    SelectionError,
)
from multinic_core.plan import (
    LinkRequest,
)
from multinic_daemon import crashpoints
from multinic_daemon.engine.answer import encode_result, link_result
from multinic_daemon.engine.context import UNDO_SECONDS, Engine
from multinic_daemon.engine.detach import detach
from multinic_daemon.engine.devices import (
    asked_devices,
)
from multinic_daemon.engine.invocation import Invocation
from multinic_daemon.engine.lanes import Held
from multinic_daemon.engine.making import make_in_stages
from multinic_daemon.engine.parents import vlans_kept
from multinic_daemon.engine.prepare import Prepared, pod_facts, prepare, when_pools_are_there
from multinic_daemon.engine.recorded import settle_recorded
from multinic_daemon.journal.journal import Record
from multinic_daemon.report.podevents import PodEvent

log = logging.getLogger(__name__)

LATE_SECONDS = 10.0
"""What the kernel does so much after the call's end is taken back, as the runtime has been told that it failed."""


async def attach(engine: Engine, call: Invocation) -> Result:
    """Attach one pod interface, or answer again what was answered before.

    Raises:
        MultinicError: nothing is left of the attempt; or, when undoing failed too, a row that is removed as soon as
            the kernel allows it.
    """
    async with engine.making.enter(call.netconf.name), engine.locks((call.container_id, call.ifname)):
        if (recorded := await settle_recorded(engine, call)) is not None:
            return recorded
        network = await engine.cluster.network(call.netconf.name)
        facts = await pod_facts(engine, call.pod, network)
        devices = await asked_devices(engine, call)
        try:
            prepared = await when_pools_are_there(engine, partial(prepare, engine, call, network, facts, devices))
            result: Result | None = None
            if prepared.stages is None:
                with await engine.making.worker(call.netconf.name) as worker:
                    if worker.waited:  # what was free may be held now, and what was there gone
                        network, devices = await engine.cluster.network(network.name), await asked_devices(engine, call)
                        prepared = prepare(engine, call, network, facts, devices)
                    if prepared.stages is None:
                        result = await _make(engine, call, prepared, worker)
            if result is None:
                result = await make_in_stages(engine, call, prepared.new, prepared.links, prepared.stages, _undo)
        except SelectionError as error:
            engine.tell(PodEvent(call.pod, "PolicyNotMet", str(error)))
            raise
    if (decided := prepared.new.decision) is not None and decided.warning:
        engine.tell(PodEvent(call.pod, "PolicyNotMet", decided.warning))
    # Said in the next turn of the loop, when the runtime has its answer: writing a line takes a tenth of a call.
    trio.lowlevel.current_trio_token().run_sync_soon(_say_attached, call, prepared.links)
    return result


def _say_attached(call: Invocation, links: Sequence[LinkRequest]) -> None:
    log.info(
        "attached",
        extra={
            "network": call.netconf.name,
            "container_id": call.container_id,
            "ifname": call.ifname,
            "pod": f"{call.pod.namespace}/{call.pod.name}",
            "nics": [link.parent for link in links],
        },
    )


async def _make(engine: Engine, call: Invocation, prepared: Prepared, worker: Held) -> Result:
    """Write down what is decided, and do it. Nothing waits between deciding and the row."""
    last = trio.current_effective_deadline() + LATE_SECONDS
    crashpoints.reached("add.decided")
    record = engine.journal.begin(prepared.new)
    crashpoints.reached("add.journaled")
    try:
        apply = partial(engine.kernel.apply_plan, prepared.new.plan, call.netns, record.group)
        async with vlans_kept(engine, prepared.new.plan.links):
            made = await worker.run(apply)
        crashpoints.reached("add.applied")
        _require_in_time(worker, last)
        result = link_result(call.netns, prepared.links, made, call.netconf.ipam, prepared.new.plan.devices)
        engine.journal.finish(record, encode_result(result))
    except BaseException:
        await _undo(engine, record)
        raise
    crashpoints.reached("add.ready")
    return result


def _require_in_time(worker: Held, last: float) -> None:
    """Raises DaemonUnavailableError when the runtime has stopped waiting for an answer."""
    if (now := trio.current_time()) > last:
        raise DaemonUnavailableError(
            f"network {worker.network!r}: the kernel took {now - worker.since:.0f} seconds to make the links, too long"
            " for an answer; nothing of them is left"
        )


async def _undo(engine: Engine, record: Record) -> None:
    """Take back a failed ADD, even while being cancelled."""
    cause = f"not done within {UNDO_SECONDS:g} seconds"
    with trio.move_on_after(UNDO_SECONDS, shield=True):
        try:
            await detach(engine, record, point="undo")
        except MultinicError as error:
            cause = str(error)
        else:
            return
    fields = {**record.key.log_fields, "cause": cause}
    log.warning("links of a failed ADD may be left and its addresses stay held, will retry", extra=fields)
