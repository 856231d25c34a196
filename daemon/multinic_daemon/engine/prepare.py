"""Deciding an ADD: which NICs, which addresses, which plan. Reads what is in memory and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TypeVar

import trio

from multinic_core.deviceinfo import FIELD as DEVICE_INFO_FIELD
from multinic_core.deviceinfo import device_info
from multinic_core.errors import (
    ConfigError,
    DaemonUnavailableError,
    SelectionError,
)
from multinic_core.model import HOST_DEVICE_IPAM, MULTI_NIC_IPAM, MultiNicNetwork
from multinic_core.plan import (
    AddRoute,
    Allocation,
    AttachmentRequest,
    IPInterface,
    LinkRequest,
    Plan,
    PodReference,
)
from multinic_core.pools import Pool
from multinic_daemon.engine import allocate as allocating
from multinic_daemon.engine.context import Engine
from multinic_daemon.engine.devices import (
    NO_DEVICES,
    AskedDevices,
    available_members,
    chosen_devices,
    node_view,
    require_unused,
    takes_devices,
    with_reasons,
)
from multinic_daemon.engine.inputs import NO_FACTS, Known, PodFacts, class_ids, nic_indexes, nic_uses
from multinic_daemon.engine.invocation import Invocation
from multinic_daemon.engine.macs import share_out
from multinic_daemon.engine.planning import main_plugin, make_plan
from multinic_daemon.engine.select import choose, decision, find_members, link_names, strategy_of
from multinic_daemon.engine.shares import allocate_links, device_addresses
from multinic_daemon.engine.sharing import require_shareable
from multinic_daemon.engine.sources import Asked, read_source
from multinic_daemon.engine.stages import Stages, plan_stages
from multinic_daemon.journal.journal import NewAttachment
from multinic_daemon.pools.joined import join_pools

POOL_SECONDS = 5.0
"""How long ADD waits for pools that the operator is about to write."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Prepared:
    """An ADD that is decided and not yet written down."""

    new: NewAttachment
    links: tuple[LinkRequest, ...]
    stages: Stages | None = None
    """What others do; None: nothing."""


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
    members = find_members(engine.registry, netconf, view, {pool.parent for pool in pools}, cidr)
    own_addresses = netconf.ipam.get("type") == HOST_DEVICE_IPAM
    if own_addresses and not takes_devices(engine.registry, netconf.plugin):
        raise ConfigError(
            f"ipam.type: found {HOST_DEVICE_IPAM!r} with main plugin {plugin.name!r}, which leaves the NIC and its"
            " address to the node, expected another IPAM, or a main plugin that gives pods the NIC itself"
        )
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
        *nic_indexes(members.nics, cidr),
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
        plan = make_plan(engine.registry, plugin, request, view, routes)
        told = device_info(netconf.runtime_config.get(DEVICE_INFO_FIELD), plan.devices, view)
        return Plan((*plan.steps, *told)) if told else plan

    links, plan, stages = plan_stages(call, source, links, plan_for)
    require_shareable(plan.links, engine.journal.sharing, view.uses)
    require_unused(plan.devices, engine.journal.sharing, engine.journal.uses, view.nics)
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
    if not engine.registry.gives_from_pools(ipam_type):
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
                _whose_pools(engine, network, str(ipam_type)),
            )
        )
    )


def _whose_pools(engine: Engine, network: str, ipam_type: str) -> str:
    """Why pools may be missing."""
    owner = engine.registry.ipams.owners.get(ipam_type)
    if ipam_type == MULTI_NIC_IPAM or engine.cluster.cidr(network) is not None:
        return "the operator makes pools, and says on the MultiNicNetwork why it cannot"
    return (
        f"ipam.type: found {ipam_type!r}, which {owner or 'a plugin'} offers on this node; the operator makes pools for"
        " it only where that is installed in the operator too"
    )


async def when_pools_are_there(engine: Engine, decide: Callable[[], T]) -> T:
    """Decide, and again whenever a pool changes, as long as pools are what is missing."""
    with trio.move_on_after(POOL_SECONDS):
        while True:
            try:
                return decide()
            except PoolsMissingError:
                await engine.cluster.pools_changed()
    return decide()
