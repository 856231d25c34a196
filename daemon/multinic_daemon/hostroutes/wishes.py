"""The host routes that all networks want of this node, kept current from the API's objects as they change.

A CIDR that lists nodes says everything itself. For one that does not, every node's HostInterface is watched, from when
the first such CIDR is seen; the list that the watch begins with is therefore not older than that CIDR. A changed object
costs what it causes and no more, and a long list is taken in a few nodes at a time, because pods are served meanwhile.

What cannot be known says nothing: until the first complete lists, while an object does not fit its schema, and as long
as this node's own HostInterface is not there, a network's routes are to stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import trio

from multinic_core.model import CIDR, CIDRS, HostInterface
from multinic_core.plan import IPNetwork
from multinic_core.ports import Key, Kubernetes, Store
from multinic_daemon.hostroutes.allhosts import ALL_HOSTS
from multinic_daemon.hostroutes.compact import CompactRoutes
from multinic_daemon.hostroutes.desired import HostRoute, NetworkRoutes, is_routed, network_routes, order, rule_sources
from multinic_daemon.hostroutes.keeper import Deltas

NODES_AT_ONCE = 10
"""Taken in between two turns of the event loop: about 3 ms with 16 NICs each."""


@dataclass(slots=True)
class _Network:
    """What one network wants."""

    cidr: CIDR
    sources: tuple[IPNetwork, ...]
    table: dict[IPNetwork, HostRoute]
    """The routes, by ``dst``."""
    said: tuple[str, ...]
    """What of the CIDR cannot be routed."""
    compact: CompactRoutes | None = None
    """None: the CIDR lists its nodes. Else ``table`` is that of this one."""

    @property
    def problems(self) -> tuple[str, ...]:
        return (*self.said, *self.compact.problems) if self.compact else self.said

    @property
    def ifnames(self) -> set[str]:
        if self.compact:
            return set(self.compact.ifnames.values())
        return {route.ifname for route in self.table.values()}


@dataclass(frozen=True, slots=True)
class Step:
    """What has changed since the last one."""

    deltas: Deltas | None
    """None: what is there has to be compared with all that is wanted."""
    cidrs: Mapping[str, CIDR]
    """Of the networks that have routes here."""
    unknown: Mapping[str, str]
    """Network whose wish cannot be known now, and why, "" when it is only a matter of time."""


class Wishes:
    """All networks of one node."""

    def __init__(self, node: str, kubernetes: Kubernetes, wake: Callable[[], None]) -> None:
        """``wake`` is called when there is something to take in."""
        self._node = node
        self._kubernetes = kubernetes
        self._wake = wake
        self._cidrs = kubernetes.store(CIDRS)
        self._hosts: Store[HostInterface] | None = None
        """None: no CIDR has needed them yet."""
        self._present: set[str] = set()
        """Nodes whose HostInterfaces are there."""
        self._networks: dict[str, _Network] = {}
        self._unknown: dict[str, str] = {}
        self._new_cidrs: dict[str, None] = {}
        self._new_hosts: dict[str, None] = {}
        self._changed: dict[str, set[IPNetwork]] | None = None
        """None: all is to be compared."""
        self._cidrs.subscribe(self._cidr_changed)

    async def wait_synced(self) -> None:
        """Wait for the first complete list of CIDRs."""
        await self._cidrs.wait_synced()

    @property
    def nodes(self) -> int:
        """How many nodes the largest network spans, about."""
        listed = max((len({h.host_name for e in n.cidr.spec.cidr for h in e.hosts}) for n in self._listed()), default=0)
        return max(listed, len(self._present))

    @property
    def ifnames(self) -> frozenset[str]:
        """NICs of this node that routes go through."""
        return frozenset(name for network in self._networks.values() for name in network.ifnames)

    def _listed(self) -> list[_Network]:
        return [network for network in self._networks.values() if network.compact is None]

    def _cidr_changed(self, key: Key) -> None:
        self._new_cidrs[key.name] = None
        self._wake()

    def _host_changed(self, key: Key) -> None:
        self._new_hosts[key.name] = None
        self._wake()

    async def serve_hosts(self) -> None:
        """Say when the first complete list of HostInterfaces has arrived; to be run once they are ``awaited``."""
        if self._hosts is not None:
            await self._hosts.wait_synced()
            self._new_cidrs |= dict.fromkeys(self._unknown)
            self._wake()

    @property
    def awaited(self) -> bool:
        """Whether the first complete list of HostInterfaces is needed and has not come."""
        return self._hosts is not None and not self._hosts.synced

    async def refresh(self) -> None:
        """Take in all that has changed."""
        while self._new_cidrs or self._new_hosts:
            while self._new_cidrs:
                name = next(iter(self._new_cidrs))
                del self._new_cidrs[name]
                await self._take_cidr(name)
            for number, name in enumerate(list(self._new_hosts), 1):
                del self._new_hosts[name]
                self._take_host(name)
                if number % NODES_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()

    def take(self) -> Step:
        """What has changed since the last call; the next one begins with nothing."""
        changed, self._changed = self._changed, {}
        deltas = None
        if changed is not None:
            deltas = {
                name: {dst: self._networks[name].table.get(dst) for dst in all_} for name, all_ in changed.items()
            }
        return Step(deltas, {name: each.cidr for name, each in self._networks.items()}, dict(self._unknown))

    def whole(self) -> list[Callable[[], NetworkRoutes]]:
        """All that is wanted now, each to be sorted where that blocks nobody; ``problems`` are told apart."""
        return [
            _sorted(name, network.sources, tuple(network.table.values())) for name, network in self._networks.items()
        ]

    def problems(self) -> dict[str, tuple[str, ...]]:
        """Network to what of it cannot be routed; those without are absent."""
        return {name: found for name, network in self._networks.items() if (found := network.problems)}

    # Taking in

    async def _take_cidr(self, name: str) -> None:
        self._unknown.pop(name, None)
        cidr = self._cidrs.get(name)
        if cidr is None and (reason := self._cidrs.invalid.get(Key("", name))):
            self._unknown[name] = f"CIDR does not fit its schema: {reason}"
        elif cidr is None or not is_routed(cidr):
            self._drop(name)
        elif not cidr.spec.compact:
            wish = network_routes(cidr, self._node)
            if wish is None:
                self._drop(name)
            else:
                table = {route.dst: route for route in wish.routes}
                self._put(name, _Network(cidr, wish.sources, table, wish.problems))
        else:
            await self._take_compact(cidr)

    async def _take_compact(self, cidr: CIDR) -> None:
        if self._hosts is None:
            self._hosts = self._kubernetes.store(ALL_HOSTS)
            self._hosts.subscribe(self._host_changed)
        own = self._hosts.get(self._node)
        if own is None or not self._hosts.synced:
            self._unknown[cidr.name] = ""  # that the object is away says nothing about the NICs
            return
        there = self._networks.get(cidr.name)
        try:
            compact = CompactRoutes(cidr, own)
        except ValueError as error:
            self._unknown[cidr.name] = f"CIDR cannot be read: {error}"
            return
        if not compact.ifnames:
            self._drop(cidr.name)
            return
        if there and there.compact and there.cidr.spec == cidr.spec and there.compact.ifnames == compact.ifnames:
            there.cidr = cidr
            return
        for number, host in enumerate(self._hosts.list(), 1):
            compact.set_node(host.name, host)
            if number % NODES_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        said: list[str] = []
        sources = rule_sources(cidr, said)
        self._put(cidr.name, _Network(cidr, sources, compact.table, tuple(said), compact))

    def _take_host(self, name: str) -> None:
        if self._hosts is None:
            return
        host = self._hosts.get(name)
        if host is None and Key("", name) in self._hosts.invalid:
            return  # nobody knows what it says now; its routes stay
        self._present.discard(name)
        if host is not None:
            self._present.add(name)
        if name == self._node:
            compact = (each for each, network in self._networks.items() if network.compact)
            self._new_cidrs |= dict.fromkeys((*compact, *self._unknown))
            return
        for network, each in self._networks.items():
            if each.compact and (changed := each.compact.set_node(name, host)):
                self._mark(network, changed)

    def _put(self, name: str, fresh: _Network) -> None:
        before = self._networks.get(name)
        self._networks[name] = fresh
        if before is None or before.sources != fresh.sources:
            self._changed = None
            return
        old, new = before.table, fresh.table
        self._mark(name, {dst for dst in old.keys() | new.keys() if old.get(dst) != new.get(dst)})

    def _drop(self, name: str) -> None:
        # also when it is not known here: the daemon before this one may have made its routes
        self._networks.pop(name, None)
        self._changed = None

    def _mark(self, name: str, changed: set[IPNetwork]) -> None:
        if self._changed is not None and changed:
            self._changed.setdefault(name, set()).update(changed)


def _sorted(name: str, sources: tuple[IPNetwork, ...], routes: tuple[HostRoute, ...]) -> Callable[[], NetworkRoutes]:
    return lambda: NetworkRoutes(name, sources, tuple(sorted(routes, key=order)))
