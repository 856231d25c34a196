"""Changes made on top of the last comparison end where a comparison of everything does."""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from multinic_daemon.hostroutes import keeper as routekeeper
from multinic_daemon.hostroutes.batch import Outcome
from multinic_daemon.hostroutes.desired import PROTOCOL, RULE_PRIORITY, Changes, HostRoute, NetworkRoutes
from multinic_daemon.hostroutes.keeper import RouteKeeper
from multinic_daemon.netlink import Link, Route, Rule

SOURCE = ip_network("192.168.0.0/16")


class Memory:
    """A kernel that remembers routes and rules, and refuses some."""

    def __init__(self, refused: set[Any], down: set[str]) -> None:
        self.links = [
            Link(
                i,
                f"eth{i}",
                1,
                int(f"eth{i}" not in down),
                1500,
                "",
                "",
                b"",
                0,
                None,
                0,
                0,
                carrier=True,
                bus="",
                bus_device="",
            )
            for i in (1, 2)
        ]
        self.refused = refused
        self.routes: dict[Any, Route] = {}
        self.rules: list[Rule] = []
        self.readings = 0

    def read_routes(self, *_: Any, **filters: Any) -> list[Route]:
        self.readings += 1
        return list(self.routes.values())

    def perform(self, _: Any, changes: Changes) -> Outcome:
        problems: dict[str, list[str]] = {network: list(found) for network, found in changes.problems.items()}
        doubtful: dict[int, set[Any]] = {}
        for addition in changes.add_routes:
            dst, gateway, _ifname = addition.route
            if dst in self.refused:
                problems.setdefault(addition.network, []).append(f"{dst} refused")
                doubtful.setdefault(addition.table, set()).add(dst)
                continue
            assert addition.replace == ((addition.table, dst) in self.routes)
            route = Route(dst, gateway, (addition.ifindex,), addition.table, PROTOCOL, 0, 1)
            self.routes[addition.table, dst] = route
        for old in changes.delete_routes:
            assert self.routes.pop((old.table, old.dst)) == old
        self.rules += [
            Rule(2, rule.source, rule.table, RULE_PRIORITY, PROTOCOL, plain=True) for rule in changes.add_rules
        ]
        self.rules = [rule for rule in self.rules if rule not in changes.delete_rules]
        return Outcome(problems, doubtful)

    @contextmanager
    def running(self) -> Iterator[None]:
        with (
            patch.object(routekeeper, "read_routes", self.read_routes),
            patch.object(routekeeper, "read_links", lambda _: self.links),
            patch.object(routekeeper, "read_rules", lambda _: self.rules),
            patch.object(routekeeper, "perform", self.perform),
            patch.object(RouteKeeper, "_open", lambda _: None),
        ):
            yield


def wish(table: dict[int, tuple[int, int]]) -> NetworkRoutes:
    """Block to (last byte of the gateway, NIC)."""
    return NetworkRoutes("net", (SOURCE,), tuple(made(*item) for item in sorted(table.items())))


def made(number: int, leads: tuple[int, int]) -> HostRoute:
    return HostRoute(ip_network(f"192.168.{number}.0/24"), ip_address(f"10.0.0.{leads[0]}"), f"eth{leads[1]}")


blocks = st.integers(0, 7)
tables = st.dictionaries(blocks, st.tuples(st.integers(1, 3), st.integers(1, 2)))


@given(
    st.lists(tables, min_size=1, max_size=8), st.sets(blocks, max_size=2), st.sets(st.sampled_from(["eth1", "eth2"]))
)
def test_deltas_end_where_comparisons_do(history: list[Any], refused: set[int], down: set[str]):
    """From any history of wishes, with refusals and NICs that are down: the same routes, and no more readings."""
    nowhere = {ip_network(f"192.168.{number}.0/24") for number in refused}
    follower, comparer = Memory(nowhere, down), Memory(nowhere, down)
    with comparer.running():
        keeper = RouteKeeper()
        for table in history:
            wanted = keeper.reconcile([wish(table)])
    with follower.running():
        keeper, before = RouteKeeper(), history[0]
        keeper.reconcile([wish(before)])
        for table in history[1:]:
            moved = {n for n in before.keys() | table.keys() if before.get(n) != table.get(n)}
            deltas = {made(n, (1, 1)).dst: made(n, table[n]) if n in table else None for n in moved}
            readings = follower.readings
            found = keeper.follow({"net": deltas})
            assert follower.readings == readings
            if found is None:
                assert refused or down
                found = keeper.reconcile([wish(table)])
            before = table
        assert follower.routes == comparer.routes
        assert follower.rules == comparer.rules
        assert keeper.reconcile([wish(history[-1])]) == wanted


def test_nothing_is_followed_that_was_never_compared():
    """Before the first comparison, after a lost socket, and for a network without a table."""
    memory = Memory(set(), set())
    with memory.running():
        keeper = RouteKeeper()
        deltas = {made(1, (1, 1)).dst: made(1, (1, 1))}
        assert keeper.follow({"net": deltas}) is None
        keeper.reconcile([wish({})])
        assert keeper.follow({"other": deltas}) is None
        keeper.close()
        assert keeper.follow({"net": deltas}) is None
        assert memory.routes == {}
