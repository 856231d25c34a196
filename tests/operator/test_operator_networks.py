"""A running operator on a cluster in memory: what it writes for a network."""

from __future__ import annotations

import json
from typing import Any

import pytest

from multinic_core.errors import ApiError
from multinic_core.model import ATTACHMENT_DEFINITIONS, CIDRS, EVENTS, IPPOOLS, NAMESPACES, NETWORKS, NODES


def two_nodes(cluster: Any) -> None:
    cluster.node("node-1", {"eth1": "10.0.1.1/24", "eth2": "10.0.2.1/24"})
    cluster.node("node-2", {"eth1": "10.0.1.2/24", "eth2": "10.0.2.2/24"})


async def test_a_network_becomes_cidr_pools_and_definitions(cluster: Any, autojump_clock: Any) -> None:
    """The CIDR holds both nodes on both networks, with one labelled pool for each block, owned by the network."""
    two_nodes(cluster)
    cluster.network()
    await cluster.settle()
    network = await cluster.kube.get(NETWORKS, "net")
    cidr = await cluster.kube.get(CIDRS, "net")
    assert cidr.spec.config.to_json() == {
        "name": "net",
        "type": "ipvlan",
        "subnet": "192.168.0.0/16",
        "masterNets": ["10.0.1.0/24", "10.0.2.0/24"],
        "hostBlock": 6,
        "interfaceBlock": 2,
        "vlanMode": "l3",
    }
    assert {o.uid for o in cidr.metadata.owner_references} == {network.metadata.uid}
    assert network.metadata.finalizers == ["finalizers.multinicnetwork.multinic.fms.io"]
    pools = cluster.pools()
    assert sorted(pools) == [
        "net-192.168.0.0-24",
        "net-192.168.1.0-24",
        "net-192.168.64.0-24",
        "net-192.168.65.0-24",
    ]
    pool = pools["net-192.168.65.0-24"]
    assert pool.metadata.labels == {"hostname": "node-2", "netname": "net"}
    assert {o.uid for o in pool.metadata.owner_references} == {network.metadata.uid}
    assert pool.spec.to_json() == {
        "podCIDR": "192.168.65.0/24",
        "vlanCIDR": "192.168.64.0/18",
        "netAttachDef": "net",
        "hostName": "node-2",
        "interfaceName": "eth2",
        "excludes": [],
        "allocations": [],
    }


async def test_the_definition_reads_as_the_original_writes_it(cluster: Any, autojump_clock: Any) -> None:
    """spec.config has the original's keys, in its order, byte for byte."""
    two_nodes(cluster)
    cluster.network(
        "multinic-ipvlanl3", ipam={"type": "multi-nic-ipam", "vlanMode": "l3", "interfaceBlock": 2, "hostBlock": 8}
    )
    await cluster.settle()
    definition = await cluster.kube.get(ATTACHMENT_DEFINITIONS, "multinic-ipvlanl3", "default")
    assert definition.spec.config == (
        '{"cniVersion":"0.3.0","name":"multinic-ipvlanl3","type":"multi-nic",'
        '"ipam":{"hostBlock":8,"interfaceBlock":2,"type":"multi-nic-ipam","vlanMode":"l3"},'
        '"dns":{},'
        '"plugin":{"cniVersion":"0.3.0","mode":"l3","type":"ipvlan"},'
        '"subnet":"192.168.0.0/16","masterNets":["10.0.1.0/24","10.0.2.0/24"],'
        '"multiNICIPAM":true,"daemonIP":"","daemonPort":11000}'
    )
    assert definition.metadata.labels == {"multi-nic-cni-generated": "true"}
    (owner,) = definition.metadata.owner_references
    assert (owner.kind, owner.controller, owner.block_owner_deletion) == ("MultiNicNetwork", True, True)


async def test_the_definition_declares_the_capabilities_of_the_network(cluster: Any, autojump_clock: Any) -> None:
    """Runtimes pass on what a pod asks for, such as a MAC address, only where the definition says so."""
    two_nodes(cluster)
    cluster.network(plugin={"type": "ipvlan", "cniVersion": "0.3.0", "capabilities": {"mac": True, "ips": True}})
    await cluster.settle()
    definition = await cluster.kube.get(ATTACHMENT_DEFINITIONS, "net", "default")
    assert json.loads(definition.spec.config)["capabilities"] == {"ips": True, "mac": True}


async def test_a_second_operator_writes_nothing(cluster: Any, autojump_clock: Any) -> None:
    """What one operator left is what the next one wants."""
    two_nodes(cluster)
    cluster.network()
    cluster.network("l2", subnet=None, ipam={"type": "multi-nic-ipam", "hostBlock": 2}, namespaces=["default"])
    cluster.network("other", ipam={"type": "whereabouts", "range": "10.9.0.0/16"}, multiNICIPAM=None)
    await cluster.settle()
    written = cluster.kube.count()
    assert written > 0
    await cluster.settle()
    assert cluster.kube.count() == written


async def test_another_ipam_gets_definitions_and_no_blocks(cluster: Any, autojump_clock: Any) -> None:
    """Without multi-nic-ipam there is no CIDR, masterNets are all NIC networks, and status is Success."""
    two_nodes(cluster)
    cluster.network(subnet=None, ipam={"type": "whereabouts", "range": "10.9.0.0/16"}, multiNICIPAM=None)
    await cluster.settle()
    definition = await cluster.kube.get(ATTACHMENT_DEFINITIONS, "net", "default")
    config = json.loads(definition.spec.config)
    assert config["masterNets"] == ["10.0.1.0/24", "10.0.2.0/24"]
    assert "multiNICIPAM" not in config
    assert await cluster.kube.list(CIDRS) == []
    status = await cluster.status()
    assert (status.config_status, status.route_status, status.message) == ("Success", "N/A", "")


async def test_namespaces_come_and_go(cluster: Any, autojump_clock: Any) -> None:
    """A new namespace gets its definition; one that leaves the list loses it; Terminating ones get none."""
    two_nodes(cluster)
    cluster.namespace("leaving", phase="Terminating")
    cluster.network()
    async with cluster.running():
        cluster.namespace("blue")
        await cluster.quiet()
        assert where(cluster) == ["blue", "default"]
        await cluster.edit(namespaces=["blue"])
        await cluster.quiet()
        assert where(cluster) == ["blue"]


def where(cluster: Any, name: str = "net") -> list[str]:
    return [d.namespace for d in cluster.kube.store(ATTACHMENT_DEFINITIONS).list() if d.name == name]


async def test_a_foreign_definition_is_named_and_left(cluster: Any, autojump_clock: Any) -> None:
    """A definition of our name without our label stays as it is, also when the network goes."""
    two_nodes(cluster)
    foreign = {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "net", "namespace": "blue"},
        "spec": {"config": "{}"},
    }
    cluster.namespace("blue")
    (before,) = cluster.kube.seed(ATTACHMENT_DEFINITIONS, foreign)
    cluster.network()
    async with cluster.running():
        status = await cluster.status()
        assert status.config_status == "Failed"
        assert "namespace 'blue'" in status.message
        assert where(cluster) == ["blue", "default"]
        await cluster.kube.delete(NETWORKS, "net")
        await cluster.quiet()
    assert await cluster.kube.list(ATTACHMENT_DEFINITIONS) == [before]


async def test_a_foreign_definition_where_none_is_wanted_stays(cluster: Any, autojump_clock: Any) -> None:
    """Cleaning up a namespace that is not listed removes ours alone."""
    two_nodes(cluster)
    cluster.namespace("blue")
    cluster.network()
    await cluster.settle()
    await cluster.kube.delete(ATTACHMENT_DEFINITIONS, "net", "blue")
    cluster.kube.seed(
        ATTACHMENT_DEFINITIONS, {"metadata": {"name": "net", "namespace": "blue"}, "spec": {"config": "{}"}}
    )
    await cluster.edit(namespaces=["default"])
    await cluster.settle()
    assert where(cluster) == ["blue", "default"]
    assert (await cluster.status()).config_status == "WaitForConfig"


async def test_annotations_and_owner_of_a_definition_are_restored(cluster: Any, autojump_clock: Any) -> None:
    """What the original never rewrote is rewritten, and annotations of others stay."""
    two_nodes(cluster)
    cluster.network(plugin={"cniVersion": "0.3.0", "type": "ipvlan", "args": {"resource": "nics/fast"}})
    await cluster.settle()
    spoiled = {
        "ownerReferences": [
            {"apiVersion": "multinic.fms.io/v1", "kind": "MultiNicNetwork", "name": "net", "uid": "former"}
        ],
        "annotations": {"k8s.v1.cni.cncf.io/resourceName": "nics/slow", "team": "blue"},
    }
    await cluster.kube.patch(ATTACHMENT_DEFINITIONS, "net", {"metadata": spoiled}, namespace="default")
    await cluster.settle()
    definition = await cluster.kube.get(ATTACHMENT_DEFINITIONS, "net", "default")
    network = await cluster.kube.get(NETWORKS, "net")
    assert definition.metadata.annotations == {"k8s.v1.cni.cncf.io/resourceName": "nics/fast", "team": "blue"}
    assert [o.uid for o in definition.metadata.owner_references] == [network.metadata.uid]


async def test_a_definition_that_means_the_same_is_left(cluster: Any, autojump_clock: Any) -> None:
    """Another order of keys, as an older writer may have left it, is no reason to write."""
    two_nodes(cluster)
    cluster.network()
    await cluster.settle()
    definition = await cluster.kube.get(ATTACHMENT_DEFINITIONS, "net", "default")
    text = json.dumps(dict(sorted(json.loads(definition.spec.config).items())), indent=1)
    await cluster.kube.patch(ATTACHMENT_DEFINITIONS, "net", {"spec": {"config": text}}, namespace="default")
    written = cluster.kube.count()
    await cluster.settle()
    assert cluster.kube.count() == written


async def test_an_invalid_network_is_told_and_nothing_is_made(cluster: Any, autojump_clock: Any) -> None:
    """All problems stand in the status, in a condition and in one Event; nothing else is written for it."""
    two_nodes(cluster)
    cluster.network(subnet="192.168.0.7/16", plugin={"cniVersion": "0.3.0", "type": "nonesuch"})
    await cluster.settle()
    status = await cluster.status()
    assert status.config_status == "Failed"
    assert status.message.startswith(
        "Failed to create net: spec.plugin.type: found 'nonesuch', expected one of ['ipvlan']"
    )
    assert "spec.subnet: found '192.168.0.7/16' with host bits set, expected '192.168.0.0/16'" in status.message
    configured = next(c for c in status.conditions if c.type == "Configured")
    assert (configured.status, configured.reason) == ("False", "InvalidConfiguration")
    (event,) = [e for e in await cluster.kube.list(EVENTS) if e.reason == "InvalidConfiguration"]
    assert (event.type, event.involved_object["name"], event.message) == ("Warning", "net", status.message)
    assert {(w.verb, w.resource) for w in cluster.kube.writes} == {
        ("create", "namespaces"),
        ("create", "events"),
        ("patch", "multinicnetworks"),
        ("patch", "hostinterfaces"),  # nodes are numbered with or without networks
    }


async def test_an_edit_that_is_wrong_tears_nothing_down(cluster: Any, autojump_clock: Any) -> None:
    """A network that worked keeps its blocks, pools and definitions while its new text is refused."""
    two_nodes(cluster)
    cluster.network()
    await cluster.settle()
    before = {r: await cluster.kube.list(r) for r in (CIDRS, IPPOOLS, ATTACHMENT_DEFINITIONS)}
    await cluster.edit(subnet="192.168.0.0/99")
    await cluster.settle()
    assert (await cluster.status()).config_status == "Failed"
    assert {r: await cluster.kube.list(r) for r in before} == before


async def test_renumbering_is_refused_while_addresses_are_in_use(cluster: Any, autojump_clock: Any) -> None:
    """A smaller hostBlock waits for the last address; then all blocks are cut anew."""
    two_nodes(cluster)
    cluster.network()
    await cluster.settle()
    held = [{"pod": "p", "namespace": "default", "index": 1, "address": "192.168.0.1"}]
    await cluster.kube.patch(IPPOOLS, "net-192.168.0.0-24", {"spec": {"allocations": held}})
    ipam = {"type": "multi-nic-ipam", "hostBlock": 8, "interfaceBlock": 2, "vlanMode": "l3"}
    async with cluster.running():
        await cluster.edit(ipam=ipam)
        await cluster.quiet()
        status = await cluster.status()
        assert "spec.ipam.hostBlock: found 8, expected 6, because 1 address is in use" in status.message
        assert "net-192.168.0.0-24" in cluster.pools()
        await cluster.kube.patch(IPPOOLS, "net-192.168.0.0-24", {"spec": {"allocations": []}})
        await cluster.quiet()
    assert sorted(cluster.pools())[:2] == ["net-192.168.0.0-26", "net-192.168.0.64-26"]
    assert (await cluster.status()).config_status == "WaitForConfig"


async def test_safe_edits_roll_out(cluster: Any, autojump_clock: Any) -> None:
    """Excludes reach the pools, masterNets append, and no row moves."""
    two_nodes(cluster)
    cluster.network(masterNets=["10.0.2.0/24"])
    await cluster.settle()
    rows = (await cluster.kube.get(CIDRS, "net")).spec.cidr[0].hosts
    ipam = {"type": "multi-nic-ipam", "hostBlock": 6, "interfaceBlock": 2, "vlanMode": "l3"}
    await cluster.edit(masterNets=["10.0.1.0/24", "10.0.2.0/24"], ipam=ipam | {"excludeCIDRs": ["192.168.0.128/25"]})
    await cluster.settle()
    cidr = await cluster.kube.get(CIDRS, "net")
    assert [(e.net_address, e.interface_index) for e in cidr.spec.cidr] == [("10.0.2.0/24", 0), ("10.0.1.0/24", 1)]
    assert cidr.spec.cidr[0].hosts == rows
    assert cidr.spec.config.exclude_cidrs == ["192.168.0.128/25"]
    assert cluster.pools()["net-192.168.0.0-24"].spec.excludes == ["192.168.0.128/25"]
    definition = await cluster.kube.get(ATTACHMENT_DEFINITIONS, "net", "default")
    assert json.loads(definition.spec.config)["masterNets"] == ["10.0.1.0/24", "10.0.2.0/24"]


async def test_allocations_are_the_daemons(cluster: Any, autojump_clock: Any) -> None:
    """A pool that is put right keeps its allocations."""
    two_nodes(cluster)
    cluster.network()
    await cluster.settle()
    held = [{"pod": "p", "namespace": "default", "index": 1, "address": "192.168.0.1"}]
    await cluster.kube.patch(
        IPPOOLS,
        "net-192.168.0.0-24",
        {"spec": {"allocations": held, "interfaceName": "wrong"}, "metadata": {"labels": None}},
    )
    await cluster.settle()
    pool = cluster.pools()["net-192.168.0.0-24"]
    assert pool.spec.interface_name == "eth1"
    assert pool.metadata.labels == {"hostname": "node-1", "netname": "net"}
    assert [a.to_json() for a in pool.spec.allocations] == held


async def test_a_pool_that_lost_its_block_stays_while_addresses_are_held(cluster: Any, autojump_clock: Any) -> None:
    """The pool of a NIC that moved networks is kept and named until its last address is free."""
    two_nodes(cluster)
    cluster.network()
    async with cluster.running():
        held = [{"pod": "p", "namespace": "default", "index": 1, "address": "192.168.65.1"}]
        await cluster.kube.patch(IPPOOLS, "net-192.168.65.0-24", {"spec": {"allocations": held}})
        await cluster.rewire("node-2", {"eth1": "10.0.1.2/24", "eth2": "10.0.3.2/24"})
        await cluster.quiet()
        assert "net-192.168.65.0-24" in cluster.pools()
        configured = next(c for c in (await cluster.status()).conditions if c.type == "Configured")
        assert configured.status == "True"
        assert (
            "'net-192.168.65.0-24' has no block on node 'node-2' any more and is kept: 1 of its addresses"
            in configured.message
        )
        await cluster.kube.patch(IPPOOLS, "net-192.168.65.0-24", {"spec": {"allocations": []}})
        await cluster.quiet()
    assert "net-192.168.65.0-24" not in cluster.pools()


async def test_without_a_subnet_pools_exclude_the_nics_own_addresses(cluster: Any, autojump_clock: Any) -> None:
    """Host-subnet mode: addresses of NICs on that network are never given to pods."""
    two_nodes(cluster)
    cluster.network(subnet=None, ipam={"type": "multi-nic-ipam", "hostBlock": 1, "excludeCIDRs": ["10.0.1.16/28"]})
    await cluster.settle()
    assert {name: pool.spec.excludes for name, pool in cluster.pools().items()} == {
        "net-10.0.1.0-25": ["10.0.1.16/28", "10.0.1.1/32", "10.0.1.2/32"],
        "net-10.0.1.128-25": [],
        "net-10.0.2.0-25": ["10.0.2.1/32", "10.0.2.2/32"],
        "net-10.0.2.128-25": [],
    }


HELD = [{"pod": "p", "namespace": "default", "index": 1, "address": "192.168.0.1"}]


async def test_a_deleted_network_takes_everything_with_it(cluster: Any, autojump_clock: Any) -> None:
    """Definitions, pools, CIDR and finalizer go, the original's finalizers notwithstanding."""
    two_nodes(cluster)
    cluster.namespace("blue")
    cluster.network()
    cluster.network("second", subnet="172.16.0.0/16")
    await cluster.settle()
    theirs = {"metadata": {"finalizers": ["finalizers.ippool.multinic.fms.io"]}}
    await cluster.kube.patch(IPPOOLS, "net-192.168.0.0-24", theirs)
    await cluster.kube.patch(CIDRS, "net", {"metadata": {"finalizers": ["finalizers.cidr.multinic.fms.io"]}})
    await cluster.kube.delete(NETWORKS, "net")
    await cluster.settle()
    assert [n.name for n in await cluster.kube.list(NETWORKS)] == ["second"]
    assert [c.name for c in await cluster.kube.list(CIDRS)] == ["second"]
    assert cluster.pools() == {}
    assert len(cluster.pools("second")) == 4
    assert where(cluster) == []
    assert where(cluster, "second") == ["blue", "default"]


async def test_a_deletion_waits_for_the_pods_and_says_where_they_are(cluster: Any, autojump_clock: Any) -> None:
    """The offer goes at once, blocks and finalizer with the last address; status and one Event name the nodes."""
    two_nodes(cluster)
    cluster.network()
    await cluster.settle()
    await cluster.kube.patch(IPPOOLS, "net-192.168.0.0-24", {"spec": {"allocations": HELD * 2}})
    await cluster.kube.patch(IPPOOLS, "net-192.168.1.0-24", {"spec": {"allocations": HELD}})
    async with cluster.running():
        await cluster.kube.delete(NETWORKS, "net")
        await cluster.quiet()
        status = await cluster.status()
        assert status.message == (
            "deletion waits: 3 addresses are in use on 2 nodes: node-1 (2), node-2 (1); remove the pods that have this"
            " network"
        )
        found = {c.type: (c.status, c.reason) for c in status.conditions}
        assert found["Ready"] == ("False", "Deleting")
        assert found["Deleting"] == ("True", "AddressesInUse")
        assert where(cluster) == []
        assert len(cluster.pools()) == 4
        await cluster.kube.patch(IPPOOLS, "net-192.168.0.0-24", {"spec": {"allocations": []}})
        await cluster.quiet()
        assert "1 address is in use on 1 node: node-2 (1)" in (await cluster.status()).message
        writes = len(cluster.kube.writes)
        await cluster.quiet(60)
        assert len(cluster.kube.writes) == writes
        await cluster.kube.patch(IPPOOLS, "net-192.168.1.0-24", {"spec": {"allocations": []}})
        await cluster.quiet()
    assert (await cluster.kube.list(NETWORKS), await cluster.kube.list(CIDRS), cluster.pools()) == ([], [], {})
    told = [event for event in await cluster.kube.list(EVENTS) if event.reason == "AddressesInUse"]
    assert [event.message for event in told] == [status.message]


async def test_an_attachment_made_just_before_the_deletion_is_waited_for(cluster: Any, autojump_clock: Any) -> None:
    """The daemon's mirror may be a second behind, so the blocks do not go at first sight."""
    two_nodes(cluster)
    cluster.network()
    async with cluster.running():
        await cluster.kube.delete(NETWORKS, "net")
        await cluster.quiet(1.5)
        await cluster.kube.patch(IPPOOLS, "net-192.168.0.0-24", {"spec": {"allocations": HELD}})
        await cluster.quiet()
        assert "1 address is in use on 1 node: node-1 (1)" in (await cluster.status()).message
        assert len(cluster.pools()) == 4


async def test_a_deletion_that_waits_survives_the_operator(cluster: Any, autojump_clock: Any) -> None:
    """A new operator goes on waiting and tells no second Event."""
    two_nodes(cluster)
    cluster.network()
    await cluster.settle()
    await cluster.kube.patch(IPPOOLS, "net-192.168.0.0-24", {"spec": {"allocations": HELD}})
    await cluster.kube.delete(NETWORKS, "net")
    await cluster.settle()
    await cluster.kube.patch(IPPOOLS, "net-192.168.0.0-24", {"spec": {"allocations": HELD * 2}})
    await cluster.settle()
    assert "2 addresses are in use on 1 node: node-1 (2)" in (await cluster.status()).message
    assert [e.reason for e in await cluster.kube.list(EVENTS)].count("AddressesInUse") == 1
    await cluster.kube.patch(IPPOOLS, "net-192.168.0.0-24", {"spec": {"allocations": []}})
    await cluster.settle()
    assert await cluster.kube.list(NETWORKS) == []


async def test_a_deletion_does_not_wait_for_a_node_that_is_gone(cluster: Any, autojump_clock: Any) -> None:
    """What its pods held is free, as the node and the pods cannot come back with it."""
    two_nodes(cluster)
    cluster.network()
    await cluster.settle()
    await cluster.kube.patch(IPPOOLS, "net-192.168.0.0-24", {"spec": {"allocations": HELD}})
    async with cluster.running():
        await cluster.kube.delete(NETWORKS, "net")
        await cluster.quiet()
        assert "node-1 (1)" in (await cluster.status()).message
        await cluster.kube.delete(NODES, "node-1")
        await cluster.quiet()
    assert (await cluster.kube.list(NETWORKS), cluster.pools()) == ([], {})


async def test_a_plugin_edit_is_refused_while_addresses_are_in_use(cluster: Any, autojump_clock: Any) -> None:
    """A NIC cannot carry links of two kinds, so the other plugin waits for the last address."""
    cluster.registry.main_plugins.objects["macvlan"] = cluster.registry.main_plugins["ipvlan"]
    two_nodes(cluster)
    cluster.network()
    await cluster.settle()
    await cluster.kube.patch(IPPOOLS, "net-192.168.0.0-24", {"spec": {"allocations": HELD}})
    async with cluster.running():
        await cluster.edit(plugin={"type": "macvlan"})
        await cluster.quiet()
        status = await cluster.status()
        assert "spec.plugin.type: found 'macvlan', expected 'ipvlan', because 1 address is in use" in status.message
        await cluster.kube.patch(IPPOOLS, "net-192.168.0.0-24", {"spec": {"allocations": []}})
        await cluster.quiet()
    assert (await cluster.kube.get(CIDRS, "net")).spec.config.type == "macvlan"
    assert len(cluster.pools()) == 4


async def test_two_networks_on_the_same_nics_have_blocks_of_their_own(cluster: Any, autojump_clock: Any) -> None:
    """Each has its CIDR, pools and definition; neither hears of the other."""
    two_nodes(cluster)
    cluster.network()
    cluster.network("second", subnet="172.16.0.0/16")
    await cluster.settle()
    blocks = {pool.spec.pod_cidr for name in ("net", "second") for pool in cluster.pools(name).values()}
    assert len(blocks) == 8
    for name in ("net", "second"):
        configured = next(c for c in (await cluster.status(name)).conditions if c.type == "Configured")
        assert (configured.status, configured.message) == ("True", "")
    assert where(cluster, "second") == ["default"]


async def test_nic_networks_that_appear_later_join(cluster: Any, autojump_clock: Any) -> None:
    """Without masterNets a network takes what comes, and pods are offered it; with them it does not."""
    two_nodes(cluster)
    cluster.network()
    cluster.network("fixed", subnet="172.16.0.0/16", masterNets=["10.0.1.0/24", "10.0.2.0/24"])
    async with cluster.running():
        nics = {"eth1": "10.0.1.1/24", "eth2": "10.0.2.1/24", "eth3": "10.0.3.1/24"}
        await cluster.rewire("node-1", nics)
        await cluster.quiet()
    entries = (await cluster.kube.get(CIDRS, "net")).spec.cidr
    assert [(e.net_address, e.interface_index) for e in entries][2:] == [("10.0.3.0/24", 2)]
    definition = await cluster.kube.get(ATTACHMENT_DEFINITIONS, "net", "default")
    assert json.loads(definition.spec.config)["masterNets"] == ["10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"]
    assert len((await cluster.kube.get(CIDRS, "fixed")).spec.cidr) == 2


async def test_a_shrunk_list_of_namespaces_takes_only_our_definitions(cluster: Any, autojump_clock: Any) -> None:
    """A definition of the network's name with another owner stays where it is, labelled like ours or not."""
    two_nodes(cluster)
    cluster.namespace("blue", "green")
    cluster.network(namespaces=["default", "blue", "green"])
    async with cluster.running():
        owner = {"apiVersion": "example.com/v1", "kind": "Fabric", "name": "f", "uid": "u", "controller": True}
        await cluster.kube.delete(ATTACHMENT_DEFINITIONS, "net", "green")
        theirs = {"metadata": {"name": "net", "namespace": "green", "labels": {"multi-nic-cni-generated": "true"}}}
        theirs["metadata"]["ownerReferences"] = [owner]  # type: ignore[assignment]
        cluster.kube.seed(ATTACHMENT_DEFINITIONS, theirs | {"spec": {"config": "{}"}})
        await cluster.edit(namespaces=["default"])
        await cluster.quiet()
    assert where(cluster) == ["default", "green"]


async def test_the_system_namespace_is_there(cluster: Any, autojump_clock: Any) -> None:
    """The namespace of the Leases is made, and made again."""
    async with cluster.running():
        assert (await cluster.kube.get(NAMESPACES, "multi-nic-cni-operator")).name == "multi-nic-cni-operator"
        await cluster.kube.delete(NAMESPACES, "multi-nic-cni-operator")
        await cluster.quiet()
    assert (await cluster.kube.get(NAMESPACES, "multi-nic-cni-operator")).name == "multi-nic-cni-operator"


async def test_a_plugin_that_raises_stops_only_its_own_network(cluster: Any, autojump_clock: Any) -> None:
    """The network says which plugin raised what; the next one is served."""
    two_nodes(cluster)
    cluster.network("bad", plugin={"cniVersion": "0.3.0", "type": "ipvlan", "args": {"explode": "1"}})
    cluster.network("good", subnet="172.16.0.0/16")
    await cluster.settle()
    assert "'ipvlan' of an unknown distribution raised RuntimeError: boom" in (await cluster.status("bad")).message
    assert len(cluster.pools("good")) == 4


async def test_a_cidr_that_cannot_be_read_is_not_overwritten(cluster: Any, autojump_clock: Any) -> None:
    """An unreadable CIDR may hold indexes in use, so the network waits for a person."""
    two_nodes(cluster)
    cluster.kube.seed_invalid(CIDRS, {"metadata": {"name": "net"}, "spec": {"cidr": "?"}})
    cluster.network()
    await cluster.settle()
    assert "CIDR 'net': cannot be read" in (await cluster.status()).message
    assert cluster.kube.raw(CIDRS, "net")["spec"] == {"cidr": "?"}


async def test_a_stale_store_does_not_undo_what_was_written(cluster: Any, autojump_clock: Any) -> None:
    """Blocks are computed from the object read, so a lagging watch cannot give an index twice."""
    cluster.node("b", {"eth1": "10.0.1.2/24"})
    cluster.network()
    await cluster.settle()
    operator = cluster.operator()
    cidr = await cluster.kube.get(CIDRS, "net")
    grown = cidr.spec.to_json()
    row = grown["cidr"][0]["hosts"][0]
    pod_block = "192.168.7.0/24"
    grown["cidr"][0]["hosts"].append(
        row
        | {"hostIndex": 7, "hostName": "c", "podCIDR": pod_block, "ippool": "net-192.168.7.0-24", "hostIP": "10.0.1.3"}
    )
    cluster.node("c", {"eth1": "10.0.1.3/24"})
    with cluster.kube.stale():
        await cluster.kube.patch(CIDRS, "net", {"spec": grown})
        await operator.networks.reconcile("net")
        rows = (await cluster.kube.get(CIDRS, "net")).spec.cidr[0].hosts
    assert {r.host_name: r.host_index for r in rows} == {"b": 0, "c": 7}


async def test_api_errors_are_retried_until_all_is_there(cluster: Any, autojump_clock: Any) -> None:
    """A handler that fails is tried again, and ends nothing."""
    two_nodes(cluster)
    cluster.network()
    cluster.kube.fail(ApiError("busy", status=503), verb="create", resource=IPPOOLS, times=7)
    cluster.kube.fail(ApiError("broken", status=500), verb="create", resource=CIDRS, times=2)
    await cluster.settle()
    assert len(cluster.pools()) == 4


async def test_finalizers_of_others_survive_a_stale_store(cluster: Any, autojump_clock: Any) -> None:
    """Ours is added only to the object as it was read, so nobody else's is lost."""
    two_nodes(cluster)
    cluster.network()
    operator = cluster.operator()
    with cluster.kube.stale():
        await cluster.kube.patch(NETWORKS, "net", {"metadata": {"finalizers": ["example.com/theirs"]}})
        with pytest.raises(ApiError) as caught:
            await operator.networks.reconcile("net")
    assert caught.value.status == 409
    await operator.networks.reconcile("net")
    network = await cluster.kube.get(NETWORKS, "net")
    assert network.metadata.finalizers == ["example.com/theirs", "finalizers.multinicnetwork.multinic.fms.io"]


async def test_a_network_set_aside_finds_its_blocks_again(cluster: Any, autojump_clock: Any) -> None:
    """Switched to no IPAM and back, as a migration does, it keeps CIDR and pools untouched."""
    two_nodes(cluster)
    cluster.network()
    await cluster.settle()
    before = {r: await cluster.kube.list(r) for r in (CIDRS, IPPOOLS)}
    async with cluster.running():
        await cluster.edit(ipam="", multiNICIPAM=False, plugin={"args": {"mode": "l2"}})
        await cluster.quiet()
        assert (await cluster.status()).route_status == "N/A"
        ipam = {"type": "multi-nic-ipam", "hostBlock": 6, "interfaceBlock": 2, "vlanMode": "l3"}
        await cluster.edit(ipam=ipam, multiNICIPAM=True, plugin={"args": {"mode": "l3"}})
        await cluster.quiet()
    assert {r: await cluster.kube.list(r) for r in before} == before
