"""What a network's status says: the old words and messages, the conditions, and when it is written."""

from __future__ import annotations

from typing import Any

import pytest

from multinic_core.errors import ApiError
from multinic_core.model import ATTACHMENT_DEFINITIONS, CIDRS, EVENTS, HOST_INTERFACES, NETWORKS, NODES
from multinic_core.ports import Key

L2 = {"type": "multi-nic-ipam", "hostBlock": 6, "interfaceBlock": 2, "vlanMode": "l2"}


def two_nodes(cluster: Any) -> None:
    cluster.node("node-1", {"eth1": "10.0.1.1/24", "eth2": "10.0.2.1/24"})
    cluster.node("node-2", {"eth1": "10.0.1.2/24"})


def conditions(status: Any) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in status.conditions}


async def test_an_l2_network_reaches_success(cluster: Any, autojump_clock: Any) -> None:
    """With multi-nic-ipam and no host routes to wait for, configStatus is Success and routeStatus N/A."""
    two_nodes(cluster)
    cluster.network(ipam=L2)
    await cluster.settle()
    status = await cluster.status()
    assert (status.config_status, status.route_status, status.message) == ("Success", "N/A", "")
    assert [(r.net_address, r.num_of_hosts) for r in status.compute_results] == [("10.0.1.0/24", 2), ("10.0.2.0/24", 1)]
    assert status.discovery.to_json() == {"existDaemon": 0, "infoAvailable": 2, "cidrProcessed": 2}
    assert conditions(status) == {
        "Ready": ("True", "Ready"),
        "Discovered": ("True", "InterfacesFound"),
        "Configured": ("True", "Configured"),
        "RoutesReady": ("True", "NotNeeded"),
        "CapacityLow": ("False", "BlocksFree"),
    }


async def test_an_l3_network_is_ready_when_every_daemon_says_so(cluster: Any, autojump_clock: Any) -> None:
    """WaitForRoutes until the last node has reported the CIDR as it is, then Success."""
    two_nodes(cluster)
    cluster.network()
    async with cluster.running():
        for node in ("node-1", "node-2"):
            await cluster.renew(node)
        await cluster.quiet()
        status = await cluster.status()
        assert (status.config_status, status.route_status) == ("WaitForConfig", "WaitForRoutes")
        assert status.message == "waiting for route update"
        await cluster.report("node-1")
        await cluster.quiet()
        assert (await cluster.status()).route_status == "WaitForRoutes"
        await cluster.report("node-2")
        await cluster.quiet()
        status = await cluster.status()
        assert (status.config_status, status.route_status, status.message) == ("Success", "Success", "")
        assert status.discovery.exist_daemon == 2
        assert conditions(status)["Ready"] == ("True", "Ready")


async def test_a_report_of_an_older_cidr_does_not_count(cluster: Any, autojump_clock: Any) -> None:
    """When the blocks change the nodes have to report again."""
    two_nodes(cluster)
    cluster.network()
    async with cluster.running():
        for node in ("node-1", "node-2"):
            await cluster.report(node)
        await cluster.quiet()
        assert (await cluster.status()).route_status == "Success"
        await cluster.rewire("node-2", {"eth1": "10.0.1.2/24", "eth2": "10.0.2.2/24"})
        await cluster.quiet()
        assert (await cluster.status()).route_status == "WaitForRoutes"


async def test_a_failed_route_is_told_with_node_and_reason_until_it_is_fixed(cluster: Any, autojump_clock: Any) -> None:
    """Failed outranks silence and waiting, and stays for as long as the daemon says so."""
    two_nodes(cluster)
    cluster.network()
    async with cluster.running():
        await cluster.report("node-2", status="Failed", message="no such NIC eth1")
        await cluster.quiet(30)
        status = await cluster.status()
        assert (status.config_status, status.route_status) == ("WaitForConfig", "Failed")
        assert status.message == "some route cannot be applied, need attention: node-2: no such NIC eth1"
        assert conditions(status)["RoutesReady"] == ("False", "RoutesFailed")
        assert "RoutesFailed" in {event.reason for event in await cluster.kube.list(EVENTS)}
        await cluster.report("node-1")
        await cluster.report("node-2")
        await cluster.quiet()
        assert (await cluster.status()).route_status == "Success"


async def test_a_silent_daemon_is_unknown_by_name(cluster: Any, autojump_clock: Any) -> None:
    """90 seconds after the last renewal the node is named; the configuration keeps its word; a renewal heals it."""
    two_nodes(cluster)
    cluster.network()
    async with cluster.running():
        for node in ("node-1", "node-2"):
            await cluster.report(node)
        await cluster.quiet(60)
        await cluster.renew("node-1")
        await cluster.quiet(15)
        assert (await cluster.status()).route_status == "Success"
        await cluster.quiet(40)
        status = await cluster.status()
        assert (status.config_status, status.route_status) == ("Success", "Unknown")
        assert status.message == "some daemon cannot be connected: node-2"
        assert status.discovery.exist_daemon == 1
        assert conditions(status)["Ready"] == ("Unknown", "DaemonSilent")
        await cluster.renew("node-2")
        await cluster.quiet(5)
        assert (await cluster.status()).route_status == "Success"


async def test_a_restarted_operator_does_not_take_an_old_lease_for_life(cluster: Any, autojump_clock: Any) -> None:
    """At first sight the Lease's own time counts."""
    two_nodes(cluster)
    cluster.network(ipam=L2)
    await cluster.renew("node-1")
    await cluster.quiet(120)
    await cluster.renew("node-2")
    await cluster.settle()
    assert (await cluster.status()).discovery.exist_daemon == 1


async def test_nothing_is_written_when_only_time_passes(cluster: Any, autojump_clock: Any) -> None:
    """Renewals of Leases and an idle hour cost no write to the network."""
    two_nodes(cluster)
    cluster.network()
    async with cluster.running():
        for node in ("node-1", "node-2"):
            await cluster.report(node)
        await cluster.quiet()
        before = await cluster.kube.get(NETWORKS, "net")
        for _ in range(100):
            for node in ("node-1", "node-2"):
                await cluster.report(node)
            await cluster.quiet(36)
        assert await cluster.kube.get(NETWORKS, "net") == before


async def test_transition_times_stay_until_the_status_turns(cluster: Any, autojump_clock: Any) -> None:
    """An edit moves observedGeneration in all conditions and lastTransitionTime in none that stays as it was."""
    two_nodes(cluster)
    cluster.network(ipam=L2)
    await cluster.settle()
    before = {c.type: c for c in (await cluster.status()).conditions}
    await cluster.quiet(100)
    await cluster.edit(namespaces=["default", "absent"])
    await cluster.settle()
    status = await cluster.status()
    after = {c.type: c for c in status.conditions}
    assert {c.observed_generation for c in after.values()} == {2}
    assert after["Discovered"].last_transition_time == before["Discovered"].last_transition_time
    assert after["Configured"].last_transition_time > before["Configured"].last_transition_time
    assert (after["Configured"].status, after["Configured"].reason) == ("False", "Incomplete")
    assert status.message == (
        "Failed to create net: spec.namespaces[1]: found 'absent', which does not exist; create it or leave it out"
    )


async def test_a_network_that_no_nic_serves_is_not_ready(cluster: Any, autojump_clock: Any) -> None:
    """Without a node there is nothing wrong, and nothing that a pod could use."""
    cluster.network(ipam=L2)
    async with cluster.running():
        status = await cluster.status()
        assert (status.config_status, status.message) == ("WaitForConfig", "no node has a NIC in this network")
        assert conditions(status)["Ready"] == ("False", "NoInterfaces")
        two_nodes(cluster)
        await cluster.quiet()
        assert (await cluster.status()).config_status == "Success"


async def test_a_limit_is_told_while_the_rest_works(cluster: Any, autojump_clock: Any) -> None:
    """A node that comes when all blocks are given is named in message and conditions; the others are served."""
    cluster.node("node-1", {"eth1": "10.0.1.1/24", "eth2": "10.0.2.1/24"})
    cluster.network(ipam=L2 | {"hostBlock": 0})
    async with cluster.running():
        cluster.node("node-2", {"eth1": "10.0.1.2/24"})
        await cluster.quiet()
    status = await cluster.status()
    assert status.config_status == "Failed"
    assert "spec.ipam.hostBlock: found 0" in status.message
    assert "node-2 (eth1)" in status.message
    assert conditions(status)["Configured"] == ("False", "Incomplete")
    assert conditions(status)["CapacityLow"] == ("True", "BlocksNearlyUsed")
    assert len(cluster.pools()) == 2


async def test_a_network_that_cannot_hold_what_is_there_is_not_begun(cluster: Any, autojump_clock: Any) -> None:
    """The refusal says how many there are, how many fit and what would do; nothing is made until it does."""
    two_nodes(cluster)
    cluster.network(ipam=L2 | {"hostBlock": 0})
    async with cluster.running():
        assert (await cluster.status()).message == (
            "Failed to create net: spec.ipam.hostBlock: found 0, which gives 1 block on the NIC network 10.0.1.0/24,"
            " but 2 NICs are there; expected at least 1"
        )
        assert await cluster.kube.list(CIDRS) == []
        await cluster.edit(ipam=L2 | {"hostBlock": 1})
        await cluster.quiet()
    status = await cluster.status()
    assert (status.config_status, conditions(status)["CapacityLow"]) == ("Success", ("True", "BlocksNearlyUsed"))
    low = next(c for c in status.conditions if c.type == "CapacityLow")
    assert low.message.startswith("spec.ipam.hostBlock 1: 2 of 2 blocks on 10.0.1.0/24 are in use")
    assert "BlocksNearlyUsed" in [event.reason for event in await cluster.kube.list(EVENTS)]


async def test_an_answer_that_waiting_will_not_change_is_told(cluster: Any, autojump_clock: Any) -> None:
    """Missing rights stand in the status, while the reconcile goes on trying."""
    two_nodes(cluster)
    cluster.network(ipam=L2)
    denied = ApiError("network-attachment-definitions: create is forbidden", status=403, api_reason="Forbidden")
    cluster.kube.fail(denied, verb="create", resource=ATTACHMENT_DEFINITIONS, times=5)
    async with cluster.running():
        await cluster.quiet(60)
        assert (await cluster.status()).config_status == "Success"
    told = [event for event in await cluster.kube.list(EVENTS) if event.type == "Warning"]
    assert [event.message for event in told] == [f"Failed to create net: {denied}"]


async def test_an_invalid_edit_leaves_the_route_status_of_what_works(cluster: Any, autojump_clock: Any) -> None:
    """The blocks that are recorded go on to be routed, and the status goes on to say so."""
    two_nodes(cluster)
    cluster.network()
    async with cluster.running():
        for node in ("node-1", "node-2"):
            await cluster.report(node)
        await cluster.quiet()
        await cluster.edit(plugin={"cniVersion": "0.3.0", "type": "nonesuch"})
        await cluster.quiet()
        status = await cluster.status()
        assert (status.config_status, status.route_status) == ("Failed", "Success")
        assert len(status.compute_results) == 2


async def test_a_cidr_deleted_by_hand_comes_back_as_it_was(cluster: Any, autojump_clock: Any) -> None:
    """The pools remember the indexes, so a node that has gone leaves its gap and nobody moves."""
    for name, number in (("a", 1), ("b", 2), ("c", 3)):
        cluster.node(name, {"eth1": f"10.0.1.{number}/24", "eth2": f"10.0.2.{number}/24"})
    cluster.network()
    async with cluster.running():
        await cluster.kube.delete(NODES, "a")
        await cluster.quiet()
        assert [h.name for h in await cluster.kube.list(HOST_INTERFACES)] == ["b", "c"]
        before = await cluster.kube.get(CIDRS, "net")
        await cluster.kube.delete(CIDRS, "net")
        await cluster.quiet()
        after = await cluster.kube.get(CIDRS, "net")
    assert after.metadata.uid != before.metadata.uid
    assert after.spec == before.spec
    assert [row.host_index for row in after.spec.cidr[0].hosts] == [1, 2]


@pytest.mark.parametrize("status", [500, 409])
async def test_a_status_that_could_not_be_written_is_written_later(
    cluster: Any, autojump_clock: Any, status: int
) -> None:
    """A failed status write is retried."""
    two_nodes(cluster)
    cluster.network(ipam=L2)
    cluster.kube.fail(ApiError("no", status=status), verb="patch", resource=NETWORKS, times=3)
    await cluster.settle()
    assert (await cluster.status()).config_status == "Success"


async def test_a_status_is_written_once_though_the_watch_lags(cluster: Any, autojump_clock: Any) -> None:
    """A second look before the store shows our own write does not write again."""
    two_nodes(cluster)
    cluster.network(ipam=L2)
    operator = cluster.operator()
    await operator.networks.reconcile("net")
    with cluster.kube.stale():
        for _ in range(3):
            await operator.statuses.reconcile("net")
    assert len([write for write in cluster.kube.writes if write.subresource == "status"]) == 1


async def test_an_old_lease_is_silent_at_first_sight(cluster: Any, autojump_clock: Any) -> None:
    """A daemon is not called alive for even a moment on the word of a Lease that has run out."""
    await cluster.renew("node-1")
    await cluster.quiet(120)
    await cluster.renew("node-2")
    operator = cluster.operator()
    for lease in operator.world.leases.list():
        operator.daemons.observe(Key(lease.namespace, lease.name))
    assert {node: daemon.alive for node, daemon in operator.daemons.view().items()} == {"node-1": False, "node-2": True}
