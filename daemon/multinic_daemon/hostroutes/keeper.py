"""Brings the kernel's host routes and rules to what the networks want: one reading, one comparison, one batch.

Between two comparisons what the last one left is known, and a change of a few routes is made without reading all of
them: the same pure comparison, of those few alone. Where it is not known what there is, as after a refusal, it says so,
and everything has to be compared.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from multinic_core.errors import KernelError
from multinic_core.plan import IPNetwork
from multinic_daemon.hostroutes.batch import perform
from multinic_daemon.hostroutes.desired import (
    PROTOCOL,
    HostRoute,
    NetworkRoutes,
    RoutingState,
    is_ours,
    route_changes,
)
from multinic_daemon.hostroutes.tables import assign_tables, named_tables, write_names
from multinic_daemon.netlink import Conversation, open_netns
from multinic_daemon.netlink import requests as rq
from multinic_daemon.netlink.observed import Link, Route, Rule, read_links, read_routes, read_rules

log = logging.getLogger(__name__)

Deltas = Mapping[str, Mapping[IPNetwork, HostRoute | None]]
"""Network to each ``dst`` that has changed, with the route that it shall have now, None for none."""


@dataclass(slots=True)
class _Known:
    """What one network's table holds since the last comparison."""

    routes: dict[IPNetwork, HostRoute]
    """What was wanted last, by ``dst``; it is there, but for what is
    doubtful."""
    doubtful: set[IPNetwork] = field(default_factory=set)
    """``dst`` of which it is not known what is there: refused, waiting for its NIC, or held by a foreign route."""


class RouteKeeper:
    """The host routes of one node. All methods block; one at a time.

    Args:
        netns: path of the node's network namespace; None: the process's own.
        iproute2: iproute2's configuration folder, where tables are named; None: they are neither named nor looked up.
    """

    def __init__(self, *, netns: str | None = None, iproute2: Path | None = None) -> None:
        self._netns = netns
        self._iproute2 = iproute2
        self._kernel: Conversation | None = None
        self.tables: dict[str, int] = {}
        """Network to the table it was given."""
        self.ifindexes: frozenset[int] = frozenset()
        """Links that routes go through, as last seen."""
        self.links: dict[str, Link] = {}
        """The node's links by ifname, as last seen."""
        self._known: dict[str, _Known] = {}
        """Network to what its table holds; without those of which nothing is known."""
        self._named: dict[str, int] | None = None

    @property
    def port(self) -> int:
        """By which announcements tell that they are about our own changes; 0 before the first."""
        return self._kernel.port if self._kernel else 0

    def close(self) -> None:
        """Give up the socket; the next reconciliation opens another. Routes stay as they are."""
        self._known = {}
        if self._kernel:
            self._kernel.close()
            self._kernel = None

    def reconcile(self, wishes: Collection[NetworkRoutes], unknown: Collection[str] = ()) -> dict[str, list[str]]:
        """Add what is missing, replace what leads elsewhere, remove what is stale; healthy routes are not touched.

        Args:
            unknown: networks whose wish cannot be read now; their tables are left as they are.

        Returns:
            Network to what is not as it should be; a network that is absent is as it should be.

        Raises:
            KernelError: the kernel does not answer; what was done is unknown, and the next call finds out.
        """
        try:
            return self._reconcile(self._open(), wishes, set(unknown))
        except KernelError:
            self.close()
            raise

    def follow(self, deltas: Deltas) -> dict[str, list[str]] | None:
        """Make a few changes on top of what the last call left, without looking at the rest.

        Returns:
            Network to what could not be done of this; None: nothing was done, as it is not known what there is.

        Raises:
            KernelError: as ``reconcile``.
        """
        for network, wanted in deltas.items():
            known = self._known.get(network)
            if known is None or not known.doubtful.isdisjoint(wanted):
                return None
        try:
            return self._follow(self._open(), deltas)
        except KernelError:
            self.close()
            raise

    def _follow(self, kernel: Conversation, deltas: Deltas) -> dict[str, list[str]]:
        desired: dict[int, NetworkRoutes] = {}
        there: list[Route] = []
        for network, wanted in deltas.items():
            table, routes = self.tables[network], self._known[network].routes
            desired[table] = NetworkRoutes(network, (), tuple(route for route in wanted.values() if route is not None))
            for old in (routes[dst] for dst in wanted if dst in routes):
                out = (self.links[old.ifname].ifindex,)
                there.append(Route(old.dst, old.gateway, out, table, PROTOCOL, 0, rq.RTN_UNICAST))
        changes = route_changes(desired, RoutingState(self.links, there, ()))
        problems, refused = perform(kernel, changes)
        for table, wish in desired.items():
            known = self._known[wish.network]
            for dst in deltas[wish.network]:
                known.routes.pop(dst, None)
            known.routes |= {route.dst: route for route in wish.routes}
            known.doubtful |= self._doubtful(wish, refused.get(table, set()))
        return problems

    def _doubtful(self, wish: NetworkRoutes, refused: set[IPNetwork]) -> set[IPNetwork]:
        up = {ifname for ifname, link in self.links.items() if link.up}
        return refused | {route.dst for route in wish.routes if route.ifname not in up}

    def _reconcile(
        self, kernel: Conversation, wishes: Collection[NetworkRoutes], unknown: set[str]
    ) -> dict[str, list[str]]:
        # rules before routes: what is read later can only be newer
        rules = read_rules(kernel)
        self._known = {}
        links = {link.ifname: link for link in read_links(kernel)}
        state = RoutingState(links, read_routes(kernel, protocol=PROTOCOL), rules)
        assigned = self._assign(kernel, wishes, rules)
        desired = {assigned[wish.network]: wish for wish in wishes}
        left = {network: table for network, table in self.tables.items() if network in unknown}
        if unknown <= left.keys():
            kept = frozenset(left.values())
        else:
            # after a restart it is not known which tables those networks have, so nothing unclaimed is removed
            kept = frozenset(row.table for rows in (state.routes, filter(is_ours, rules)) for row in rows)
        ifnames = {route.ifname for wish in wishes for route in wish.routes}
        self.links, self.ifindexes = links, frozenset(links[name].ifindex for name in ifnames if name in links)
        problems, refused = perform(kernel, route_changes(desired, state, kept - desired.keys()))
        self.tables = {**left, **assigned}
        self._known = {
            wish.network: _Known(
                {route.dst: route for route in wish.routes}, self._doubtful(wish, refused.get(table, set()))
            )
            for table, wish in desired.items()
        }
        self._name_tables()
        return problems

    def _open(self) -> Conversation:
        if self._kernel is None:
            with open_netns(self._netns) as netns:
                self._kernel = Conversation(netns if self._netns else None)
        return self._kernel

    def _assign(self, kernel: Conversation, wishes: Collection[NetworkRoutes], rules: list[Rule]) -> dict[str, int]:
        foreign: set[int] = set()
        if self._iproute2 and any(wish.network not in self.tables for wish in wishes):
            foreign |= named_tables(self._iproute2).keys()
        while True:
            assigned = assign_tables(wishes, rules, self.tables, foreign)
            ours = {*self.tables.values(), *(rule.table for rule in rules if is_ours(rule))}
            occupied = {
                table
                for table in assigned.values()
                if table not in ours and any(r.protocol != PROTOCOL for r in read_routes(kernel, table=table))
            }
            if not occupied:
                return assigned
            foreign |= occupied

    def _name_tables(self) -> None:
        if self._iproute2 is None or self.tables == self._named:
            return
        try:
            write_names(self._iproute2, self.tables)
        except OSError as error:  # names are for people; routes work without
            log.warning("routing tables not named", extra={"folder": str(self._iproute2), "error": str(error)})
        self._named = dict(self.tables)
