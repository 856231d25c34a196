"""DEL and GC: remove what the journal says was made, then free its addresses. Never a fresh choice."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

import trio

from multinic_core.errors import ConfigError, MultinicError
from multinic_daemon import crashpoints
from multinic_daemon.engine.context import Engine
from multinic_daemon.engine.invocation import Invocation
from multinic_daemon.engine.parents import leave_vlans
from multinic_daemon.journal.journal import AttachmentKey, Record

log = logging.getLogger(__name__)


async def detach(engine: Engine, record: Record, netns: str = "", *, point: str = "del") -> None:
    """Remove the links of a record, then the record. Addresses are freed only when the links are gone.

    Args:
        netns: path by which the caller knows the namespace, looked at too when the recorded one shows no links.
        point: prefix of the crash points passed.

    Raises:
        MultinicError: the kernel refused, or an executable or action failed; the record stays, as ``deleting``, for
            :mod:`multinic_daemon.recovery.sweep`.
    """
    try:
        if record.state != "deleting":
            engine.journal.mark_deleting(record)
        crashpoints.reached(f"{point}.marked")
        outside = engine.outside if record.outside else None
        if outside:
            if record.boot_id != engine.journal.boot_id:  # its namespace is gone, and its path may be another pod's
                record = replace(record, netns="")
            await outside.unplug(record, netns)
        if record.has_devices:  # first, as the kernel deletes no group of links that a device is in
            give_back = partial(engine.kernel.return_devices, record.plan, record.netns, record.group)
            await engine.in_thread(give_back, record.key.network)
        if record.has_links or record.taken_over:
            removed = await _remove(engine, record, record.netns)
            if not removed and netns and netns != record.netns:
                await _remove(engine, record, netns)
            await leave_vlans(engine, record)
        crashpoints.reached(f"{point}.removed")
        if outside:
            await outside.release(record, engine.registry, netns)
        engine.journal.forget(record)
        if record.has_devices:
            engine.devices_changed()
    except BaseException:
        engine.leftovers.add(record.id, netns)
        raise
    crashpoints.reached(f"{point}.released")


async def _remove(engine: Engine, record: Record, netns: str) -> bool:
    remove = partial(engine.kernel.remove_links, netns, record.group, record.rules)
    return await engine.in_thread(remove, record.key.network)


async def delete(
    engine: Engine, key: AttachmentKey, netns: str, *, only: int | None = None, point: str = "del"
) -> bool:
    """DEL: what the journal does not know is gone already. Gives whether it was known.

    Args:
        only: id of the row that is meant; a newer attachment under the same key is left alone.
        point: prefix of the crash points passed.
    """
    async with engine.locks((key.container_id, key.ifname)):
        record = engine.journal.find(key)
        if record is None or only not in (None, record.id):
            return False
        await detach(engine, record, netns, point=point)
    log.info("detached", extra=key.log_fields)
    return True


async def collect(engine: Engine, call: Invocation) -> None:
    """GC: release exactly the attachments of this network that are not in the valid list.

    Raises:
        ConfigError: there is no such list, which is not the same as an empty one.
        MultinicError: some could not be released; the others are.
    """
    listed = call.netconf.valid_attachments
    if listed is None:
        raise ConfigError("cni.dev/valid-attachments: missing, expected the list of attachments to keep")
    valid = {(each.container_id, each.ifname) for each in listed}
    failures: list[MultinicError] = []

    async def release(record: Record) -> None:
        try:
            await delete(engine, record.key, "", only=record.id, point="gc")
        except MultinicError as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        for record in engine.journal.of_network(call.plugin, call.netconf.name):
            if record.nameless:
                continue  # nobody could have listed it
            pair = (record.key.container_id, record.key.ifname)
            # An ADD in progress cannot be in anybody's list yet.
            if pair not in valid and not (record.state == "pending" and engine.locks.busy(pair)):
                nursery.start_soon(release, record)
    crashpoints.reached("gc.done")
    for other in failures[1:]:
        log.error("not collected", extra={"network": call.netconf.name, "cause": str(other)})
    if failures:
        raise failures[0]
