"""Blocks cut from the NICs' own networks: what a cloud keeps and what nodes have is given to no pod."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multinic_operator.networks.pools import desired_pools
from multinic_operator.numbering import sizes
from multinic_operator.numbering.blocks import compute_blocks
from multinic_operator.numbering.layout import BlockRequest, HostNic
from multinic_operator.validation.capacity import capacity

from multinic_core import load_plugins
from multinic_core.ipam import next_index
from multinic_core.model import CIDRS, HOST_INTERFACES
from multinic_core.pools import HeldIndexes, Pool
from multinic_core.rows import Rows, rows_of
from multinic_core.testing import example_network

AWS = {"type": "aws-ipvlan", "cniVersion": "0.3.0", "args": {"mode": "l2"}}
RESERVED = (0, 1, 2, 3, -1)


@pytest.fixture
def cloud(cluster: Any) -> Any:
    """A cluster whose operator has aws-ipvlan, with two nodes on 10.0.1.0/24; node-2 has a secondary address."""
    cluster.registry.main_plugins.objects["aws-ipvlan"] = load_plugins().main_plugins["aws-ipvlan"]
    cluster.node("node-1", {"eth1": "10.0.1.10/24"})
    cluster.node("node-2", {"eth1": "10.0.1.11/24"})
    return cluster


async def add_address(cluster: Any, node: str, *addresses: str) -> None:
    """What the daemon of a node writes when its first NIC gets further addresses."""
    host = await cluster.kube.get(HOST_INTERFACES, node)
    (nic,) = host.to_json()["spec"]["interfaces"]
    await cluster.kube.patch(HOST_INTERFACES, node, {"spec": {"interfaces": [nic | {"secondaryIPs": list(addresses)}]}})


async def test_pools_exclude_what_the_cloud_and_the_nodes_have(cloud: Any, autojump_clock: Any) -> None:
    """The first four addresses of the subnet and its last, and all addresses of all nodes on it."""
    await add_address(cloud, "node-2", "10.0.1.77", "10.0.1.200")
    cloud.network(subnet=None, plugin=AWS, ipam={"type": "multi-nic-ipam", "hostBlock": 1})
    await cloud.settle()
    (entry,) = (await cloud.kube.get(CIDRS, "net")).spec.cidr
    assert entry.reserved == [f"10.0.1.{last}/32" for last in (0, 1, 2, 3, 255)]
    assert {name: pool.spec.excludes for name, pool in cloud.pools().items()} == {
        "net-10.0.1.0-25": [f"10.0.1.{last}/32" for last in (0, 1, 2, 3, 10, 11, 77)],
        "net-10.0.1.128-25": ["10.0.1.200/32", "10.0.1.255/32"],
    }


async def test_address_that_a_node_gets_later_is_excluded(cloud: Any, autojump_clock: Any) -> None:
    """A secondary address counts from when the node's daemon tells it, and no longer than that."""
    cloud.network(subnet=None, plugin=AWS, ipam={"type": "multi-nic-ipam", "hostBlock": 1})
    async with cloud.running():
        excludes = cloud.pools()["net-10.0.1.128-25"].spec.excludes
        await add_address(cloud, "node-1", "10.0.1.130")
        await cloud.quiet()
        assert cloud.pools()["net-10.0.1.128-25"].spec.excludes == ["10.0.1.130/32", *excludes]
        await add_address(cloud, "node-1")
        await cloud.quiet()
        assert cloud.pools()["net-10.0.1.128-25"].spec.excludes == excludes


async def test_other_plugins_keep_to_the_nodes_addresses(cloud: Any, autojump_clock: Any) -> None:
    """Outside a cloud the addresses after the network's own are as good as any."""
    cloud.network(subnet=None, ipam={"type": "multi-nic-ipam", "hostBlock": 1})
    await cloud.settle()
    (entry,) = (await cloud.kube.get(CIDRS, "net")).spec.cidr
    assert entry.reserved is None
    assert cloud.pools()["net-10.0.1.0-25"].spec.excludes == ["10.0.1.10/32", "10.0.1.11/32"]


async def test_compact_network_says_what_is_reserved(
    cloud: Any, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where daemons compute blocks themselves they find it in the CIDR; a block that is reserved whole is nobody's."""
    monkeypatch.setattr(sizes, "LIMIT_BYTES", 300)
    cloud.network(subnet=None, plugin=AWS, ipam={"type": "multi-nic-ipam", "hostBlock": 6})
    await cloud.settle()
    cidr = await cloud.kube.get(CIDRS, "net")
    assert (cidr.spec.compact, cidr.spec.cidr[0].reserved) == (True, [f"10.0.1.{n}/32" for n in (0, 1, 2, 3, 255)])
    found = {host.name: rows_of(cidr, host) for host in await cloud.kube.list(HOST_INTERFACES)}
    blocks = {name: [row.pod_cidr for row in rows] for name, rows in found.items()}
    assert set(blocks) == {"node-1", "node-2"}
    assert all(len(rows) == 1 for rows in blocks.values()), blocks
    assert ["10.0.1.0/30"] not in blocks.values()
    assert not Rows("net", cidr.spec).serves("10.0.1.0/24", 0)


async def test_subnet_of_its_own_is_refused(cloud: Any, autojump_clock: Any) -> None:
    """EC2 gives no address outside the subnet of the network interface."""
    cloud.network(plugin=AWS)
    await cloud.settle()
    status = await cloud.status()
    assert "spec.subnet: found '192.168.0.0/16', expected ''" in status.message
    assert cloud.pools() == {}


def request(host_bits: int, reserved: tuple[int, ...] = RESERVED) -> BlockRequest:
    return BlockRequest("net", "aws-ipvlan", None, 0, host_bits, reserved_indexes=reserved)


def test_block_that_is_reserved_whole_is_given_to_no_node() -> None:
    """Of a /28 in blocks of four addresses the first is the cloud's, the last, of which three are free, is not."""
    nics = [HostNic(f"node-{n}", "eth1", ip_network("10.0.1.0/28"), f"10.0.1.{9 + n}") for n in range(4)]
    computed = compute_blocks(request(2), nics, {nic.host for nic in nics}, None)
    assert [row.pod_cidr for row in computed.spec.cidr[0].hosts] == ["10.0.1.4/30", "10.0.1.8/30", "10.0.1.12/30"]
    assert "none is left for node-3" in computed.problems[0]
    verdict = capacity(request(2), {ip_network("10.0.1.0/28"): 4}, None)
    assert "gives 4 blocks less 1 excluded" in verdict.problems[0]
    assert capacity(request(2), {ip_network("10.0.1.0/28"): 3}, None).problems == ()


@given(
    length=st.integers(20, 27),
    host_bits=st.integers(0, 4),
    hosts=st.lists(st.lists(st.integers(4, 30), min_size=1, max_size=3, unique=True), min_size=1, max_size=4),
)
@settings(deadline=None)
def test_no_pod_gets_what_the_cloud_or_a_node_has(length: int, host_bits: int, hosts: list[list[int]]) -> None:
    """Law: all addresses that the pools of all nodes can give are free in the subnet, and each is in one pool."""
    subnet = ip_interface(f"10.9.64.0/{length}").network
    names = [[str(subnet.network_address + number) for number in own] for own in hosts]
    nics = [HostNic(f"node-{n}", "eth1", subnet, own[0], tuple(own[1:])) for n, own in enumerate(names)]
    wish = request(host_bits)
    spec = compute_blocks(wish, nics, {nic.host for nic in nics}, None).spec
    given_out: list[str] = []
    for pool in desired_pools(example_network("aws-ipvlan", subnet=""), wish, spec, nics).values():
        network, held = ip_network(pool.spec.pod_cidr), HeldIndexes()
        for _ in range(40):
            excludes = tuple(map(ip_network, pool.spec.excludes))
            index = next_index(Pool(pool.name, network, length, "eth1", excludes, held))
            if index is None:
                break
            held.add(index)
            given_out.append(str(network.network_address + index))
    kept = {str(subnet[index]) for index in RESERVED} | {address for own in names for address in own}
    assert len(set(given_out)) == len(given_out)
    assert not kept & set(given_out)
    assert all(ip_address(address) in subnet for address in given_out)
