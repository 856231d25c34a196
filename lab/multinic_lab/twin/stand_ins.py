"""What stands in for a node's kernel: NICs that are as they are said to be, and a table of routes in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from multinic_daemon.hostroutes.desired import HostRoute, NetworkRoutes
from multinic_daemon.hostroutes.keeper import Deltas
from multinic_daemon.netlink import Link

from multinic_core.plan import IPAddress, IPInterface, IPNetwork, Nic, NodeView


class SaidNics:
    """In place of discovery."""

    def __init__(self, node: str, nics: Mapping[str, Nic]) -> None:
        self._view = NodeView(node, MappingProxyType(dict(nics)))
        self._callbacks: list[Callable[[], None]] = []

    def say(self, nics: Mapping[str, Nic]) -> None:
        """These are the NICs from now on."""
        self._view = NodeView(self._view.name, MappingProxyType(dict(nics)))
        for changed in self._callbacks:
            changed()

    def view(self) -> NodeView:
        return self._view

    def subscribe(self, changed: Callable[[], None]) -> None:
        self._callbacks.append(changed)

    async def settled(self) -> None:
        """At once: what is said is so."""

    def set_declared(self, declared: Mapping[str, tuple[IPInterface, ...]]) -> None:
        """Nothing: no HostInterface of a twin is written by hand."""

    def set_internal_addresses(self, addresses: frozenset[IPAddress]) -> None:
        """Nothing: a twin's nodes have no primary NIC."""


class MemoryRoutes:
    """In place of the kernel's tables."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """``changed`` is called, in any thread, after routes have changed."""
        self.tables: dict[str, int] = {}
        self.ifindexes: frozenset[int] = frozenset()
        self.links: dict[str, Link] = {}
        self.routes: dict[str, dict[IPNetwork, HostRoute]] = {}
        """Network to its routes by ``dst``."""
        self._changed = changed

    @property
    def port(self) -> int:
        return 0

    def reconcile(self, wishes: Collection[NetworkRoutes], unknown: Collection[str] = ()) -> dict[str, list[str]]:
        left = {network: table for network, table in self.routes.items() if network in unknown}
        self.routes = {**left, **{wish.network: {route.dst: route for route in wish.routes} for wish in wishes}}
        self._changed()
        return {}

    def follow(self, deltas: Deltas) -> dict[str, list[str]] | None:
        if not deltas.keys() <= self.routes.keys():
            return None
        for network, wanted in deltas.items():
            table = self.routes[network]
            for dst, route in wanted.items():
                if route is None:
                    table.pop(dst, None)
                else:
                    table[dst] = route
        self._changed()
        return {}
