"""Host routes and rules of ours against those that the networks want. Pure: the daemon's own comparison, put in words.

One finding for each network or table, however many routes differ in it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from multinic_core.errors import KernelError
from multinic_daemon.audit.findings import Finding, Kind, Verdict
from multinic_daemon.audit.world import NotCompared, World
from multinic_daemon.hostroutes.desired import RouteAddition, RoutingState, route_changes
from multinic_daemon.hostroutes.tables import assign_tables


def judge_routing(world: World) -> Iterator[Finding]:
    """What is missing or too much; nothing when the networks are not known."""
    if isinstance(world.wishes, NotCompared):
        return
    state = world.kernel.routing
    try:
        assigned = assign_tables(world.wishes, state.rules, {}, ())
    except KernelError as error:
        yield Finding(Kind.ROUTES_DIFFER, "all networks", Verdict.DIFFERENCE, kernel=str(error))
        return
    desired = {assigned[wish.network]: wish for wish in world.wishes}
    changes = route_changes(desired, state)
    sentences: dict[str, list[str]] = defaultdict(list)
    for rule in changes.add_rules:
        sentences[rule.network].append(f"rule from {rule.source} missing")
    missing: dict[str, list[RouteAddition]] = defaultdict(list)
    for addition in changes.add_routes:
        if not _is_there(addition, state):
            missing[addition.network].append(addition)
    for network, additions in missing.items():
        route = additions[0].route
        more = f" and {len(additions) - 1} more" if len(additions) > 1 else ""
        sentences[network].append(f"route {route.dst} via {route.gateway} dev {route.ifname}{more} missing")
    stale = Counter(route.table for route in changes.delete_routes)
    for table, count in sorted(stale.items()):
        if table in desired:
            sentences[desired[table].network].append(f"{count} routes too many in table {table}")
    for network, problems in changes.problems.items():
        sentences[network] += problems
    for network, found in sorted(sentences.items()):
        yield Finding(Kind.ROUTES_DIFFER, network, Verdict.DIFFERENCE, kernel="; ".join(found))
    for table, count in sorted(stale.items()):
        if table not in desired:
            text = f"{count} routes of no network"
            yield Finding(Kind.ROUTES_ORPHANED, f"table {table}", Verdict.DIFFERENCE, kernel=text)
    for stray in changes.delete_rules:
        text = f"priority {stray.priority}, of no network"
        subject = f"from {stray.source} lookup {stray.table}"
        yield Finding(Kind.RULE_ORPHANED, subject, Verdict.DIFFERENCE, kernel=text)


def _is_there(addition: RouteAddition, state: RoutingState) -> bool:
    """A foreign route that leads where ours would is as good."""
    wanted = (addition.table, addition.route.dst, addition.route.gateway, (addition.ifindex,))
    return any((route.table, route.dst, route.gateway, route.ifindexes) == wanted for route in state.routes)
