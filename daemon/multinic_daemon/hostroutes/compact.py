"""The host routes of one network whose CIDR lists no nodes, node by node. Pure.

Each node's HostInterface gives its share of the routes by arithmetic and by itself, so a node that comes, changes or
goes costs its own few routes, however many nodes there are. Through which NIC this node reaches a NIC network does not
wait for its own index: its routes lead to others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import TypeVar

from multinic_core.addressing import block, covers
from multinic_core.model import CIDR, HostInterface
from multinic_core.plan import IPNetwork
from multinic_core.rows import Row, Rows, nic_network, nics_by_network
from multinic_daemon.hostroutes.desired import HostRoute, NetworkRoutes, is_routed, order, rule_sources

T = TypeVar("T")


class CompactRoutes:
    """The routes of one network on this node, and which node is the cause of each."""

    def __init__(self, cidr: CIDR, own: HostInterface) -> None:
        """Raises ValueError when the CIDR's addresses cannot be read."""
        self._rows = Rows(cidr.name, cidr.spec)
        self._node = own.name
        self.ifnames = own_nics(self._rows, own)
        """NIC network to this node's NIC in it."""
        self._blocks = {place.entry.net_address: place.block for place in self._rows.places.values()}
        self.table: dict[IPNetwork, HostRoute] = {}
        """The routes wanted now, by ``dst``."""
        self._versions: dict[str, str] = {}
        """Node to the resourceVersion of its HostInterface that its share was computed from."""
        self._shares: dict[str, tuple[HostRoute, ...]] = {}
        """Node to the routes that lead to it."""
        self._contested: dict[IPNetwork, dict[str, HostRoute]] = {}
        """``dst`` that several nodes claim: the first by name has it."""
        self._problems: dict[str, tuple[str, ...]] = {}
        """Node to what of it cannot be routed."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What cannot be routed, sorted by node."""
        of_nodes = [text for _, texts in sorted(self._problems.items()) for text in texts]
        contested = sorted((order(self.table[dst]), dst, sorted(nodes)) for dst, nodes in self._contested.items())
        return (*of_nodes, *(f"{dst} is the block of {' and '.join(nodes)}" for _, dst, nodes in contested))

    def set_node(self, name: str, host: HostInterface | None) -> set[IPNetwork]:
        """Take in one node as it is now, None when it is gone; gives each ``dst`` whose route is another one now."""
        version = host.metadata.resource_version if host is not None else None
        if name == self._node or (version is not None and version == self._versions.get(name)):
            return set()
        if version is None:
            self._versions.pop(name, None)
        else:
            self._versions[name] = version
        problems: list[str] = []
        fresh: tuple[HostRoute, ...] = ()
        if host is not None:
            rows = self._rows.of(host)
            fresh = (*self._routes_to(host, rows, problems), *self._undecided(host, rows))
        _put(self._problems, name, tuple(problems))
        before = {route.dst: route for route in self._shares.get(name, ())}
        changed: set[IPNetwork] = set()
        for route in fresh:
            was = before.pop(route.dst, None) if before else None
            if was != route and self._claim(route.dst, name, route, held=was is not None):
                changed.add(route.dst)
        changed |= {dst for dst in before if self._claim(dst, name, None, held=True)}
        _put(self._shares, name, fresh)
        return changed

    def _claim(self, dst: IPNetwork, node: str, route: HostRoute | None, *, held: bool) -> bool:
        """Let a node have this route to ``dst``, None for none any more; whether the one wanted is another one now.

        Args:
            held: the node had a route to it before.
        """
        there, claims = self.table.get(dst), self._contested.get(dst)
        if claims is None:
            if there is None or held:
                if route is None:
                    self.table.pop(dst, None)
                else:
                    self.table[dst] = route
                return there != route
            claims = self._contested[dst] = {self._owner(dst, node): there}
        if route is None:
            claims.pop(node, None)
        else:
            claims[node] = route
        if len(claims) == 1:
            del self._contested[dst]
        self.table[dst] = claims[min(claims)]
        return self.table[dst] != there

    def _owner(self, dst: IPNetwork, default: str) -> str:
        found = (name for name, share in self._shares.items() if any(route.dst == dst for route in share))
        return next(found, default)

    def _undecided(self, host: HostInterface, rows: Iterable[Row]) -> Iterator[HostRoute]:
        """Routes that a node had before it got a second NIC in a network, as long as the operator has not yet said
        which of them has which block: nothing is known to have moved."""
        decided = {nic_network(row.entry.net_address) for row in rows}
        for network, nics in nics_by_network(host).items():
            place = self._rows.places.get(network)
            if place is None or len(nics) == 1 or network in decided:
                continue
            for route in self._shares.get(host.name, ()):
                if covers(place.block, route.dst) and str(route.gateway) in nics.values():
                    yield route

    def _routes_to(self, host: HostInterface, rows: Iterable[Row], problems: list[str]) -> Iterator[HostRoute]:
        for row in rows:
            ifname = self.ifnames.get(row.entry.net_address)
            if ifname is None:
                continue
            dst = block(self._blocks[row.entry.net_address], self._rows.host_bits, row.host_index)
            try:
                gateway = ip_address(row.host_ip)
            except ValueError:
                problems.append(f"{host.name} {row.interface_name}: {dst} via {row.host_ip!r} is no route")
                continue
            if dst.version != gateway.version:
                problems.append(f"{host.name} {row.interface_name}: {dst} cannot be reached via {gateway}")
                continue
            yield HostRoute(dst, gateway, ifname)


def _put(table: dict[str, tuple[T, ...]], name: str, value: tuple[T, ...]) -> None:
    if value:
        table[name] = value
    else:
        table.pop(name, None)


def own_nics(rows: Rows, own: HostInterface) -> dict[str, str]:
    """NIC network, as the CIDR writes it, to this node's NIC: the first by name that has a block, else the first."""
    found: dict[str, str] = {}
    for row in rows.of(own):
        found.setdefault(row.entry.net_address, row.interface_name)
    nics = nics_by_network(own)
    for network, place in rows.places.items():
        for ifname in nics.get(network, ()):
            found.setdefault(place.entry.net_address, ifname)
    return found


def compact_routes(cidr: CIDR, node: str, hosts: Iterable[HostInterface]) -> NetworkRoutes | None:
    """All the host routes of a compact network on this node; None when it has none.

    Raises:
        ValueError: the CIDR's addresses cannot be read.
    """
    hosts = list(hosts)
    own = next((host for host in hosts if host.name == node), None)
    if own is None or not is_routed(cidr):
        return None
    routes = CompactRoutes(cidr, own)
    if not routes.ifnames:
        return None
    for host in hosts:
        routes.set_node(host.name, host)
    problems: list[str] = []
    sources = rule_sources(cidr, problems)
    ordered = tuple(sorted(routes.table.values(), key=order))
    return NetworkRoutes(cidr.name, sources, ordered, (*problems, *routes.problems))
