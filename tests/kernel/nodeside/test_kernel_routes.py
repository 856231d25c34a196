"""Host routes on a real kernel: what the CIDR object asks for is there, comes back when disturbed, and goes again."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from multinic_daemon.hostroutes.desired import PROTOCOL, HostRoute, NetworkRoutes
from multinic_daemon.hostroutes.keeper import RouteKeeper
from multinic_daemon.hostroutes.service import serve_routes
from multinic_daemon.netlink import events as ev
from multinic_daemon.netlink import open_netns

from multinic_core.model import CIDRS, RouteReport
from multinic_core.testing.kube import FakeKubernetes

pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth")]

REPAIRED_WITHIN_SECONDS = 20.0
"""Less than the pause after which what failed is tried again, so that what was overlooked does not pass."""
TABLE = "8327"
"""What the name ``net`` gives."""


def cidr(
    mode: str = "l3", second: str = "10.0.1.2", subnet: str = "192.168.0.0/16", name: str = "net"
) -> dict[str, Any]:
    def host(name: str, interface: str, address: str, pods: str) -> dict[str, Any]:
        return {"hostIndex": 0, "hostName": name, "interfaceName": interface, "hostIP": address, "podCIDR": pods}

    entries = [
        [host("n1", "eth1", "10.0.1.1", "192.168.0.0/24"), host("n2", "eth1", second, "192.168.1.0/24")],
        [host("n1", "eth2", "10.0.2.1", "192.168.64.0/24"), host("n2", "eth2", "10.0.2.2", "192.168.65.0/24")],
        [host("n1", "eth1", "fd00::1", "fd01:0:0:0::/64"), host("n2", "eth1", "fd00::2", "fd01:0:0:1::/64")],
    ]
    config = {
        "name": name,
        "type": "ipvlan",
        "subnet": subnet,
        "masterNets": [],
        "hostBlock": 6,
        "interfaceBlock": 2,
        "vlanMode": mode,
    }
    rows = [
        {"netAddress": f"10.0.{i}.0/24", "interfaceIndex": i, "vlanCIDR": f"192.168.{i * 64}.0/18", "hosts": hosts}
        for i, hosts in enumerate(entries)
    ]
    return {"metadata": {"name": name}, "spec": {"config": config, "cidr": rows}}


WANTED = {
    ("192.168.1.0/24", "10.0.1.2", "eth1"),
    ("192.168.65.0/24", "10.0.2.2", "eth2"),
    ("fd01:0:0:1::/64", "fd00::2", "eth1"),
}


class Node:
    """A node with two NICs, its daemon's routes part and what that reports."""

    def __init__(self, ground: Any) -> None:
        self.ground = ground
        self.kube = FakeKubernetes()
        self.reports: dict[str, RouteReport | None] = {}
        ground.ip(ground.node, "link", "set", "lo", "up")
        ground.nic("eth1", "10.0.1.1/24", "fd00::1/64")
        ground.nic("eth2", "10.0.2.1/24")

    def ip(self, *arguments: str) -> list[dict[str, Any]]:
        return self.ground.ip(self.ground.node, *arguments)

    def routes(self, table: str = TABLE) -> set[tuple[str, str, str]]:
        """Routes of one table, both families, that lead somewhere."""
        rows = [row for family in ("-4", "-6") for row in self.ip(family, "route", "show", "table", "all")]
        return {(r["dst"], r.get("gateway", ""), r["dev"]) for r in rows if r.get("table") == table}

    def rules(self) -> set[tuple[str, str, int]]:
        rows = [row for family in ("-4", "-6") for row in self.ip(family, "rule", "show")]
        return {
            (f"{r['src']}/{r['srclen']}" if "srclen" in r else r["src"], r["table"], r["priority"])
            for r in rows
            if r["table"] not in ("local", "main", "default")
        }

    @asynccontextmanager
    async def serving(self, **arguments: Any) -> AsyncIterator[None]:
        arguments = {"netns": self.ground.node, "iproute2": None, **arguments}

        async def serve(task_status: Any) -> None:
            await serve_routes("n1", self.kube, self.reports.__setitem__, task_status=task_status, **arguments)

        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
            yield
            nursery.cancel_scope.cancel()

    async def becomes(self, condition: Callable[[], bool]) -> None:
        """Wait, looking at the kernel again and again, until it is so or can be no more."""
        with trio.move_on_after(REPAIRED_WITHIN_SECONDS):
            while not await trio.to_thread.run_sync(condition):
                await trio.sleep(0.02)
        assert condition(), (self.routes(), self.rules(), self.reports)

    def status(self, network: str = "net") -> str:
        report = self.reports.get(network)
        return report.status if report else ""


@pytest.fixture
def node(ground: Any) -> Node:
    return Node(ground)


BOTH = "192.168.0.0/16,fd01::/32"
RULES = {("192.168.0.0/16", TABLE, 32765), ("fd01::/32", TABLE, 32765)}


async def test_routes_and_rules_are_made_reported_and_named(node: Node, tmp_path: Path):
    """Every other host's blocks over every NIC, IPv6 alike, in one table with a rule per subnet."""
    (tmp_path / "rt_tables.d").mkdir()
    made = await node.kube.create(CIDRS, cidr(subnet=BOTH))
    async with node.serving(iproute2=tmp_path):
        await node.becomes(lambda: node.status() == "Success")
        assert node.routes() == WANTED
        assert node.rules() == RULES
        assert node.reports["net"].resource_version == made.metadata.resource_version
        assert f"{TABLE}\tnet" in (tmp_path / "rt_tables.d" / "multinic.conf").read_text()
    (route,) = node.ip("route", "show", "192.168.1.0/24", "table", TABLE)
    assert route["protocol"] == str(PROTOCOL)


DISTURBANCES: dict[str, list[list[str]]] = {
    "a route is deleted": [["route", "del", "192.168.1.0/24", "table", TABLE]],
    "an IPv6 route is deleted": [["-6", "route", "del", "fd01:0:0:1::/64", "table", TABLE]],
    "a route is turned elsewhere": [
        ["route", "replace", "192.168.1.0/24", "via", "10.0.2.9", "table", TABLE, "proto", str(PROTOCOL)]
    ],
    "the table is flushed": [["route", "flush", "table", TABLE]],
    "a rule is deleted": [["rule", "del", "from", "192.168.0.0/16", "lookup", TABLE]],
    "a stale route of ours appears": [
        ["route", "add", "192.168.200.0/24", "via", "10.0.1.9", "table", "7777", "proto", str(PROTOCOL)]
    ],
    "a stale rule of ours appears": [
        ["rule", "add", "from", "9.9.9.0/24", "lookup", "7777", "protocol", str(PROTOCOL)]
    ],
    "a NIC flaps": [["link", "set", "eth1", "down"], ["link", "set", "eth1", "up"]],
    "an address flaps": [
        ["address", "del", "10.0.2.1/24", "dev", "eth2"],
        ["address", "add", "10.0.2.1/24", "dev", "eth2"],
    ],
}


@pytest.mark.parametrize("name", DISTURBANCES)
async def test_each_disturbance_is_mended(node: Node, name: str):
    """Whatever is done to our routes, rules or NICs, they are as wanted again within two seconds."""
    await node.kube.create(CIDRS, cidr(subnet=BOTH))
    async with node.serving():
        await node.becomes(lambda: node.status() == "Success")
        for command in DISTURBANCES[name]:
            node.ip(*command)
        if name == "a NIC flaps":  # IPv6 addresses do not outlive it
            node.ip("address", "add", "fd00::1/64", "dev", "eth1", "nodad")
        await node.becomes(lambda: node.routes() == WANTED and node.rules() == RULES and not node.routes("7777"))
        await node.becomes(lambda: node.status() == "Success")


async def test_a_failure_stays_until_it_is_fixed(node: Node):
    """A NIC that is missing is named and stays so through other changes; once it is there the report is Success."""
    node.ip("link", "set", "eth2", "down")  # older kernels rename nothing that is up
    node.ip("link", "set", "eth2", "name", "other")
    await node.kube.create(CIDRS, cidr(subnet=BOTH))
    async with node.serving():
        await node.becomes(lambda: node.status() == "Failed")
        assert "NIC 'eth2' is missing" in node.reports["net"].message
        assert len(node.routes()) == 2
        await node.kube.patch(CIDRS, "net", {"metadata": {"labels": {"a": "b"}}})
        latest = node.kube.raw(CIDRS, "net")["metadata"]["resourceVersion"]
        await node.becomes(lambda: node.reports["net"].resource_version == latest)
        assert node.status() == "Failed"
        node.ip("link", "set", "other", "name", "eth2")
        node.ip("link", "set", "eth2", "up")
        await node.becomes(lambda: node.status() == "Success" and node.routes() == WANTED)


async def test_what_the_kernel_refuses_is_reported_in_its_words(node: Node):
    """A gateway outside every network of the NIC is Failed, naming the route."""
    await node.kube.create(CIDRS, cidr(second="10.99.0.2", subnet=BOTH))
    async with node.serving():
        await node.becomes(lambda: node.status() == "Failed")
        assert "route 192.168.1.0/24 via 10.99.0.2 dev eth1" in node.reports["net"].message
        assert node.routes() == {row for row in WANTED if row[0] != "192.168.1.0/24"}


async def test_a_changed_cidr_replaces_what_changed_and_touches_nothing_else(node: Node):
    """A host's new address replaces its route; the other routes and the rules are never announced as changed."""
    await node.kube.create(CIDRS, cidr(subnet=BOTH))
    async with node.serving():
        await node.becomes(lambda: node.status() == "Success")
        groups = (ev.IPV4_ROUTES, ev.IPV6_ROUTES, ev.IPV4_RULES, ev.IPV6_RULES)
        with open_netns(node.ground.node) as netns, ev.Events(*groups, netns=netns) as events:
            await node.kube.patch(CIDRS, "net", {"spec": cidr(second="10.0.1.3", subnet=BOTH)["spec"]})
            await node.becomes(lambda: ("192.168.1.0/24", "10.0.1.3", "eth1") in node.routes())
            heard = await events.read()
        assert heard is not None
        assert len([message for message in heard if message.port]) == 1  # port 0: the kernel, about its own addresses
        assert len(node.routes()) == 3


async def test_a_network_that_goes_takes_everything_of_its_own(node: Node, tmp_path: Path):
    """Deleting the CIDR, or leaving L3, removes table, rule, name and report; foreign routes and rules stay."""
    (tmp_path / "rt_tables.d").mkdir()
    node.ip("route", "add", "172.31.0.0/16", "via", "10.0.1.9", "table", TABLE)
    node.ip("rule", "add", "from", "172.31.0.0/16", "lookup", "100")
    node.ip("route", "add", "172.30.0.0/16", "via", "10.0.1.9", "table", "100")
    foreign = node.routes("100"), node.rules()
    await node.kube.create(CIDRS, cidr(subnet=BOTH))
    async with node.serving(iproute2=tmp_path):
        await node.becomes(lambda: node.status() == "Success")
        assert node.routes() == {("172.31.0.0/16", "10.0.1.9", "eth1")}  # so ours are in the next table
        await node.kube.patch(CIDRS, "net", {"spec": cidr(mode="l2", subnet=BOTH)["spec"]})
        await node.becomes(lambda: node.reports["net"] is None)
        assert (node.routes("100"), node.rules()) == foreign
        assert node.routes("8328") == set()
        assert list((tmp_path / "rt_tables.d").iterdir()) == []
        await node.kube.patch(CIDRS, "net", {"spec": cidr(subnet=BOTH)["spec"]})
        await node.becomes(lambda: node.status() == "Success")
        assert node.routes("8328") == WANTED
        await node.kube.delete(CIDRS, "net")
        await node.becomes(lambda: node.reports["net"] is None)
        assert (node.routes("100"), node.rules()) == foreign
        assert node.routes("8328") == set()


async def test_a_restart_changes_nothing_and_knows_its_table(node: Node):
    """A daemon that starts again finds its table by its rule, announces no change, and waits for the list of CIDRs."""
    node.ip("route", "add", "172.31.0.0/16", "via", "10.0.1.9", "table", TABLE)
    await node.kube.create(CIDRS, cidr(subnet=BOTH))
    async with node.serving():
        await node.becomes(lambda: node.status() == "Success")
    node.ip("route", "del", "172.31.0.0/16", "table", TABLE)  # its own table would be free now
    before = node.ip("route", "show", "table", "8328"), node.rules()
    node.reports.clear()
    with node.kube.stale():
        fresh = FakeKubernetes()
    with fresh.stale():
        node.kube, full = fresh, node.kube
        async with node.serving():
            await trio.testing.wait_all_tasks_blocked(0.3)
            assert (node.ip("route", "show", "table", "8328"), node.rules()) == before
    node.kube = full
    async with node.serving():
        await node.becomes(lambda: node.status() == "Success")
        assert (node.ip("route", "show", "table", "8328"), node.rules()) == before
        assert node.routes() == set()


async def test_a_foreign_route_that_leads_the_same_way_is_as_good_and_another_is_named(node: Node):
    """Foreign routes in our table are neither replaced nor removed; when one that was in the way goes, ours is back."""
    same, other = ("192.168.1.0/24", "10.0.1.2", "eth1"), ("192.168.1.0/24", "10.0.1.9", "eth1")
    await node.kube.create(CIDRS, cidr(subnet=BOTH))
    async with node.serving():
        await node.becomes(lambda: node.status() == "Success")
        node.ip("route", "replace", *same[:1], "via", same[1], "table", TABLE, "proto", "static")
        await trio.testing.wait_all_tasks_blocked(0.3)
        assert node.status() == "Success"
        assert node.routes() == WANTED
        node.ip("route", "replace", *other[:1], "via", other[1], "table", TABLE, "proto", "static")
        await node.becomes(lambda: node.status() == "Failed")
        assert "192.168.1.0/24 via 10.0.1.2 dev eth1" in node.reports["net"].message
        assert other in node.routes()
        node.ip("route", "del", "192.168.1.0/24", "table", TABLE)
        await node.becomes(lambda: node.status() == "Success" and node.routes() == WANTED)


async def test_a_cidr_that_cannot_be_read_leaves_its_routes(node: Node):
    """An object that no longer fits its schema fails the report and takes no route away, over a restart too."""
    await node.kube.create(CIDRS, cidr(subnet=BOTH))
    async with node.serving():
        await node.becomes(lambda: node.status() == "Success")
        node.kube.seed_invalid(CIDRS, {"metadata": {"name": "net"}, "spec": {"config": {}, "cidr": []}})
        await node.becomes(lambda: node.status() == "Failed")
        assert node.routes() == WANTED
    async with node.serving():
        await trio.testing.wait_all_tasks_blocked(0.3)
        assert node.routes() == WANTED
        assert node.rules() == RULES


def test_ten_thousand_routes_are_added_recognised_and_removed(node: Node):
    """A large cluster's table is made in batches that lose no answer, found complete, and removed."""
    routes = tuple(
        HostRoute(ip_network((0x0B000000 + (i << 8), 24)), ip_address("10.0.1.2"), "eth1") for i in range(10_000)
    )
    wish = NetworkRoutes("net", (ip_network("11.0.0.0/8"),), routes)
    keeper = RouteKeeper(netns=node.ground.node)
    try:
        assert keeper.reconcile([wish]) == {}
        assert len(node.ip("route", "show", "table", TABLE)) == 10_000
        assert keeper.reconcile([wish]) == {}
        assert keeper.reconcile([]) == {}
        assert node.ip("route", "show", "table", TABLE) == []
        assert node.rules() == set()
    finally:
        keeper.close()
