"""Brings the kernel's host routes and rules to what the networks want: one reading, one comparison, one batch."""

from __future__ import annotations

import errno
import logging
from collections.abc import Collection, Iterable
from pathlib import Path

from multinic_core.errors import KernelError
from multinic_daemon.hostroutes import (
    PROTOCOL,
    RULE_PRIORITY,
    Changes,
    NetworkRoutes,
    RouteAddition,
    RoutingState,
    is_ours,
    route_changes,
)
from multinic_daemon.netlink import Conversation, Request, open_netns
from multinic_daemon.netlink import requests as rq
from multinic_daemon.netlink.observed import Route, Rule, read_links, read_routes, read_rules
from multinic_daemon.tables import assign_tables, named_tables, write_names

log = logging.getLogger(__name__)

_GONE = frozenset({errno.ESRCH, errno.ENOENT, errno.ENODEV})
"""Answers to a deletion of what has gone by itself."""


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
        self._named: dict[str, int] | None = None

    @property
    def port(self) -> int:
        """By which announcements tell that they are about our own changes; 0 before the first."""
        return self._kernel.port if self._kernel else 0

    def close(self) -> None:
        """Give up the socket; the next reconciliation opens another. Routes stay as they are."""
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

    def _reconcile(
        self, kernel: Conversation, wishes: Collection[NetworkRoutes], unknown: set[str]
    ) -> dict[str, list[str]]:
        # rules before routes: what is read later can only be newer
        rules = read_rules(kernel)
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
        self.ifindexes = frozenset(
            links[route.ifname].ifindex for wish in wishes for route in wish.routes if route.ifname in links
        )
        problems = self._perform(kernel, route_changes(desired, state, kept - desired.keys()))
        self.tables = {**left, **assigned}
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

    def _perform(self, kernel: Conversation, changes: Changes) -> dict[str, list[str]]:
        """Rules go before their routes and come after them, so that no traffic meets an empty table."""
        problems = {network: list(found) for network, found in changes.problems.items()}
        removals = [
            rq.delete_rule(rule.source, rule.table, rule.priority, PROTOCOL, f"stale rule from {rule.source}")
            for rule in changes.delete_rules
            if rule.source
        ]
        additions = [_add_route(addition) for addition in changes.add_routes]
        stale = [
            rq.delete_route(
                route.dst,
                route.ifindexes[0] if len(route.ifindexes) == 1 else 0,
                route.gateway,
                f"stale route {route.dst} of table {route.table}",
                table=route.table,
                protocol=PROTOCOL,
                priority=route.priority,
            )
            for route in changes.delete_routes
        ]
        rules = [
            rq.add_rule(
                rule.source, rule.table, RULE_PRIORITY, PROTOCOL, f"rule from {rule.source} lookup {rule.table}"
            )
            for rule in changes.add_rules
        ]
        asked = [*removals, *additions, *stale, *rules]
        if not asked:
            return problems
        answers = iter(kernel.ask(asked))
        of_removals = [next(answers) for _ in removals]
        of_additions = [next(answers) for _ in additions]
        of_stale = [next(answers) for _ in stale]
        of_rules = [next(answers) for _ in rules]
        occupied: dict[int, list[Route]] = {}
        for addition, request, refusal in zip(changes.add_routes, additions, of_additions, strict=True):
            if refusal is None:
                continue
            text = refusal.text
            if refusal.errno == errno.EEXIST:
                if addition.table not in occupied:
                    occupied[addition.table] = read_routes(kernel, table=addition.table)
                if _leads_there(addition, occupied[addition.table]):
                    continue
                text = "a foreign route to it is in the table"
            problems.setdefault(addition.network, []).append(f"{request.subject}: {text}")
        for rule, request, refusal in zip(changes.add_rules, rules, of_rules, strict=True):
            if refusal is not None and refusal.errno != errno.EEXIST:
                problems.setdefault(rule.network, []).append(f"{request.subject}: {refusal.text}")
        for request, refusal in zip((*removals, *stale), (*of_removals, *of_stale), strict=True):
            if refusal is not None and refusal.errno not in _GONE:
                log.warning("not removed", extra={"what": request.subject, "error": refusal.text})
        log.info(
            "host routes changed",
            extra={
                "routes_added": len(additions),
                "routes_removed": len(stale),
                "rules_added": len(rules),
                "rules_removed": len(removals),
                "failed": sorted(problems),
            },
        )
        return problems

    def _name_tables(self) -> None:
        if self._iproute2 is None or self.tables == self._named:
            return
        try:
            write_names(self._iproute2, self.tables)
        except OSError as error:  # names are for people; routes work without
            log.warning("routing tables not named", extra={"folder": str(self._iproute2), "error": str(error)})
        self._named = dict(self.tables)


def _add_route(addition: RouteAddition) -> Request:
    route = addition.route
    return rq.add_route(
        route.dst,
        addition.ifindex,
        route.gateway,
        f"route {route.dst} via {route.gateway} dev {route.ifname} table {addition.table}",
        table=addition.table,
        protocol=PROTOCOL,
        replace=addition.replace,
    )


def _leads_there(addition: RouteAddition, routes: Iterable[Route]) -> bool:
    wanted = (addition.route.dst, addition.route.gateway, (addition.ifindex,))
    return any((route.dst, route.gateway, route.ifindexes) == wanted for route in routes)
