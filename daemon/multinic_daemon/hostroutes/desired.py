"""Which host routes a node shall have, and what is to be done for it to have them. Pure.

A network of mode l3 or l3s has one routing table on each of its nodes. For every NIC network that the node is on and
every other node there, the table holds ``podCIDR via hostIP dev NIC``; a rule ``from SUBNET lookup TABLE`` sends the
pods' traffic, and nothing else, through it.

What is ours carries our own routing protocol number, routes and rules alike. All else is foreign and left alone, also
when it stands in our table: a route there that leads where ours would is as good, one that leads elsewhere is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from multinic_core.model import CIDR, CIDREntry
from multinic_core.plan import IPAddress, IPNetwork
from multinic_daemon.netlink.observed import Link, Route, Rule

PROTOCOL = 109
"""Our number among the routing protocols: 0 to 255, unassigned in linux/rtnetlink.h and iproute2's rt_protos."""
RULE_PRIORITY = 32765
"""Just before the main table's rule, 32766, where ``ip rule add`` puts the first rule as well."""

L3_MODES = frozenset({"l3", "l3s"})


class HostRoute(NamedTuple):
    """``dst via gateway dev ifname``."""

    dst: IPNetwork
    gateway: IPAddress
    ifname: str


@dataclass(frozen=True, slots=True)
class NetworkRoutes:
    """What one network wants of this node."""

    network: str
    sources: tuple[IPNetwork, ...]
    """Its subnets, one rule each."""
    routes: tuple[HostRoute, ...]
    """One for each ``dst``, sorted."""
    problems: tuple[str, ...] = ()
    """What of the CIDR cannot be routed."""


def network_routes(cidr: CIDR, node: str) -> NetworkRoutes | None:
    """The host routes of a network whose CIDR lists the nodes; for others :mod:`multinic_daemon.hostroutes.compact`.

    None when this node has none: not an L3 network, or not one of this node.
    """
    if not is_routed(cidr):
        return None
    if not any(host.host_name == node for entry in cidr.spec.cidr for host in entry.hosts):
        return None
    problems: list[str] = []
    sources = rule_sources(cidr, problems)
    routes: dict[IPNetwork, HostRoute] = {}
    for entry in cidr.spec.cidr:
        for route in _entry_routes(entry, node, problems):
            routes.setdefault(route.dst, route)
    return NetworkRoutes(cidr.name, sources, tuple(sorted(routes.values(), key=order)), tuple(problems))


def is_routed(cidr: CIDR) -> bool:
    """Whether nodes have host routes for this network."""
    return cidr.spec.config.vlan_mode in L3_MODES and cidr.metadata.deletion_timestamp is None


def rule_sources(cidr: CIDR, problems: list[str]) -> tuple[IPNetwork, ...]:
    """The subnets that have a rule; a sentence is added for each that cannot have one."""
    sources: list[IPNetwork] = []
    for text in cidr.spec.config.subnet.split(","):
        try:
            sources.append(ip_network(text.strip(), strict=False))
        except ValueError:
            problems.append(f"subnet {text!r} is no network, so it has no rule")
    return tuple(sources)


def _entry_routes(entry: CIDREntry, node: str, problems: list[str]) -> Iterable[HostRoute]:
    own = sorted(host.interface_name for host in entry.hosts if host.host_name == node)
    if not own:
        return
    for host in entry.hosts:
        if host.host_name == node:
            continue
        try:
            dst, gateway = ip_network(host.pod_cidr), ip_address(host.host_ip)
        except ValueError:
            problems.append(
                f"{host.host_name} {host.interface_name}: {host.pod_cidr!r} via {host.host_ip!r} is no route"
            )
            continue
        if dst.version != gateway.version:
            problems.append(f"{host.host_name} {host.interface_name}: {dst} cannot be reached via {gateway}")
            continue
        yield HostRoute(dst, gateway, own[0])


def order(route: HostRoute) -> tuple[int, int, int]:
    """Sort key: by ``dst``, IPv4 first."""
    return route.dst.version, int(route.dst.network_address), route.dst.prefixlen


@dataclass(frozen=True, slots=True)
class RoutingState:
    """What the node has."""

    links: Mapping[str, Link]
    """By ifname."""
    routes: Sequence[Route]
    """Those with our protocol number, of all tables."""
    rules: Sequence[Rule]
    """All."""


class RouteAddition(NamedTuple):
    network: str
    table: int
    route: HostRoute
    ifindex: int
    replace: bool
    """There is one of ours to the same ``dst`` that leads elsewhere."""


class RuleAddition(NamedTuple):
    network: str
    table: int
    source: IPNetwork


@dataclass(slots=True)
class Changes:
    """What turns the observed state into the desired one."""

    add_routes: list[RouteAddition] = field(default_factory=list)
    delete_routes: list[Route] = field(default_factory=list)
    add_rules: list[RuleAddition] = field(default_factory=list)
    delete_rules: list[Rule] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=dict)
    """Network to what cannot be done now, one sentence per NIC or row."""


def is_ours(rule: Rule) -> bool:
    """Whether a rule can have been made here: our protocol number on ``from SUBNET lookup TABLE`` and nothing more."""
    return rule.protocol == PROTOCOL and rule.plain and rule.source is not None


def route_changes(
    desired: Mapping[int, NetworkRoutes], state: RoutingState, kept: frozenset[int] = frozenset()
) -> Changes:
    """Compare.

    Args:
        desired: table id to what shall be in it. Our routes and rules of any other table are stale, except
        kept: tables of networks whose wish is unknown.
    """
    changes = Changes()
    held: dict[tuple[int, IPNetwork], list[Route]] = {}
    for route in state.routes:
        if route.protocol != PROTOCOL or route.table in kept:
            continue
        if route.table in desired:
            held.setdefault((route.table, route.dst), []).append(route)
        else:
            changes.delete_routes.append(route)
    for table, wish in desired.items():
        problems = list(wish.problems)
        lost: dict[str, None] = {}
        for wanted in wish.routes:
            there = held.pop((table, wanted.dst), [])
            link = state.links.get(wanted.ifname)
            if link is None or not link.up:
                # a renamed NIC still carries the old routes, and the CIDR will follow: nothing healthy is taken away
                lost[wanted.ifname] = None
                continue
            good = [r for r in there if r.gateway == wanted.gateway and r.ifindexes == (link.ifindex,)]
            if not good:
                changes.add_routes.append(RouteAddition(wish.network, table, wanted, link.ifindex, bool(there)))
                there = there[1:]  # the first is replaced in one step, so that its traffic never stops
            changes.delete_routes += [route for route in there if route not in good[:1]]
        for ifname in lost:  # how many they are stays out of a report, as it changes with each node that joins
            what = "is missing" if ifname not in state.links else "is down"
            problems.append(f"NIC {ifname!r} {what}, its routes wait for it")
        if problems:
            changes.problems[wish.network] = problems
    changes.delete_routes += [route for routes in held.values() for route in routes]
    _rule_changes(desired, state.rules, kept, changes)
    return changes


def _rule_changes(
    desired: Mapping[int, NetworkRoutes], rules: Sequence[Rule], kept: frozenset[int], changes: Changes
) -> None:
    wanted = {(table, source): wish.network for table, wish in desired.items() for source in wish.sources}
    for rule in rules:
        if not is_ours(rule) or rule.table in kept:
            continue
        if rule.source and rule.priority == RULE_PRIORITY and (rule.table, rule.source) in wanted:
            del wanted[rule.table, rule.source]
        else:
            changes.delete_rules.append(rule)
    changes.add_rules += [RuleAddition(network, table, source) for (table, source), network in wanted.items()]
