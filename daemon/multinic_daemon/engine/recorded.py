"""What the journal already says of an interface: the answer given before, and how the kernel differs from it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from multinic_core.cni import Result
from multinic_core.devices import TakeDevice
from multinic_core.errors import (
    AttachmentExistsError,
    ContainerGoneError,
)
from multinic_core.plan import (
    CreateLink,
    Plan,
)
from multinic_daemon.engine.answer import decode_result
from multinic_daemon.engine.context import Engine
from multinic_daemon.engine.detach import detach
from multinic_daemon.engine.invocation import Invocation
from multinic_daemon.journal.journal import Record


async def settle_recorded(engine: Engine, call: Invocation) -> Result | None:
    """What the journal already answers to this call; None when the way is free for a fresh attachment.

    The same call on the same namespace gets the same answer, as long as the links are as they were made. What a crash
    or another namespace left behind is removed.

    Raises:
        AttachmentExistsError: the interface name is held with another configuration.
    """
    for record in engine.journal.of_interface(call.container_id, call.ifname):
        if record.key.plugin != call.plugin:
            continue
        if record.taken_over:
            raise AttachmentExistsError(
                f"interface {call.ifname!r} of container {call.container_id!r}: attached to network"
                f" {record.key.network!r} before this node's journal was lost, expected a DEL first"
            )
        if record.state != "ready":
            await detach(engine, record, point="replace")
            continue
        if record.key.network != call.netconf.name:
            raise AttachmentExistsError(
                f"interface {call.ifname!r} of container {call.container_id!r}: attached to network"
                f" {record.key.network!r} already, expected a DEL first"
            )
        if same_netns(record.netns, call.netns):
            if record.digest not in ("", call.digest):  # a row taken over knows no configuration
                raise AttachmentExistsError(
                    f"interface {call.ifname!r} of container {call.container_id!r}: attached to {call.netconf.name!r}"
                    " with another configuration already, expected a DEL first"
                )
            if not record.has_links or not await kernel_differences(engine, record):
                return decode_result(record.result_json)
        await detach(engine, record, point="replace")
    return None


def same_netns(one: str, other: str) -> bool:
    """Whether two paths lead to the same namespace: a row taken over may know it by another path than the runtime."""
    if one == other:
        return True
    try:
        return Path(one).samefile(other)
    except OSError:
        return False


async def kernel_differences(engine: Engine, record: Record) -> list[str]:
    """How the kernel differs from a record, one sentence each."""
    try:
        compare = partial(engine.kernel.differences, recorded_plan(record), record.netns)
        return await engine.in_thread(compare, record.key.network, engine.making)
    except ContainerGoneError as error:
        return [str(error)]


def recorded_plan(record: Record) -> Plan:
    """The plan of a ready record with the MAC addresses that were answered where it left them to the kernel."""
    given = {link.name: link.mac for link in decode_result(record.result_json).interfaces} if record.result_json else {}
    return Plan(
        tuple(
            replace(step, mac_address=step.mac_address or given.get(step.ifname, ""))
            if isinstance(step, CreateLink | TakeDevice)
            else step
            for step in record.plan.steps
        )
    )
