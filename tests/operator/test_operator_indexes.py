"""A node's index in the whole cluster: who gets which, how long it is remembered, and what is lost with what."""

from __future__ import annotations

import gc
import json
from datetime import timedelta
from typing import Any

import pytest
from multinic_operator.memory import LongCollections
from multinic_operator.numbering.departed import (
    BYTES,
    DATA_KEY,
    INDEXES_NAME,
    Departure,
    decode_departed,
    encode_departed,
)
from multinic_operator.numbering.fleet import Fleet
from multinic_operator.numbering.indexes import choose_index

from multinic_core.errors import ApiError
from multinic_core.model import (
    CIDRS,
    CONFIG_MAPS,
    HOST_INTERFACES,
    IPPOOLS,
    NODES,
    SYSTEM_NAMESPACE,
    IndexClaim,
)
from multinic_core.pools import HeldIndexes

NARROW = {"type": "multi-nic-ipam", "hostBlock": 2, "interfaceBlock": 2, "vlanMode": "l3"}


def join(cluster: Any, *numbers: int) -> None:
    for number in numbers:
        cluster.node(f"n{number}", {"eth1": f"10.0.1.{number + 1}/24"})


async def leave(cluster: Any, *numbers: int) -> None:
    for number in numbers:
        await cluster.kube.delete(NODES, f"n{number}")
    await cluster.quiet()


async def indexes(cluster: Any) -> dict[str, int]:
    hosts = await cluster.kube.list(HOST_INTERFACES)
    return {host.name: host.status.host_index for host in hosts if host.status is not None}


async def records(cluster: Any) -> list[Departure]:
    found = await cluster.kube.get(CONFIG_MAPS, INDEXES_NAME, SYSTEM_NAMESPACE)
    return decode_departed(found.data[DATA_KEY])


async def test_nodes_are_numbered_once_in_the_order_of_their_names(cluster: Any, autojump_clock: Any) -> None:
    """Each gets one index, without any network, and an operator that starts again writes none."""
    join(cluster, 0, 1, 2)
    await cluster.settle()
    assert await indexes(cluster) == {"n0": 0, "n1": 1, "n2": 2}
    before = cluster.kube.count(resource=HOST_INTERFACES)
    await cluster.settle()
    assert cluster.kube.count(resource=HOST_INTERFACES) == before


async def test_a_node_that_returns_finds_its_index(cluster: Any, autojump_clock: Any) -> None:
    """Who comes in between gets a new one, with the operator there or started again."""
    join(cluster, 0, 1, 2)
    async with cluster.running():
        await leave(cluster, 1)
        assert [(r.node, r.host_index) for r in await records(cluster)] == [("n1", 1)]
        join(cluster, 3)
        await cluster.quiet()
    join(cluster, 1, 4)
    await cluster.settle()
    assert await indexes(cluster) == {"n0": 0, "n1": 1, "n2": 2, "n3": 3, "n4": 4}


async def test_a_record_is_written_before_the_object_goes(cluster: Any, autojump_clock: Any) -> None:
    """While the record cannot be written nothing is deleted."""
    join(cluster, 0, 1)
    async with cluster.running():
        cluster.kube.fail(ApiError("injected", status=500), resource=CONFIG_MAPS, times=4)
        await cluster.kube.delete(NODES, "n1")
        await cluster.quiet(0.5)
        assert "n1" in await indexes(cluster)
        await cluster.quiet()
        assert "n1" not in await indexes(cluster)
    verbs = [
        write.resource for write in cluster.kube.writes if write.resource == "configmaps" or write.verb == "delete"
    ]
    assert verbs.index("configmaps") < verbs.index("hostinterfaces")


async def test_nodes_that_leave_together_share_a_record(cluster: Any, autojump_clock: Any) -> None:
    """Twenty departures are one write of the ConfigMap, and one deletion each."""
    join(cluster, *range(25))
    async with cluster.running():
        await leave(cluster, *range(20))
        assert cluster.kube.count(resource=CONFIG_MAPS) == 1
        assert cluster.kube.count("delete", HOST_INTERFACES) == 20
        assert len(await records(cluster)) == 20


async def test_a_full_network_takes_the_index_that_was_left_longest_ago(cluster: Any, autojump_clock: Any) -> None:
    """With four blocks and four nodes known, a fifth gets the index of the first that left; that one is then new."""
    cluster.network(ipam=NARROW)
    join(cluster, 0, 1, 2, 3)
    async with cluster.running():
        await leave(cluster, 2)
        await cluster.quiet(5)
        await leave(cluster, 1)
        join(cluster, 4)
        await cluster.quiet()
        assert (await indexes(cluster))["n4"] == 2
        join(cluster, 1)
        await cluster.quiet()
        assert (await indexes(cluster))["n1"] == 1


async def test_after_the_retention_time_a_gap_is_a_gap(cluster: Any, autojump_clock: Any) -> None:
    """An index that was kept long enough is given to the next for whom none is left above."""
    cluster.network(ipam=NARROW)
    join(cluster, 0, 1, 2, 3)
    async with cluster.running():
        await leave(cluster, 0, 3)
        await cluster.quiet(timedelta(hours=25).total_seconds())
        join(cluster, 5)
        await cluster.quiet()
        assert (await indexes(cluster))["n5"] == 3


async def test_losing_the_records_moves_nobody_who_is_there(cluster: Any, autojump_clock: Any) -> None:
    """Indexes in use stand in the nodes' own objects."""
    cluster.network()
    join(cluster, 0, 1, 2)
    async with cluster.running():
        await leave(cluster, 0)
    before = (await indexes(cluster), (await cluster.kube.get(CIDRS, "net")).spec)
    await cluster.kube.delete(CONFIG_MAPS, INDEXES_NAME, SYSTEM_NAMESPACE)
    await cluster.settle()
    assert (await indexes(cluster), (await cluster.kube.get(CIDRS, "net")).spec) == before


async def test_records_that_cannot_be_read_stop_nothing(cluster: Any, autojump_clock: Any) -> None:
    """A ConfigMap full of something else counts as none, and is replaced when the next node leaves."""
    data = {DATA_KEY: '{"who": "knows"'}
    cluster.kube.seed(CONFIG_MAPS, {"metadata": {"name": INDEXES_NAME, "namespace": SYSTEM_NAMESPACE}, "data": data})
    join(cluster, 0, 1)
    async with cluster.running():
        assert await indexes(cluster) == {"n0": 0, "n1": 1}
        await leave(cluster, 1)
        assert [record.node for record in await records(cluster)] == ["n1"]


async def test_an_object_deleted_by_hand_comes_back_with_its_index(cluster: Any, autojump_clock: Any) -> None:
    """The daemon writes its HostInterface anew; the operator gives it what it had."""
    join(cluster, 0, 1, 2)
    async with cluster.running():
        await cluster.kube.delete(HOST_INTERFACES, "n1")
        await cluster.quiet()
        cluster.host("n1", {"eth1": "10.0.1.2/24"})
        await cluster.quiet()
        assert await indexes(cluster) == {"n0": 0, "n1": 1, "n2": 2}


async def test_a_status_wiped_by_hand_is_written_again(cluster: Any, autojump_clock: Any) -> None:
    """What was given stays given."""
    join(cluster, 0, 1)
    async with cluster.running():
        await cluster.kube.patch(HOST_INTERFACES, "n1", {"status": None}, subresource="status")
        await cluster.quiet()
        assert await indexes(cluster) == {"n0": 0, "n1": 1}


async def test_two_objects_with_one_index_are_told_apart(cluster: Any, autojump_clock: Any) -> None:
    """One keeps an index that both name, the other gets a new one."""
    join(cluster, 0, 1)
    await cluster.settle()
    await cluster.kube.patch(HOST_INTERFACES, "n1", {"status": {"hostIndex": 0}}, subresource="status")
    await cluster.settle()
    assert sorted((await indexes(cluster)).values()) == [0, 1]


async def test_a_list_that_is_there_says_the_indexes(cluster: Any, autojump_clock: Any) -> None:
    """On the first start over a cluster with CIDRs each node has the index of its rows, newcomers another."""
    cluster.network()
    join(cluster, 0, 1, 2)
    await cluster.settle()
    cidr = await cluster.kube.get(CIDRS, "net")
    for host in await cluster.kube.list(HOST_INTERFACES):
        await cluster.kube.patch(HOST_INTERFACES, host.name, {"status": None}, subresource="status")
    rows = cidr.spec.to_json()["cidr"]
    for row in rows[0]["hosts"]:
        index = 9 - row["hostIndex"]
        row |= {"hostIndex": index, "podCIDR": f"192.168.{index}.0/24", "ippool": f"net-192.168.{index}.0-24"}
    await cluster.kube.patch(CIDRS, "net", {"spec": {"cidr": rows}})
    join(cluster, 3)
    await cluster.settle()
    assert await indexes(cluster) == {"n0": 9, "n1": 8, "n2": 7, "n3": 10}
    after = (await cluster.kube.get(CIDRS, "net")).spec.cidr[0].hosts
    assert {row.host_name: row.host_index for row in after} == await indexes(cluster)


async def test_pools_with_addresses_say_an_index_that_nothing_else_does(
    cluster: Any, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compact network, an object deleted while no operator was there, no record: the pods' addresses stay served."""
    monkeypatch.setattr("multinic_operator.numbering.sizes.LIMIT_BYTES", 1_000)
    cluster.network()
    join(cluster, *range(6))
    await cluster.settle()
    assert (await cluster.kube.get(CIDRS, "net")).spec.compact
    spec = {
        "podCIDR": "192.168.4.0/24", "vlanCIDR": "192.168.0.0/18", "netAttachDef": "net", "hostName": "n4",
        "interfaceName": "eth1", "excludes": [],
        "allocations": [{"pod": "p", "namespace": "default", "index": 1, "address": "192.168.4.1"}],
    }  # fmt: skip
    await cluster.kube.create(IPPOOLS, {"metadata": {"name": "net-192.168.4.0-24"}, "spec": spec})
    for number in (3, 4):
        await cluster.kube.delete(HOST_INTERFACES, f"n{number}")
        cluster.host(f"n{number}", {"eth1": f"10.0.1.{number + 1}/24"})
    await cluster.settle()
    assert (await indexes(cluster))["n4"] == 4


@pytest.mark.parametrize(
    ("held", "limits", "listed", "expected"),
    [
        ([], [], [], 0),
        ([(0, 3)], [], [], 4),
        ([(0, 0), (2, 3)], [8], [], 4),
        ([(0, 0), (2, 3)], [4], [], 1),
        ([(0, 3)], [4, 16], [], 4),
        ([(0, 3)], [4], [], 4),
        ([(0, 3)], [16], [4, 5], 6),
        ([(0, 2)], [4], [3], 3),
    ],
    ids=["first", "next", "above", "a-gap", "a-larger-network", "beyond", "beside-lists", "of-a-list-at-last"],
)
def test_the_next_index(held: list[tuple[int, int]], limits: list[int], listed: list[int], expected: int) -> None:
    """Above all that are held, then a gap, in the smallest network that has room."""
    fleet = Fleet(held=HeldIndexes(held))
    assert choose_index(fleet, limits, HeldIndexes([(index, index) for index in listed])) == expected


def test_records_are_bounded_and_the_oldest_go_first() -> None:
    """5,000 departures are cut to what fits one object, and read back as they were."""
    claims = [IndexClaim(network="net", net_address="10.0.1.0/24", interface_name="eth1", host_index=7)]
    departures = [
        Departure(node=f"node-{n}", host_index=n, exceptions=claims, left=f"2026-01-01T{n // 3600:02}:00:00Z")
        for n in range(5000)
    ]
    text = encode_departed(departures)
    assert len(text.encode()) <= BYTES
    found = decode_departed(text)
    assert 400 < len(found) < 5000
    assert found == sorted(departures, key=lambda d: (d.left, d.node))[-len(found) :]
    assert decode_departed(encode_departed(found[:3])) == found[:3]
    assert json.loads(encode_departed([])) == []


def test_survivors_of_a_long_collection_are_exempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full collection that took long freezes what stays; a short one and a partial one do not."""
    times = iter([0.0, 0.001, 1.0, 2.0])
    monkeypatch.setattr("multinic_operator.memory.time.perf_counter", lambda: next(times))
    frozen: list[bool] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(True))
    watch = LongCollections()
    watch("start", {"generation": 0})
    watch("start", {"generation": 2})
    watch("stop", {"generation": 2})
    assert frozen == []
    watch("start", {"generation": 2})
    watch("stop", {"generation": 2})
    assert frozen == [True]
