"""One batch of changes to host routes and rules, and what the kernel's answers mean."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable
from typing import NamedTuple

from multinic_core.plan import IPNetwork
from multinic_daemon.hostroutes.desired import PROTOCOL, RULE_PRIORITY, Changes, RouteAddition
from multinic_daemon.netlink import Conversation, Request
from multinic_daemon.netlink import requests as rq
from multinic_daemon.netlink.observed import Route, read_routes

log = logging.getLogger(__name__)

_GONE = frozenset({errno.ESRCH, errno.ENOENT, errno.ENODEV})
"""Answers to a deletion of what has gone by itself."""


class Outcome(NamedTuple):
    """What came of a batch."""

    problems: dict[str, list[str]]
    """Network to what is not as it should be."""
    doubtful: dict[int, set[IPNetwork]]
    """Table to each ``dst`` of which it is not known what is there."""


def perform(kernel: Conversation, changes: Changes) -> Outcome:
    """Rules go before their routes and come after them, so that no traffic meets an empty table.

    Raises:
        KernelError: the kernel does not answer; what was done is unknown.
    """
    doubtful: dict[int, set[IPNetwork]] = {}
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
        rq.add_rule(rule.source, rule.table, RULE_PRIORITY, PROTOCOL, f"rule from {rule.source} lookup {rule.table}")
        for rule in changes.add_rules
    ]
    asked = [*removals, *additions, *stale, *rules]
    if not asked:
        return Outcome(problems, doubtful)
    answers = iter(kernel.ask(asked))
    of_removals = [next(answers) for _ in removals]
    of_additions = [next(answers) for _ in additions]
    of_stale = [next(answers) for _ in stale]
    of_rules = [next(answers) for _ in rules]
    occupied: dict[int, list[Route]] = {}
    for addition, request, refusal in zip(changes.add_routes, additions, of_additions, strict=True):
        if refusal is None:
            continue
        doubtful.setdefault(addition.table, set()).add(addition.route.dst)
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
    for route, refusal in zip(changes.delete_routes, of_stale, strict=True):
        if refusal is not None and refusal.errno not in _GONE:
            doubtful.setdefault(route.table, set()).add(route.dst)
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
    return Outcome(problems, doubtful)


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
