"""ADD of ``multi-nic``: all the links of one attachment, or nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from multinic_core.cni import Result
from multinic_core.devices import TakeDevice
from multinic_core.errors import (
    AttachmentExistsError,
    ContainerGoneError,
    DaemonUnavailableError,
    MultinicError,
    SelectionError,
)
from multinic_core.model import MULTI_NIC_IPAM, MultiNicNetwork
from multinic_core.plan import (
    AddRoute,
    Allocation,
    AttachmentRequest,
    CreateLink,
    IPInterface,
    LinkRequest,
    Plan,
    PodReference,
)
from multinic_core.pools import Pool
from multinic_daemon import crashpoints
from multinic_daemon.engine import allocate as allocating
from multinic_daemon.engine.answer import decode_result, encode_result, link_result
from multinic_daemon.engine.context import UNDO_SECONDS, Engine
from multinic_daemon.engine.detach import detach
from multinic_daemon.engine.devices import (
    NO_DEVICES,
    AskedDevices,
    asked_devices,
    available_members,
    chosen_devices,
    node_view,
    with_reasons,
)
from multinic_daemon.engine.inputs import NO_FACTS, Known, PodFacts, class_ids, nic_indexes, nic_uses
from multinic_daemon.engine.invocation import Invocation
from multinic_daemon.engine.lanes import Held
from multinic_daemon.engine.macs import share_out
from multinic_daemon.engine.parents import vlans_kept
from multinic_daemon.engine.planning import main_plugin, make_plan
from multinic_daemon.engine.select import choose, decision, find_members, link_names, strategy_of
from multinic_daemon.engine.shares import HOST_DEVICE_IPAM, allocate_links, device_addresses
from multinic_daemon.engine.sharing import require_shareable
from multinic_daemon.engine.sources import Asked, read_source
from multinic_daemon.engine.stages import Stages, make_in_stages, plan_stages
from multinic_daemon.journal.journal import NewAttachment, Record
from multinic_daemon.pools.joined import join_pools
from multinic_daemon.report.podevents import PodEvent

log = logging.getLogger(__name__)

POOL_SECONDS = 5.0
"""How long ADD waits for pools that the operator is about to write."""
LATE_SECONDS = 10.0
"""What the kernel does so much after the call's end is taken back, as the runtime has been told that it failed."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Prepared:
    """An ADD that is decided and not yet written down."""

    new: NewAttachment
    links: tuple[LinkRequest, ...]
    stages: Stages | None = None
    """What others do; None: nothing."""


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
            prepared = await _when_pools_are_there(engine, partial(prepare, engine, call, network, facts, devices))
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


def strategy_needs(engine: Engine, network: MultiNicNetwork) -> frozenset[str]:
    """What the network's strategy asks to be told; of those that do not say nothing."""
    needs: frozenset[str] = getattr(strategy_of(engine.registry, network), "needs", frozenset())
    return needs


async def pod_facts(engine: Engine, pod: PodReference, network: MultiNicNetwork) -> PodFacts:
    """What the network's strategy needs to be told of the pod; of nearly all strategies nothing.

    Raises:
        DaemonUnavailableError: who should know it does not tell.
    """
    needs = strategy_needs(engine, network)
    return await engine.facts.facts(pod, needs) if needs and engine.facts is not None else NO_FACTS


def prepare(
    engine: Engine,
    call: Invocation,
    network: MultiNicNetwork,
    facts: PodFacts = NO_FACTS,
    asked: AskedDevices = NO_DEVICES,
) -> Prepared:
    """Decide everything about an attachment. Does no I/O and changes nothing.

    Args:
        facts: what ``pod_facts`` gave.
        asked: what ``asked_devices`` gave.

    Raises:
        MultinicError: why it cannot be.
    """
    netconf, view = call.netconf, node_view(engine, asked)
    plugin = main_plugin(engine.registry, netconf.plugin)
    pools = node_pools(engine, netconf.name)
    require_pools(engine, netconf.name, netconf.ipam.get("type"), (), pools)
    cidr = engine.cluster.cidr(netconf.name)
    members = find_members(netconf, view, {pool.parent for pool in pools}, cidr)
    own_addresses = netconf.ipam.get("type") == HOST_DEVICE_IPAM
    source = None if own_addresses else read_source(engine.registry, call)
    if isinstance(source, Asked):
        members = source.members(members)
    all_members = members
    if not asked.ids:
        members = available_members(engine.registry, plugin, netconf.plugin, members, view)
    wanted = netconf.args.cni.device_class
    known = Known(
        class_ids(engine.cluster.device_class(wanted)) if wanted else None,
        nic_uses(members.nics, engine.journal.uses, engine.rates()),
        nic_indexes(members.nics, cidr),
        facts,
    )
    if asked.ids:
        selection = chosen_devices(plugin, asked, members, view)
    else:
        try:
            selection = choose(engine.registry, netconf, network, call.pod, members, view.name, known)
        except SelectionError as error:
            raise with_reasons(error, all_members, members) from error
    # one id for each link, unless the plugin takes no devices and several are of one NIC
    ids = asked.ids if len(asked.ids) == len(selection.chosen) else ("",) * len(selection.chosen)
    names = link_names(call.ifname, len(selection.chosen))
    require_pools(engine, netconf.name, netconf.ipam.get("type"), selection.chosen, pools)
    allocations: tuple[Allocation, ...] = ()
    addresses: Sequence[tuple[IPInterface, ...]] = [()] * len(names)
    if own_addresses:
        addresses = device_addresses(selection.chosen, ids, view.nics)
    elif source is None:
        allocations, addresses = allocate_links(engine.registry, netconf.ipam, selection.chosen, call.static, pools)
    macs, rates = share_out(call.macs, names), selection.promised
    links = tuple(
        LinkRequest(name, parent, given, device, mac_address, rate=rates.get(parent, 0))
        for name, parent, given, device, mac_address in zip(names, selection.chosen, addresses, ids, macs, strict=True)
    )
    # A copy, because the netconf is kept for the next pod and a plugin might change what it gets.
    config = {"cniVersion": netconf.cni_version, **deepcopy(netconf.plugin)}

    def plan_for(links: Sequence[LinkRequest], routes: Sequence[AddRoute]) -> Plan:
        key = (call.container_id, call.ifname, call.netns, netconf.name)
        request = AttachmentRequest(*key, call.pod, config, tuple(links))
        return make_plan(engine.registry, plugin, request, view, routes)

    links, plan, stages = plan_stages(call, source, links, plan_for)
    require_shareable(plan.links, engine.journal.sharing)
    moved = allocating.cursors(allocations, call.static)
    why = decision(selection, netconf, network, members)
    new = NewAttachment(call.key, call.netns, call.pod, call.digest, plan, allocations, moved, why)
    return Prepared(new, links, stages)


def node_pools(engine: Engine, network: str) -> tuple[Pool, ...]:
    """This node's pools of a network with what is held of them.

    Raises:
        ConfigError: one of them cannot be read.
    """
    return join_pools(engine.cluster.pools(network), engine.journal)


class PoolsMissingError(DaemonUnavailableError):
    """The operator has not yet made the pools that are needed."""


def require_pools(
    engine: Engine, network: str, ipam_type: object, parents: tuple[str, ...], pools: tuple[Pool, ...]
) -> None:
    """Where addresses come from computed pools, there must be some, and one for each of these NICs.

    Raises:
        PoolsMissingError: some have none; trying again later may help, as pools are the operator's to make.
    """
    if ipam_type != MULTI_NIC_IPAM:
        return
    there = {pool.parent for pool in pools}
    missing = [parent for parent in parents if parent not in there]
    if pools and not missing:
        return
    found = f"NICs {missing!r} have no address pool on this node, found pools for {sorted(there)!r}"
    raise PoolsMissingError(
        "; ".join(
            (
                f"network {network!r}: {found if pools else 'no address pool on this node'}",
                *engine.cluster.invalid_pools(network),
                "the operator makes pools, and says on the MultiNicNetwork why it cannot",
            )
        )
    )


async def _when_pools_are_there(engine: Engine, decide: Callable[[], T]) -> T:
    """Decide, and again whenever a pool changes, as long as pools are what is missing."""
    with trio.move_on_after(POOL_SECONDS):
        while True:
            try:
                return decide()
            except PoolsMissingError:
                await engine.cluster.pools_changed()
    return decide()


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
