"""HostInterfaces go with their node, on proof only."""

from __future__ import annotations

from typing import Any

import pytest

from multinic_core.errors import ApiError
from multinic_core.model import CIDRS, HOST_INTERFACES, IPPOOLS, NODES


def names(cluster: Any) -> list[str]:
    return [host.name for host in cluster.kube.store(HOST_INTERFACES).list()]


async def test_a_node_that_goes_takes_host_interface_rows_and_pools_along(cluster: Any, autojump_clock: Any) -> None:
    """After the Node is gone nothing of it is left, held addresses notwithstanding, and others have not moved."""
    cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    cluster.node("node-2", {"eth1": "10.0.1.2/24"})
    cluster.network()
    async with cluster.running():
        held = [{"pod": "p", "namespace": "default", "index": 1, "address": "192.168.0.1"}]
        await cluster.kube.patch(IPPOOLS, "net-192.168.0.0-24", {"spec": {"allocations": held}})
        await cluster.kube.delete(NODES, "node-1")
        await cluster.quiet()
        assert names(cluster) == ["node-2"]
        (entry,) = (await cluster.kube.get(CIDRS, "net")).spec.cidr
        assert [(row.host_name, row.host_index) for row in entry.hosts] == [("node-2", 1)]
        assert sorted(cluster.pools()) == ["net-192.168.1.0-24"]


async def test_a_node_in_the_place_of_a_gone_one_does_not_inherit_its_allocations(
    cluster: Any, autojump_clock: Any
) -> None:
    """With hostBlock 0 the next node gets the same block, and a pool of its own."""
    ipam = {"type": "multi-nic-ipam", "hostBlock": 0, "interfaceBlock": 2, "vlanMode": "l3"}
    cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    cluster.network(ipam=ipam)
    await cluster.settle()
    held = [{"pod": "p", "namespace": "default", "index": 1, "address": "192.168.0.1"}]
    await cluster.kube.patch(IPPOOLS, "net-192.168.0.0-18", {"spec": {"allocations": held}})
    await cluster.kube.delete(NODES, "node-1")
    await cluster.kube.delete(HOST_INTERFACES, "node-1")
    cluster.node("node-2", {"eth1": "10.0.1.2/24"})
    await cluster.settle()
    (pool,) = cluster.pools().values()
    assert (pool.name, pool.spec.host_name, pool.spec.allocations) == ("net-192.168.0.0-18", "node-2", [])


async def test_unmanaged_host_interfaces_stay(cluster: Any, autojump_clock: Any) -> None:
    """What a person wrote, a person removes."""
    cluster.host("by-hand", {"eth1": "10.0.1.1/24"}, labels={"multi-nic-unmanaged": "True"})
    cluster.host("left-over", {"eth1": "10.0.1.2/24"})
    await cluster.settle()
    assert names(cluster) == ["by-hand"]


@pytest.mark.parametrize("status", [0, 403, 500, 503])
async def test_an_error_is_no_proof(cluster: Any, autojump_clock: Any, status: int) -> None:
    """Only "not found" proves a node gone."""
    cluster.host("node-1", {"eth1": "10.0.1.1/24"})
    cluster.kube.fail(ApiError("no", status=status), verb="get", resource=NODES, times=1_000_000)
    await cluster.settle()
    assert names(cluster) == ["node-1"]


async def test_a_store_that_lags_is_no_proof(cluster: Any, autojump_clock: Any) -> None:
    """A daemon may publish before the operator's watch shows its Node."""
    operator = cluster.operator()
    with cluster.kube.stale():
        cluster.node("node-1")
    cluster.host("node-1", {"eth1": "10.0.1.1/24"})
    operator.world.nodes.replace([])
    await operator._hosts.reconcile("node-1")
    assert names(cluster) == ["node-1"]


async def test_a_node_that_cannot_be_read_exists(cluster: Any, autojump_clock: Any) -> None:
    """An object that does not fit the model is there all the same."""
    cluster.kube.seed_invalid(NODES, {"metadata": {"name": "node-1", "labels": 7}})
    cluster.host("node-1", {"eth1": "10.0.1.1/24"})
    await cluster.settle()
    assert names(cluster) == ["node-1"]


async def test_the_originals_finalizer_does_not_hold_a_host_interface(cluster: Any, autojump_clock: Any) -> None:
    """It is taken off when the object is to go, and not before."""
    cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    finalizers = {"metadata": {"finalizers": ["finalizers.hostinterface.multinic.fms.io"]}}
    await cluster.kube.patch(HOST_INTERFACES, "node-1", finalizers)
    await cluster.settle()
    (host,) = await cluster.kube.list(HOST_INTERFACES)
    assert host.metadata.finalizers == ["finalizers.hostinterface.multinic.fms.io"]
    await cluster.kube.delete(NODES, "node-1")
    await cluster.settle()
    assert names(cluster) == []
