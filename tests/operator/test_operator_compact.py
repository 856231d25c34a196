"""Networks that are too long to list their nodes: what is written, how much of it, and that no block moves."""

from __future__ import annotations

import json
from typing import Any

import pytest
from multinic_operator.numbering import sizes

from multinic_core.model import CIDR, CIDRS, HOST_INTERFACES, IPPOOLS, NETWORKS, NODES, MultiNicNetwork
from multinic_core.rows import rows_of

WIDE = {"type": "multi-nic-ipam", "hostBlock": 13, "interfaceBlock": 5, "vlanMode": "l3"}
OBJECT_BYTES = 100_000


def encoded(item: Any) -> int:
    return len(json.dumps(item.to_json(), separators=(",", ":")).encode())


def nics(node: int, count: int) -> dict[str, str]:
    return {f"eth{n}": f"10.{n}.{node // 250}.{node % 250 + 1}/16" for n in range(1, count + 1)}


def fill(cluster: Any, nodes: int, count: int) -> None:
    for node in range(nodes):
        cluster.node(f"node-{node:04d}", nics(node, count))


async def blocks(cluster: Any) -> dict[tuple[str, str], str]:
    """Node and NIC to the block, from the list or by arithmetic."""
    cidr = await cluster.kube.get(CIDRS, "net")
    if cidr.spec.compact:
        hosts = await cluster.kube.list(HOST_INTERFACES)
        return {(host.name, row.interface_name): row.pod_cidr for host in hosts for row in rows_of(cidr, host)}
    return {(row.host_name, row.interface_name): row.pod_cidr for entry in cidr.spec.cidr for row in entry.hosts}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of more than some ten rows is too long."""
    monkeypatch.setattr(sizes, "LIMIT_BYTES", 2_500)


async def test_a_list_past_the_limit_is_left_out(cluster: Any, autojump_clock: Any) -> None:
    """90 nodes with 8 NICs: every NIC has a block by arithmetic, there are no pools, and every object is small."""
    cluster.network(subnet="11.0.0.0/8", ipam=WIDE)
    fill(cluster, 90, 8)
    await cluster.settle()
    cidr = await cluster.kube.get(CIDRS, "net")
    assert cidr.spec.compact
    assert [len(entry.hosts) for entry in cidr.spec.cidr] == [0] * 8
    found = await blocks(cluster)
    assert len(found) == len(set(found.values())) == 90 * 8
    assert cluster.pools() == {}
    status = await cluster.status()
    assert status.config_status in ("Success", "WaitForConfig")
    assert {result.num_of_hosts for result in status.compute_results} == {90}


async def test_a_list_below_the_limit_is_as_ever(cluster: Any, autojump_clock: Any) -> None:
    """40 nodes with 8 NICs are listed, with pools, and arithmetic gives the very same blocks."""
    cluster.network(subnet="11.0.0.0/8", ipam=WIDE)
    fill(cluster, 40, 8)
    await cluster.settle()
    cidr = await cluster.kube.get(CIDRS, "net")
    assert cidr.spec.compact is None
    assert len(cluster.pools()) == 40 * 8
    listed = await blocks(cluster)
    assert encoded(cidr) < OBJECT_BYTES
    assert listed == {
        (host.name, row.interface_name): row.pod_cidr
        for host in await cluster.kube.list(HOST_INTERFACES)
        for row in rows_of(cidr, host)
    }


async def test_a_node_that_joins_300_costs_a_few_writes(cluster: Any, autojump_clock: Any) -> None:
    """At most 8 writes by the operator for one node, and none of them to another node's object."""
    cluster.network(subnet="11.0.0.0/8", ipam=WIDE)
    fill(cluster, 300, 8)
    async with cluster.running():
        assert cluster.kube.count(resource=CIDRS) <= 2
        assert cluster.kube.count(resource=HOST_INTERFACES) == 300
        for node in range(300):
            await cluster.report(f"node-{node:04d}")
        await cluster.quiet()
        before = len(cluster.kube.writes)
        cluster.node("node-new", nics(300, 8))
        await cluster.quiet(5)
        await cluster.report("node-new")
        await cluster.quiet(5)
        written = [write for write in cluster.kube.writes[before:] if write.resource != "leases"]
    assert len(written) <= 8
    assert {write.key.name for write in written if write.resource == "hostinterfaces"} == {"node-new"}
    assert "cidrs" not in {write.resource for write in written}


async def test_a_burst_of_nodes_shares_status_writes(cluster: Any, autojump_clock: Any) -> None:
    """200 nodes within two seconds cost one write each, and a handful for the network."""
    cluster.network(subnet="11.0.0.0/8", ipam=WIDE)
    fill(cluster, 100, 8)
    async with cluster.running():
        before = cluster.kube.count(resource=NETWORKS)
        for node in range(100, 300):
            cluster.node(f"node-{node:04d}", nics(node, 8))
            await cluster.quiet(0.01)
        await cluster.quiet()
        assert cluster.kube.count(resource=NETWORKS) - before <= 6
        assert cluster.kube.count(resource=HOST_INTERFACES) == 300


async def test_no_block_moves_when_the_list_goes_and_comes_back(cluster: Any, autojump_clock: Any, small: None) -> None:
    """More nodes turn the network over, fewer than half bring the list back, with pools; who stays keeps the blocks."""
    cluster.network()
    fill(cluster, 3, 2)
    async with cluster.running():
        first = await blocks(cluster)
        for node in range(3, 8):
            cluster.node(f"node-{node:04d}", nics(node, 2))
        await cluster.quiet()
        assert (await cluster.kube.get(CIDRS, "net")).spec.compact
        assert cluster.pools() == {}
        second = await blocks(cluster)
        assert first.items() <= second.items()
        assert len(second) == 16
        for node in range(1, 7):
            await cluster.kube.delete(NODES, f"node-{node:04d}")
        await cluster.quiet()
        assert (await cluster.kube.get(CIDRS, "net")).spec.compact is None
        third = await blocks(cluster)
        assert third == {key: block for key, block in second.items() if key[0] in ("node-0000", "node-0007")}
        assert {pool.spec.pod_cidr for pool in cluster.pools().values()} == set(third.values())


def listed(*rows: tuple[str, str, int, int]) -> CIDR:
    """A CIDR as the original leaves it; rows are node, NIC, interface index, host index."""
    config = {
        "name": "net", "type": "ipvlan", "subnet": "192.168.0.0/16", "masterNets": ["10.1.0.0/16", "10.2.0.0/16"],
        "hostBlock": 6, "interfaceBlock": 2, "vlanMode": "l3",
    }  # fmt: skip
    entries = [
        {
            "netAddress": f"10.{1 + number}.0.0/16",
            "interfaceIndex": number,
            "vlanCIDR": f"192.168.{64 * number}.0/18",
            "hosts": [
                {
                    "hostIndex": index,
                    "hostName": node,
                    "interfaceName": nic,
                    "hostIP": nics(int(node[-4:]), 2)[nic].split("/")[0],
                    "podCIDR": f"192.168.{64 * number + index}.0/24",
                }
                for node, nic, place, index in rows
                if place == number
            ],
        }
        for number in (0, 1)
    ]
    return CIDR.model_validate({"metadata": {"name": "net"}, "spec": {"config": config, "cidr": entries}})


async def test_an_adopted_list_leaves_exceptions_behind(cluster: Any, autojump_clock: Any, small: None) -> None:
    """Indexes that differ between interfaces, as the original gives them, become claims, and every block stays."""
    odd = [(f"node-{n:04d}", "eth1", 0, 10 - n) for n in range(8)] + [
        (f"node-{n:04d}", "eth2", 1, (n * 3) % 8 + 3) for n in range(8)
    ]
    cluster.kube.seed(CIDRS, listed(*odd))
    cluster.network()
    before = await blocks(cluster)
    fill(cluster, 9, 2)
    await cluster.settle()
    assert (await cluster.kube.get(CIDRS, "net")).spec.compact
    after = await blocks(cluster)
    assert before.items() <= after.items()
    assert len(set(after.values())) == len(after) == 18
    hosts = {host.name: host for host in await cluster.kube.list(HOST_INTERFACES)}
    assert hosts["node-0000"].status.host_index == 3
    assert sum(len(host.status.exceptions or ()) for host in hosts.values()) > 0


async def test_an_index_beyond_the_blocks_gets_a_claim(cluster: Any, autojump_clock: Any, small: None) -> None:
    """A node whose index a small network cannot hold has an exception there, and its index elsewhere."""
    cluster.network("big", subnet="11.0.0.0/8", ipam=WIDE)
    fill(cluster, 20, 2)
    async with cluster.running():
        for node in range(3):
            await cluster.kube.delete(NODES, f"node-{node:04d}")
        await cluster.quiet()
        cluster.network(subnet="192.168.0.0/16", ipam=WIDE | {"hostBlock": 5, "interfaceBlock": 2})
        for node in range(20, 34):
            cluster.node(f"node-{node:04d}", nics(node, 2))
        await cluster.quiet()
    found = await blocks(cluster)
    assert len(found) == len(set(found.values())) == 31 * 2
    hosts = {host.name: host.status for host in await cluster.kube.list(HOST_INTERFACES)}
    assert max(status.host_index for status in hosts.values()) >= 31


async def test_new_excludes_move_nobody_who_is_there(cluster: Any, autojump_clock: Any, small: None) -> None:
    """Who has a block that an edit excludes keeps it by claim; a newcomer is given another."""
    cluster.network()
    fill(cluster, 8, 2)
    async with cluster.running():
        before = await blocks(cluster)
        ipam = {"type": "multi-nic-ipam", "hostBlock": 6, "interfaceBlock": 2, "vlanMode": "l3"}
        await cluster.edit(ipam=ipam | {"excludeCIDRs": ["192.168.0.0/20"]})
        await cluster.quiet()
        assert await blocks(cluster) == before
        cluster.node("node-0020", nics(20, 2))
        await cluster.quiet()
        after = await blocks(cluster)
    assert len(after) == 18
    assert before.items() <= after.items()


async def test_a_deleted_network_leaves_no_claims(cluster: Any, autojump_clock: Any, small: None) -> None:
    """Exceptions of a network that is gone go, also when it went while no operator was there."""
    cluster.network()
    for node in range(8):
        cluster.node(f"node-{node:04d}", {"eth1": f"10.1.0.{node + 1}/16", "eth2": f"10.1.1.{node + 1}/16"})
    await cluster.settle()
    hosts = await cluster.kube.list(HOST_INTERFACES)
    assert all(len(host.status.exceptions) == 2 for host in hosts)
    await cluster.kube.patch(NETWORKS, "net", {"metadata": {"finalizers": None}})
    await cluster.kube.delete(NETWORKS, "net")
    await cluster.kube.delete(CIDRS, "net")
    await cluster.settle()
    assert all(host.status.exceptions is None for host in await cluster.kube.list(HOST_INTERFACES))


async def test_pools_of_a_node_that_went_go(cluster: Any, autojump_clock: Any, small: None) -> None:
    """What its daemon mirrored for a compact network is deleted with the node, and only that."""
    cluster.network()
    fill(cluster, 8, 2)
    async with cluster.running():
        for node in ("node-0001", "node-0002"):
            spec = {
                "podCIDR": f"192.168.{int(node[-1])}.0/24", "vlanCIDR": "192.168.0.0/18", "netAttachDef": "net",
                "hostName": node, "interfaceName": "eth1", "excludes": [],
                "allocations": [{"pod": "p", "namespace": "default", "index": 1, "address": "192.168.1.1"}],
            }  # fmt: skip
            await cluster.kube.create(IPPOOLS, {"metadata": {"name": f"net-{node}"}, "spec": spec})
        await cluster.kube.delete(NODES, "node-0001")
        await cluster.quiet()
    assert list(cluster.pools()) == ["net-node-0002"]


def test_no_object_passes_the_limit_at_5000_nodes_with_16_nics(make_network: Any, make_host: Any) -> None:
    """The CIDR, a node's object with claims for ten networks, and the status of a network, each encoded."""
    config = listed().spec.config.model_copy(update={"master_nets": [f"10.{n}.0.0/16" for n in range(1, 17)]})
    entries = [
        {"netAddress": f"10.{n}.0.0/16", "interfaceIndex": n, "vlanCIDR": f"11.{8 * n}.0.0/13"} for n in range(1, 17)
    ]
    cidr = CIDR.model_validate(
        {"metadata": {"name": "net"}, "spec": {"config": config.to_json(), "cidr": entries, "compact": True}}
    )
    host = make_host("a-node-with-a-long-name.example.com", nics(4999, 16)).to_json()
    claims = [
        {"network": f"network-{k}", "netAddress": f"10.{n}.0.0/16", "interfaceName": f"eth{n}", "hostIndex": 8191}
        for k in range(10)
        for n in range(1, 17)
    ]
    host["status"] = {"hostIndex": 4999, "exceptions": [claim | {"hostIP": "10.16.19.250"} for claim in claims]}
    assert sizes.surely_too_long(5000 * 16, was_compact=False)
    assert encoded(cidr) < 5_000
    assert len(json.dumps(host).encode()) < OBJECT_BYTES / 2
    network = MultiNicNetwork.model_validate(make_network(masterNets=config.master_nets))
    assert encoded(network) < 5_000


@pytest.mark.parametrize(
    ("addresses", "told"),
    [
        (["10.0.1.0/24", "10.0.1.1/24", "10.0.1.9/24"], "node-0 (eth1: 10.0.1.0/31)"),
        (["10.0.1.3/24", "10.0.1.1/24", "10.0.1.2/24"], "node-1 (eth1: 10.0.1.2/31)"),
        (["10.0.1.9/24", "10.0.1.1/24", "10.0.1.3/24"], ""),
        (["10.0.1.30/24", "10.0.1.31/24", "10.0.1.1/24"], ""),
    ],
)
async def test_blocks_full_of_nodes_addresses_are_told(
    cluster: Any, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch, addresses: list[str], told: str
) -> None:
    """Without a subnet, a node whose own block has no address left for pods is named; others are not."""
    monkeypatch.setattr(sizes, "LIMIT_BYTES", 300)
    for number, address in enumerate(addresses):
        cluster.node(f"node-{number}", {"eth1": address})
    cluster.network(subnet=None, ipam={"type": "multi-nic-ipam", "hostBlock": 7})
    await cluster.settle()
    assert (await cluster.kube.get(CIDRS, "net")).spec.compact
    found = await blocks(cluster)
    assert found == {(f"node-{n}", "eth1"): f"10.0.1.{2 * n}/31" for n in range(3)}
    message = (await cluster.status()).message
    assert told in message
    full = "which cuts blocks on the NIC network 10.0.1.0/24 that are full of addresses of nodes"
    assert (full in message) is bool(told)
    assert message.count("/31") == bool(told)
