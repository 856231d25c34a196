"""Choosing NICs: which NICs of the node belong to the network, and which of those the pod gets."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from multinic_core.cni import NetConf
from multinic_core.errors import ConfigError, InvocationError, MultinicError, PluginError, SelectionError
from multinic_core.hookspecs import AttachmentStrategy
from multinic_core.model import CIDR, MultiNicNetwork
from multinic_core.plan import Nic, NodeView, PodReference
from multinic_core.registry import Registry
from multinic_core.selection import Selection, SelectionRequest
from multinic_daemon.engine.inputs import NOTHING_KNOWN, Known
from multinic_daemon.engine.invocation import IFNAME_LIMIT
from multinic_daemon.engine.limits import limited
from multinic_daemon.journal.decisions import Decision

log = logging.getLogger(__name__)

DEFAULT_STRATEGY = "none"
"""For networks without ``spec.attachPolicy``."""


@dataclass(frozen=True, slots=True)
class Members:
    """The NICs of this node that belong to a network."""

    nics: tuple[Nic, ...]
    """In the network's order: that of ``masterNets``, then by name."""
    left: dict[str, str]
    """ifname of every other NIC to why it is not one of them."""


def find_members(
    registry: Registry, netconf: NetConf, view: NodeView, pool_parents: Collection[str], cidr: CIDR | None
) -> Members:
    """Say of each NIC whether it belongs to the network.

    With ``masterNets``, those whose network is named. Without, all; but where addresses come from computed pools,
    what counts is the operator's record: a pool for the NIC, or a block for its network. A NIC that is a member by
    that rule and has no pool stays a member, so that allocating says so rather than the pod getting fewer NICs in
    silence.

    Args:
        pool_parents: ifnames that have a pool of this network.
        cidr: the network's blocks, or None.
    """
    nics = sorted(view.nics.values(), key=lambda nic: nic.ifname)
    networks = {nic.ifname: nic.net_address for nic in nics}
    if netconf.master_nets:
        order = {network: position for position, network in enumerate(netconf.master_nets)}
        # A NIC without address of its own belongs when the operator was told so by hand and made a pool for it.
        chosen = [
            nic for nic in nics if networks[nic.ifname] in order or (nic.network is None and nic.ifname in pool_parents)
        ]
        chosen.sort(key=lambda nic: (order.get(networks[nic.ifname], len(order)), nic.ifname))
        why = "its network {} is not one of masterNets"
    elif registry.gives_from_pools(netconf.ipam.get("type")):
        blocks = {entry.net_address for entry in cidr.spec.cidr} if cidr else set()
        chosen = [nic for nic in nics if nic.ifname in pool_parents or networks[nic.ifname] in blocks]
        why = "the operator has given its network {} no block"
    else:
        chosen, why = nics, ""
    names = {nic.ifname for nic in chosen}
    left = {nic.ifname: why.format(nic.network or "(none)") for nic in nics if nic.ifname not in names}
    return Members(tuple(chosen), left)


def strategy_of(registry: Registry, network: MultiNicNetwork) -> AttachmentStrategy:
    """The network's strategy.

    Raises:
        ConfigError: it is not installed.
    """
    policy = network.spec.attach_policy
    name = policy.strategy if policy else DEFAULT_STRATEGY
    if name not in registry.strategies:
        raise ConfigError(
            f"network {network.name!r}: spec.attachPolicy.strategy: found {name!r}, expected one that is installed:"
            f" {sorted(registry.strategies.objects)!r}"
        )
    return registry.strategies[name]


def choose(
    registry: Registry,
    netconf: NetConf,
    network: MultiNicNetwork,
    pod: PodReference,
    members: Members,
    node: str,
    known: Known = NOTHING_KNOWN,
) -> Selection:
    """Ask the network's strategy.

    Args:
        known: what there is to know beside the NICs.

    Raises:
        ConfigError: the strategy is not installed.
        SelectionError: it cannot be satisfied here.
        PluginError: it raised, or answered against its contract.
    """
    strategy = strategy_of(registry, network)
    policy = network.spec.attach_policy
    asked = netconf.args.cni
    candidates = members.nics
    if asked.masters and netconf.masters:
        candidates = tuple(nic for nic in candidates if nic.ifname in netconf.masters)
    if not candidates:
        others = "".join(f"; {ifname}: {reason}" for ifname, reason in members.left.items())
        raise SelectionError(f"network {network.name!r}: node {node!r} has no NIC of it{others}")
    request = SelectionRequest(
        network=network.name,
        pod=pod,
        nics=asked.nics or None,
        masters=tuple(asked.masters or netconf.masters or ()),
        device_class=asked.device_class,
        target=asked.target or (policy.target if policy else None) or "",
        class_ids=known.class_ids,
        args=(policy.args if policy else None) or {},
        use=known.use,
        indexes=known.indexes,
        index_count=known.index_count,
        devices=known.facts.devices,
        cpu_numa_nodes=known.facts.cpu_numa_nodes,
        labels=known.facts.labels,
        annotations=known.facts.annotations,
    )
    owner = registry.strategies.owners.get(strategy.name, "an unknown distribution")
    subject = f"strategy {strategy.name!r} of {owner}"
    try:
        selection = limited(subject, lambda: strategy.select(request, candidates))
        problem = _contract_problem(selection, candidates)
    except MultinicError:
        raise
    except Exception as error:
        raise PluginError(f"{subject}: raised {error!r}") from error
    if problem:
        raise PluginError(f"{subject}: {problem}")
    log.debug("NICs chosen", extra={"network": network.name, "chosen": selection.chosen, "reasons": selection.reasons})
    return selection


def _contract_problem(selection: Selection, candidates: Sequence[Nic]) -> str:
    offered = [nic.ifname for nic in candidates]
    chosen = list(selection.chosen)
    if not chosen:
        return "chose no NIC, expected at least one or a SelectionError"
    if foreign := [ifname for ifname in chosen if ifname not in offered]:
        return f"chose {foreign!r}, expected some of {offered!r}"
    if len(set(chosen)) < len(chosen):
        return f"chose {chosen!r}, expected no NIC twice"
    if strange := sorted(set(selection.promised) - set(chosen)):
        return f"promised bandwidth on {strange!r}, expected promises on NICs that it chose"
    return ""


def decision(selection: Selection, netconf: NetConf, network: MultiNicNetwork, members: Members) -> Decision:
    """What the journal keeps of a choice: its inputs in brief, and a reason for every NIC of the node."""
    policy, asked = network.spec.attach_policy, netconf.args.cni
    target = asked.target or (policy.target if policy else None)
    inputs = {"nics": asked.nics, "masters": asked.masters, "class": asked.device_class, "target": target}
    return Decision(
        policy.strategy if policy else DEFAULT_STRATEGY,
        {name: value for name, value in inputs.items() if value},
        selection.chosen,
        {**selection.reasons, **members.left},
        selection.promised,
        selection.figures,
        selection.warning,
    )


def link_names(ifname: str, count: int) -> tuple[str, ...]:
    """Names of a pod's links, ``<ifname>-0`` and on.

    Raises:
        InvocationError: the longest has more bytes than the kernel allows.
    """
    names = tuple(f"{ifname}-{number}" for number in range(count))
    if names and (length := len(names[-1].encode())) > IFNAME_LIMIT:
        raise InvocationError(
            f"CNI_IFNAME: found {ifname!r}, which makes a link {names[-1]!r} of {length} bytes, expected at most"
            f" {IFNAME_LIMIT}"
        )
    return names
