"""Host routes of networks whose CIDRs list no nodes: by arithmetic, node by node, and never less than is known."""

from collections.abc import Callable
from functools import partial
from ipaddress import ip_network
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from multinic_daemon.hostroutes.compact import CompactRoutes, compact_routes
from multinic_daemon.hostroutes.desired import HostRoute, network_routes
from multinic_daemon.hostroutes.wishes import Step, Wishes

from multinic_core.model import CIDR, CIDRS, HOST_INTERFACES, HostInterface
from multinic_core.rows import rows_of
from multinic_core.testing.kube import FakeKubernetes

OWN = "n1"
Json = dict[str, Any]


def cidr(*, compact: bool = True, hosts: list[Json] | None = None, mode: str = "l3") -> Json:
    """Network ``net`` over 10.0.0.0/24 and 10.0.1.0/24; ``hosts`` are rows of the first of them."""
    config = {
        "name": "net",
        "type": "ipvlan",
        "subnet": "192.168.0.0/16",
        "masterNets": [],
        "hostBlock": 6,
        "interfaceBlock": 2,
        "vlanMode": mode,
    }
    entries: list[Json] = [
        {"netAddress": f"10.0.{i}.0/24", "interfaceIndex": i, "vlanCIDR": f"192.168.{64 * i}.0/18"} for i in (0, 1)
    ]
    entries[0]["hosts"] = hosts or []
    spec: Json = {"config": config, "cidr": entries}
    return {"metadata": {"name": "net"}, "spec": spec | ({"compact": True} if compact else {})}


def host(name: str, index: int | None, *nics: int, last: int | None = None, **status: Any) -> Json:
    """A node with NICs ``eth<n>`` on 10.0.<n>.0/24."""
    address = int(name[1:]) if last is None else last
    interfaces = [
        {"interfaceName": f"eth{n}", "netAddress": f"10.0.{n}.0/24", "hostIP": f"10.0.{n}.{address}"} for n in nics
    ]
    known = {} if index is None else {"status": {"hostIndex": index, **status}}
    return {"metadata": {"name": name}, "spec": {"hostName": name, "interfaces": interfaces}, **known}


def shown(routes: Any) -> list[str]:
    return [f"{route.dst} via {route.gateway} dev {route.ifname}" for route in routes]


def test_each_nodes_share_is_arithmetic():
    """Every other node's blocks via its addresses over this node's own NICs; a node without an index has none yet."""
    nodes = [host("n1", 0, 0, 1), host("n2", 1, 0, 1), host("n3", 9, 1), host("n4", None, 0, 1)]
    wish = compact_routes(CIDR.model_validate(cidr()), OWN, [HostInterface.model_validate(node) for node in nodes])
    assert wish is not None
    assert shown(wish.routes) == [
        "192.168.1.0/24 via 10.0.0.2 dev eth0",
        "192.168.65.0/24 via 10.0.1.2 dev eth1",
        "192.168.73.0/24 via 10.0.1.3 dev eth1",
    ]
    assert wish.problems == ()


def test_lists_and_arithmetic_give_the_same_routes():
    """For a CIDR that lists the rows which arithmetic gives, nothing changes when the list is left out."""
    nodes = [HostInterface.model_validate(host(f"n{n}", n - 1, 0, *([1] if n % 2 else []))) for n in range(1, 9)]
    compact = CIDR.model_validate(cidr())
    entries = cidr(compact=False)["spec"]["cidr"]
    for node in nodes:
        for row in rows_of(compact, node):
            entries[row.entry.interface_index].setdefault("hosts", []).append(
                {
                    "hostIndex": row.host_index,
                    "hostName": node.name,
                    "interfaceName": row.interface_name,
                    "hostIP": row.host_ip,
                    "podCIDR": row.pod_cidr,
                }
            )
    listed = cidr(compact=False)
    listed["spec"]["cidr"] = entries
    for name in ("n1", "n2"):
        assert compact_routes(compact, name, nodes) == network_routes(CIDR.model_validate(listed), name)


def test_block_claimed_twice_goes_to_the_first_by_name_and_is_named():
    """Whoever comes first, and it is set right when one of them goes."""
    own = HostInterface.model_validate(host("n1", 0, 0))
    nodes = [HostInterface.model_validate(host(name, 5, 0)) for name in ("n3", "n2", "n4")]
    routes = CompactRoutes(CIDR.model_validate(cidr()), own)
    for node in nodes:
        routes.set_node(node.name, node)
    (route,) = routes.table.values()
    assert str(route.gateway) == "10.0.0.2"
    assert routes.problems == ("192.168.5.0/24 is the block of n2 and n3 and n4",)
    assert routes.set_node("n2", None) == {route.dst}
    assert routes.set_node("n4", None) == set()
    assert shown(routes.table.values()) == ["192.168.5.0/24 via 10.0.0.3 dev eth0"]
    assert routes.problems == ()
    assert routes.set_node("n3", None) == {route.dst}
    assert routes.table == {}


def test_node_without_an_address_is_named():
    """A hand-written HostInterface may lack one."""
    bad = host("n2", 1, 0)
    del bad["spec"]["interfaces"][0]["hostIP"]
    own, other = (HostInterface.model_validate(node) for node in (host("n1", 0, 0), bad))
    wish = compact_routes(CIDR.model_validate(cidr()), OWN, [own, other])
    assert wish is not None
    assert wish.problems == ("n2 eth0: 192.168.1.0/24 via '' is no route",)


def test_second_nic_in_a_network_takes_no_route_away_before_the_operator_has_spoken():
    """Its node keeps the block where it was until claims say which NIC has which; a NIC that left keeps nothing."""
    own = HostInterface.model_validate(host("n1", 0, 0, 1))
    routes = CompactRoutes(CIDR.model_validate(cidr()), own)
    one = host("n2", 1, 0)
    routes.set_node("n2", HostInterface.model_validate(one))
    second = {"interfaceName": "eth7", "netAddress": "10.0.0.0/24", "hostIP": "10.0.0.77"}
    one["spec"]["interfaces"].append(second)
    assert routes.set_node("n2", HostInterface.model_validate(one)) == set()
    assert shown(routes.table.values()) == ["192.168.1.0/24 via 10.0.0.2 dev eth0"]
    claims = [
        {"network": "net", "netAddress": "10.0.0.0/24", "interfaceName": name, "hostIndex": index}
        for name, index in (("eth0", 1), ("eth7", 5))
    ]
    spoken = {**one, "status": {"hostIndex": 1, "exceptions": claims}}
    assert [str(dst) for dst in routes.set_node("n2", HostInterface.model_validate(spoken))] == ["192.168.5.0/24"]
    assert len(routes.table) == 2
    del one["spec"]["interfaces"][0]
    one["spec"]["interfaces"].append({**second, "interfaceName": "eth8", "hostIP": "10.0.0.78"})
    routes.set_node("n2", HostInterface.model_validate(one))
    assert shown(routes.table.values()) == ["192.168.5.0/24 via 10.0.0.77 dev eth0"]


change = st.tuples(
    st.integers(2, 7),
    st.one_of(
        st.none(),
        st.tuples(st.one_of(st.none(), st.integers(0, 6)), st.lists(st.integers(0, 2), unique=True), st.integers(2, 4)),
    ),
)


@given(st.lists(change, max_size=25))
def test_histories_end_where_a_fresh_start_does(history: list[Any]):
    """Whatever nodes do, one by one: the routes are those of a daemon that starts now, and the changes told add up."""
    compact, own = CIDR.model_validate(cidr()), HostInterface.model_validate(host("n1", 0, 0, 1))
    routes = CompactRoutes(compact, own)
    nodes = {"n1": own}
    kept: dict[Any, HostRoute] = {}
    for number, what in history:
        name = f"n{number}"
        if what is None:
            nodes.pop(name, None)
        else:
            index, nics, last = what
            nodes[name] = HostInterface.model_validate(host(name, index, *nics, last=last))
        for dst in routes.set_node(name, nodes.get(name)):
            assert kept.get(dst) != routes.table.get(dst)
            kept.pop(dst, None)
            if dst in routes.table:
                kept[dst] = routes.table[dst]
        assert kept == routes.table
        fresh = compact_routes(compact, OWN, nodes.values())
        assert fresh is not None
        assert dict(routes.table) == {route.dst: route for route in fresh.routes}
        assert routes.problems == fresh.problems


# Kept current


class Node:
    """A node's wishes over a fake API."""

    def __init__(self, *nodes: Json, of: Json | None = None) -> None:
        self.kube = FakeKubernetes()
        self.kube.seed(HOST_INTERFACES, *nodes)
        self.kube.seed(CIDRS, of or cidr())
        self.woken = 0
        self.wishes = Wishes(OWN, self.kube, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    async def step(self) -> Step:
        await self.wishes.refresh()
        return self.wishes.take()

    def shown(self) -> list[str]:
        return [line for sort in self.wishes.whole() for line in shown(sort().routes)]


TWO = (host("n1", 0, 0), host("n2", 1, 0))


def test_first_step_compares_and_a_node_that_joins_is_its_own_routes() -> None:
    """A start knows nothing of the kernel; after it a join costs the routes of the node that joins."""

    async def story() -> None:
        node = Node(*TWO)
        assert (await node.step()).deltas is None
        assert node.shown() == ["192.168.1.0/24 via 10.0.0.2 dev eth0"]
        assert (await node.step()).deltas == {}
        before = node.woken
        await node.kube.create(HOST_INTERFACES, host("n3", None, 0))
        assert (await node.step()).deltas == {}
        await node.kube.patch(HOST_INTERFACES, "n3", {"status": {"hostIndex": 2}}, subresource="status")
        assert node.woken == before + 2
        ((network, deltas),) = ((await node.step()).deltas or {}).items()
        assert network == "net"
        assert [str(dst) for dst in deltas] == ["192.168.2.0/24"]
        assert node.wishes.nodes == 3
        await node.kube.delete(HOST_INTERFACES, "n3")
        assert (await node.step()).deltas == {"net": {ip_network("192.168.2.0/24"): None}}
        await node.kube.patch(HOST_INTERFACES, "n2", {"metadata": {"labels": {"a": "b"}}})
        assert (await node.step()).deltas == {}

    trio.run(story)


def test_lists_need_no_watch_of_other_nodes() -> None:
    """As long as every CIDR lists its nodes nobody watches 5,000 HostInterfaces."""

    async def story() -> None:
        rows = [
            {"hostIndex": i, "hostName": f"n{i + 1}", "interfaceName": "eth0", "hostIP": f"10.0.0.{i + 1}"}
            | {"podCIDR": f"192.168.{i}.0/24"}
            for i in (0, 1)
        ]
        node = Node(*TWO, of=cidr(compact=False, hosts=rows))
        assert (await node.step()).deltas is None
        before = node.woken
        await node.kube.patch(HOST_INTERFACES, "n2", {"status": {"hostIndex": 7}}, subresource="status")
        assert node.woken == before
        # and leaving out the list, with the same indexes, changes no route
        await node.kube.patch(HOST_INTERFACES, "n2", {"status": {"hostIndex": 1}}, subresource="status")
        await node.kube.patch(CIDRS, "net", {"spec": cidr()["spec"]})
        assert (await node.step()).deltas == {}
        await node.kube.patch(CIDRS, "net", {"spec": {**cidr(compact=False, hosts=rows)["spec"], "compact": None}})
        assert (await node.step()).deltas == {}
        assert node.shown() == ["192.168.1.0/24 via 10.0.0.2 dev eth0"]

    trio.run(story)


def test_nothing_is_known_before_the_first_complete_list() -> None:
    """Neither that there are routes nor that there are none; the list's arrival wakes."""

    async def story() -> None:
        node = Node(*TWO)
        with node.kube.stale():
            step = await node.step()
            assert step.cidrs == {}
            assert step.unknown == {"net": ""}
            assert node.wishes.awaited
            assert node.wishes.whole() == []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.wishes.serve_hosts)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        await node.wishes.serve_hosts()
        step = await node.step()
        assert not step.unknown
        assert node.shown() == ["192.168.1.0/24 via 10.0.0.2 dev eth0"]

    trio.run(story)


async def _delete(kube: FakeKubernetes, name: str) -> None:
    await kube.delete(HOST_INTERFACES, name)


async def _break(kube: FakeKubernetes, name: str) -> None:
    kube.seed_invalid(HOST_INTERFACES, {"metadata": {"name": name}, "spec": {"interfaces": 7}})


@pytest.mark.parametrize(
    ("happens", "stays"),
    [
        (partial(_delete, name="n2"), False),
        (partial(_break, name="n2"), True),
        (partial(_delete, name="n1"), True),
        (partial(_break, name="n1"), True),
    ],
)
def test_routes_go_on_a_proven_deletion_and_for_no_error(happens: Callable[[Any], Any], *, stays: bool) -> None:
    """Another node's object that cannot be read, and this node's own that is gone, take no route away."""

    async def story() -> None:
        node = Node(*TWO)
        await node.step()
        await happens(node.kube)
        step = await node.step()
        assert "net" in step.cidrs
        assert bool(node.shown()) == stays

    trio.run(story)


def test_cidr_that_cannot_be_read_keeps_its_routes_and_one_that_is_deleted_does_not() -> None:
    """A reason is given for what is not known."""

    async def story() -> None:
        node = Node(*TWO)
        await node.step()
        await node.kube.patch(CIDRS, "net", {"spec": {"config": {"subnet": "nonsense"}}})
        step = await node.step()
        assert "cannot be read" in step.unknown["net"]
        assert node.shown()
        await node.kube.patch(CIDRS, "net", {"spec": {"config": {"subnet": "192.168.0.0/16"}}})
        assert not (await node.step()).unknown
        await node.kube.delete(CIDRS, "net")
        step = await node.step()
        assert step.deltas is None
        assert step.cidrs == {}

    trio.run(story)


def test_own_nic_that_comes_turns_into_routes() -> None:
    """This node's own object decides through which NICs it reaches others."""

    async def story() -> None:
        node = Node(host("n1", 0, 0), host("n2", 1, 0, 1))
        await node.step()
        spec = host("n1", 0, 0, 1)["spec"]
        await node.kube.patch(HOST_INTERFACES, "n1", {"spec": spec})
        assert list(((await node.step()).deltas or {})["net"]) == [ip_network("192.168.65.0/24")]
        assert node.wishes.ifnames == {"eth0", "eth1"}

    trio.run(story)
