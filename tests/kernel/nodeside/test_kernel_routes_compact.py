"""Host routes on a real kernel where CIDRs list no nodes: a node that joins costs its own routes, and all heals."""

import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from multinic_daemon.hostroutes import keeper as routekeeper
from multinic_daemon.hostroutes.service import serve_routes
from multinic_daemon.netlink import events as ev
from multinic_daemon.netlink import open_netns
from multinic_lab.provision import tools

from multinic_core.model import CIDRS, HOST_INTERFACES, RouteReport
from multinic_core.testing.kube import FakeKubernetes

pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth")]

SECONDS = 20.0
"""Less than the pause after which what failed is tried again, so that what was overlooked does not pass."""
TABLE = "8327"
"""What the name ``net`` gives."""
CIDR = {
    "metadata": {"name": "net"},
    "spec": {
        "compact": True,
        "config": {
            "name": "net",
            "type": "ipvlan",
            "subnet": "192.168.0.0/16",
            "masterNets": [],
            "hostBlock": 6,
            "interfaceBlock": 2,
            "vlanMode": "l3",
        },
        "cidr": [
            {"netAddress": f"10.0.{i + 1}.0/24", "interfaceIndex": i, "vlanCIDR": f"192.168.{i * 64}.0/18"}
            for i in (0, 1)
        ],
    },
}


def host(number: int, index: int | None = None) -> dict[str, Any]:
    """Node ``n<number>`` with two NICs."""
    interfaces = [
        {"interfaceName": f"eth{n}", "netAddress": f"10.0.{n}.0/24", "hostIP": f"10.0.{n}.{number}"} for n in (1, 2)
    ]
    name = f"n{number}"
    status = {"hostIndex": number - 1 if index is None else index}
    return {"metadata": {"name": name}, "spec": {"hostName": name, "interfaces": interfaces}, "status": status}


def routes_to(*numbers: int) -> set[tuple[str, str, str]]:
    return {
        (f"192.168.{(n - 1) * 64 + number - 1}.0/24", f"10.0.{n}.{number}", f"eth{n}")
        for number in numbers
        for n in (1, 2)
    }


class Node:
    """Node ``n1`` among ``n2`` and ``n3``, and how often it read the kernel's routes."""

    def __init__(self, ground: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ground = ground
        self.kube = FakeKubernetes()
        self.kube.seed(HOST_INTERFACES, host(1), host(2), host(3))
        self.kube.seed(CIDRS, CIDR)
        self.reports: list[RouteReport | None] = []
        self.nodes = 0
        self.readings = 0
        # or the kernel would go on announcing addresses of its own making for seconds
        off = "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"
        name = ground.node.rpartition("/")[2]
        subprocess.run(["ip", "netns", "exec", name, "sh", "-c", off], env=tools.environment(), check=True, timeout=60)
        ground.ip(ground.node, "link", "set", "lo", "up")
        ground.nic("eth1", "10.0.1.1/24")
        ground.nic("eth2", "10.0.2.1/24")
        read = routekeeper.read_routes

        def counted(*arguments: Any, **filters: Any) -> Any:
            self.readings += 1
            return read(*arguments, **filters)

        monkeypatch.setattr(routekeeper, "read_routes", counted)

    def routes(self) -> set[tuple[str, str, str]]:
        rows = self.ground.ip(self.ground.node, "route", "show", "table", "all")
        return {(r["dst"], r.get("gateway", ""), r["dev"]) for r in rows if r.get("table") == TABLE}

    @asynccontextmanager
    async def serving(self, kube: FakeKubernetes | None = None) -> AsyncIterator[None]:
        async def serve(task_status: Any) -> None:
            await serve_routes(
                "n1",
                kube or self.kube,
                lambda _network, report: self.reports.append(report),
                span=self._span,
                netns=self.ground.node,
                iproute2=None,
                task_status=task_status,
            )

        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
            yield
            nursery.cancel_scope.cancel()

    def _span(self, nodes: int) -> None:
        self.nodes = nodes

    async def becomes(self, condition: Callable[[], bool]) -> None:
        with trio.move_on_after(SECONDS):
            while not await trio.to_thread.run_sync(condition):
                await trio.sleep(0.02)
        assert condition(), (self.routes(), self.reports)


@pytest.fixture
def node(ground: Any, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(ground, monkeypatch)


async def test_node_that_joins_or_leaves_costs_its_own_routes(node: Node):
    """Two announcements for two NICs, nothing read, and no new report: the others have nothing to say about it."""
    async with node.serving():
        await node.becomes(lambda: node.routes() == routes_to(2, 3) and len(node.reports) == 1)
        readings, reports = node.readings, list(node.reports)
        with open_netns(node.ground.node) as netns, ev.Events(ev.IPV4_ROUTES, ev.IPV4_RULES, netns=netns) as events:
            await node.kube.create(HOST_INTERFACES, {k: v for k, v in host(9).items() if k != "status"})
            await node.kube.patch(HOST_INTERFACES, "n9", {"status": {"hostIndex": 8}}, subresource="status")
            await node.becomes(lambda: node.routes() == routes_to(2, 3, 9))
            await node.kube.delete(HOST_INTERFACES, "n9")
            await node.becomes(lambda: node.routes() == routes_to(2, 3))
            heard = await events.read()
        assert heard is not None
        assert len(heard) == 4
        assert node.readings == readings
        assert node.reports == reports
        assert [report.status for report in reports if report] == ["Success"]
        assert node.nodes == 3


async def test_disturbances_are_mended_and_noise_of_nics_is_none(node: Node):
    """A deleted route returns and a NIC that was down has its routes again; a NIC that only listens is left alone."""
    async with node.serving():
        await node.becomes(lambda: node.routes() == routes_to(2, 3) and len(node.reports) == 1)
        readings = node.readings
        node.ground.ip(node.ground.node, "link", "set", "eth1", "promisc", "on")
        await trio.testing.wait_all_tasks_blocked(0.3)
        assert node.readings == readings
        node.ground.ip(node.ground.node, "route", "del", "192.168.1.0/24", "table", TABLE)
        await node.becomes(lambda: node.routes() == routes_to(2, 3))
        node.ground.ip(node.ground.node, "link", "set", "eth2", "down")
        node.ground.ip(node.ground.node, "link", "set", "eth2", "up")
        await node.becomes(lambda: node.routes() == routes_to(2, 3))
        assert node.readings > readings


async def test_joins_while_a_nic_is_down_take_the_routes_that_can_be_had(node: Node):
    """The report says once what waits; with the NIC come all routes."""
    async with node.serving():
        await node.becomes(lambda: node.routes() == routes_to(2, 3))
        node.ground.ip(node.ground.node, "link", "set", "eth2", "down")
        await node.becomes(lambda: bool(node.reports and node.reports[-1] and node.reports[-1].status == "Failed"))
        reports = len(node.reports)
        await node.kube.create(HOST_INTERFACES, host(9))
        await node.kube.patch(HOST_INTERFACES, "n9", {"status": {"hostIndex": 8}}, subresource="status")
        await node.becomes(lambda: ("192.168.8.0/24", "10.0.1.9", "eth1") in node.routes())
        assert len(node.reports) == reports
        node.ground.ip(node.ground.node, "link", "set", "eth2", "up")
        await node.becomes(lambda: node.routes() == routes_to(2, 3, 9))
        await node.becomes(lambda: bool(node.reports[-1] and node.reports[-1].status == "Success"))


async def test_restart_without_the_list_of_hosts_removes_nothing(node: Node):
    """A daemon that knows the CIDR and not yet the nodes leaves what the last one made."""
    async with node.serving():
        await node.becomes(lambda: node.routes() == routes_to(2, 3))
    fresh = FakeKubernetes()
    fresh.seed(CIDRS, CIDR)
    async with node.serving(fresh):
        await trio.testing.wait_all_tasks_blocked(0.3)
        assert node.routes() == routes_to(2, 3)
        fresh.seed(HOST_INTERFACES, host(1), host(2))
        await node.becomes(lambda: node.routes() == routes_to(2))
