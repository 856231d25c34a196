"""What an SR-IOV network wants in the cluster: arguments, names, policies for like and unlike nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multinic_plugin_sriov import Sriov
from multinic_plugin_sriov.args import sriov_block
from multinic_plugin_sriov.kinds import NETWORKS, NODE_STATES, POLICIES
from multinic_plugin_sriov.layouts import NodeLayout, root_devices
from multinic_plugin_sriov.record import SELECTED_FOR, record, recorded

from multinic_core import ConfigError, NetworkConfig
from multinic_core.clusterfacts import ClusterFacts
from multinic_core.model import HostInterface
from multinic_core.testing import example_network

NAMESPACE = "openshift-sriov-network-operator"


def host(name: str, *ifnames: str, pci: Mapping[str, str] | None = None) -> HostInterface:
    """A node with these NICs, of which the first is in 10.0.1.0/24, the second in 10.0.2.0/24 and so on."""
    interfaces = [
        {"interfaceName": ifname, "netAddress": f"10.0.{number}.0/24", "pciAddress": (pci or {}).get(ifname)}
        for number, ifname in enumerate(ifnames, 1)
    ]
    return HostInterface.model_validate(
        {"metadata": {"name": name}, "spec": {"hostName": name, "interfaces": interfaces}}
    )


def state(name: str, nics: Mapping[str, str], namespace: str = NAMESPACE) -> Any:
    """What the SR-IOV operator shows of a node; ``nics`` is ifname to PCI address."""
    shown = [{"name": ifname, "pciAddress": address, "totalvfs": 8} for ifname, address in nics.items()]
    return NODE_STATES.model.model_validate(
        {"metadata": {"name": name, "namespace": namespace}, "status": {"interfaces": shown, "syncStatus": "Succeeded"}}
    )


def policy(name: str, labels: Mapping[str, str] | None = None, **spec: Any) -> Any:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    return POLICIES.model.model_validate({"metadata": metadata, "spec": spec})


def facts(*states: Any, policies: tuple[Any, ...] = (), labels: Mapping[str, Mapping[str, str]] | None = None) -> Any:
    return ClusterFacts({NODE_STATES.crd_name: states, POLICIES.crd_name: policies}, nodes=labels or {})


def config(args: Mapping[str, str], nodes: Any = (), known: ClusterFacts | None = None, **spec: Any) -> NetworkConfig:
    network = example_network("sriov", args, **spec)
    return Sriov().network_config(network, nodes, *([known] if known is not None else []))


def selected(made: NetworkConfig) -> dict[str, Any]:
    """Selected PCI addresses by the value of the node selector."""
    return {
        next(iter(d["spec"]["nodeSelector"].values())): d["spec"]["nicSelector"]["rootDevices"]
        for d in made.dependents
        if d["kind"] == "SriovNetworkNodePolicy"
    }


ALL = {
    "vlan": "100",
    "vlanQoS": "3",
    "spoofchk": "off",
    "trust": "on",
    "min_tx_rate": "100",
    "max_tx_rate": "1000",
    "linkState": "enable",
    "mtu": "9000",
    "priority": "10",
    "numVfs": "4",
    "isRdma": "true",
    "needVhostNet": "false",
}


def test_arguments_reach_the_node_with_the_originals_keys():
    """The plugin block carries what the VF needs, with JSON types, and nothing that only shapes policies."""
    assert config(ALL).plugin == {
        "vlan": 100,
        "vlanQoS": 3,
        "spoofchk": "off",
        "trust": "on",
        "min_tx_rate": 100,
        "max_tx_rate": 1000,
        "link_state": "enable",
        "mtu": 9000,
        "isRdma": True,
    }


@pytest.mark.parametrize("read", [lambda args: config(args).plugin, lambda args: sriov_block(args).model_dump()])
def test_both_spellings_mean_the_same(read):
    """minTxRate is min_tx_rate, maxTxRate is max_tx_rate, linkState is link_state, in manifests and in netconfs."""
    one = {"minTxRate": "5", "maxTxRate": "50", "linkState": "disable"}
    other = {"min_tx_rate": "5", "max_tx_rate": "50", "link_state": "disable"}
    assert read(one) == read(other) == read(one | other)
    assert read(one) != read({})


BAD = [
    ({"vlan": "4095"}, ["spec.plugin.args.vlan: found '4095'", "4094"]),
    ({"vlan": "-1"}, ["spec.plugin.args.vlan: found '-1'", "greater than or equal to 0"]),
    ({"vlan": "office"}, ["spec.plugin.args.vlan: found 'office'", "valid integer"]),
    ({"vlan": "5", "vlanQoS": "8"}, ["spec.plugin.args.vlanQoS: found '8'", "7"]),
    ({"vlanQoS": "3"}, ["spec.plugin.args.vlanQoS: found 3 without a VLAN", "vlan from 1 to 4094"]),
    ({"vlan": "0", "vlanQoS": "3"}, ["spec.plugin.args.vlanQoS: found 3 without a VLAN"]),
    ({"spoofchk": "maybe"}, ["spec.plugin.args.spoofchk: found 'maybe'", "'on' or 'off'"]),
    ({"trust": "true"}, ["spec.plugin.args.trust: found 'true'", "'on' or 'off'"]),
    ({"linkState": "up"}, ["spec.plugin.args.link_state: found 'up'", "'auto', 'enable' or 'disable'"]),
    ({"minTxRate": "fast"}, ["spec.plugin.args.min_tx_rate: found 'fast'", "valid integer"]),
    ({"max_tx_rate": "-5"}, ["spec.plugin.args.max_tx_rate: found '-5'", "greater than or equal to 0"]),
    (
        {"minTxRate": "100", "maxTxRate": "10"},
        ["spec.plugin.args.min_tx_rate: found 100", "at most 10, the max_tx_rate"],
    ),
    (
        {"minTxRate": "100", "min_tx_rate": "10"},
        ["spec.plugin.args.minTxRate: found '100' beside min_tx_rate '10'", "one of the two"],
    ),
    ({"mtu": "65536"}, ["spec.plugin.args.mtu: found '65536'", "65535"]),
    ({"numVfs": "0"}, ["spec.plugin.args.numVfs: found '0'", "greater than or equal to 1"]),
    ({"priority": "100"}, ["spec.plugin.args.priority: found '100'", "99"]),
    ({"isRdma": "yes please"}, ["spec.plugin.args.isRdma: found 'yes please'", "boolean"]),
    ({"needVhostNet": "2"}, ["spec.plugin.args.needVhostNet: found '2'", "boolean"]),
    ({"manageVfs": "sometimes"}, ["spec.plugin.args.manageVfs: found 'sometimes'", "boolean"]),
    (
        {"resourceName": "openshift.io/fast"},
        ["spec.plugin.args.resourceName: found 'openshift.io/fast': expected at most 63", "without prefix"],
    ),
    ({"resourceName": "f" * 64}, ["spec.plugin.args.resourceName: found", "63"]),
    (
        {"manageVfs": "true", "resourceName": "fast"},
        ["spec.plugin.args.resourceName: found 'fast' beside manageVfs", "expected no resourceName"],
    ),
    ({"manageVfs": "true", "priority": "5"}, ["spec.plugin.args.priority: found '5' beside manageVfs"]),
    ({"bandwidth": "5"}, ["spec.plugin.args.bandwidth: unknown argument", "'max_tx_rate'"]),
]


@pytest.mark.parametrize(("args", "words"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_arguments_are_refused_by_name(args, words):
    """Each refusal names the field, the value and what would do."""
    with pytest.raises(ConfigError) as refused:
        config(args)
    assert [word for word in words if word not in str(refused.value)] == []


def test_several_bad_arguments_are_told_at_once():
    """A person corrects the text once."""
    with pytest.raises(ConfigError) as refused:
        config({"vlan": "x", "trust": "x", "speed": "1"})
    assert [problem.split(":")[0] for problem in refused.value.problems] == [
        "spec.plugin.args.vlan",
        "spec.plugin.args.trust",
        "spec.plugin.args.speed",
    ]


def test_uniform_nodes_have_one_policy():
    """Where all nodes have the NICs in the same slots, one policy like the original's selects them."""
    nics = {"ens1": "0000:3b:00.0", "ens2": "0000:5e:00.0"}
    nodes = [host("node-1", "ens1", "ens2"), host("node-2", "ens1", "ens2")]
    made = config(ALL, nodes, facts(state("node-1", nics), state("node-2", nics)))
    policy, holder = made.dependents
    assert made.annotations == {"k8s.v1.cni.cncf.io/resourceName": "openshift.io/example"}
    assert [*policy["metadata"].pop("annotations")] == [SELECTED_FOR]
    assert policy == {
        "apiVersion": "sriovnetwork.openshift.io/v1",
        "kind": "SriovNetworkNodePolicy",
        "metadata": {"name": "example", "namespace": NAMESPACE},
        "spec": {
            "resourceName": "example",
            "nodeSelector": {"feature.node.kubernetes.io/network-sriov.capable": "true"},
            "priority": 10,
            "mtu": 9000,
            "numVfs": 4,
            "nicSelector": {"rootDevices": ["0000:3b:00.0", "0000:5e:00.0"]},
            "isRdma": True,
            "needVhostNet": False,
        },
    }
    assert holder == {
        "apiVersion": "sriovnetwork.openshift.io/v1",
        "kind": "SriovNetwork",
        "metadata": {"name": "example-net", "namespace": NAMESPACE},
        "spec": {
            "resourceName": "example",
            "vlan": 100,
            "vlanQoS": 3,
            "spoofChk": "off",
            "trust": "on",
            "linkState": "enable",
            "minTxRate": 100,
            "maxTxRate": 1000,
        },
    }


def test_slots_that_are_empty_elsewhere_share_one_policy():
    """Nodes with the same NICs in other slots are all selected, by the union, which the original left half of."""
    nodes = [host("node-1", "ens1"), host("node-2", "ens9")]
    known = facts(state("node-1", {"ens1": "0000:3b:00.0"}), state("node-2", {"ens9": "0000:af:00.0"}))
    made = config({}, nodes, known)
    assert selected(made) == {"true": ["0000:3b:00.0", "0000:af:00.0"]}
    assert made.dependents[0]["spec"]["numVfs"] == 1


def test_a_slot_that_is_another_nic_elsewhere_is_selected_by_node():
    """Where an address of one node's NIC is a foreign NIC of another node, it is selected on that node alone."""
    nodes = [host("node-1", "ens1", "ens2"), host("node-2", "ens9"), host("node-3", "ens1", "ens2")]
    known = facts(
        state("node-1", {"ens1": "0000:3b:00.0", "ens2": "0000:5e:00.0"}),
        state("node-2", {"ens9": "0000:af:00.0", "storage": "0000:3b:00.0"}),
        state("node-3", {"ens1": "0000:3b:00.0", "ens2": "0000:5e:00.0"}),
        labels={"node-3": {"kubernetes.io/hostname": "three"}},
    )
    made = config({}, nodes, known)
    assert selected(made) == {
        "true": ["0000:5e:00.0", "0000:af:00.0"],
        "node-1": ["0000:3b:00.0"],
        "three": ["0000:3b:00.0"],
    }
    names = [d["metadata"]["name"] for d in made.dependents]
    assert len(set(names)) == len(names) == 4
    assert all(name.startswith("example") for name in names)


ADDRESSES = st.frozensets(st.sampled_from([f"0000:{slot:02x}:00.0" for slot in range(6)]))


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.tuples(ADDRESSES, ADDRESSES)))
def test_every_wanted_nic_is_selected_and_no_other(drawn):
    """Law: on each node the policies together select just the network's NICs, whatever the layouts."""
    layouts = {node: NodeLayout(wanted, wanted | others) for node, (wanted, others) in drawn.items()}
    made = root_devices(layouts)
    for node, layout in layouts.items():
        chosen = {*made.everywhere, *made.on_node.get(node, ())}
        assert chosen & layout.present == layout.wanted


def test_only_nics_of_the_networks_own_nets_are_selected():
    """With masterNets, NICs in other networks are foreign."""
    nics = {"ens1": "0000:3b:00.0", "ens2": "0000:5e:00.0"}
    made = config({}, [host("node-1", "ens1", "ens2")], facts(state("node-1", nics)), master_nets=["10.0.2.0/24"])
    assert selected(made) == {"true": ["0000:5e:00.0"]}


def test_a_net_is_the_same_in_any_spelling():
    """An IPv6 network in capitals or with zeros is the NIC's, as the daemon writes it."""
    nic = {"interfaceName": "ens1", "netAddress": "fd00:0:0:a::/64"}
    spec = {"hostName": "node-1", "interfaces": [nic]}
    node = HostInterface.model_validate({"metadata": {"name": "node-1"}, "spec": spec})
    known = facts(state("node-1", {"ens1": "0000:3b:00.0"}))
    assert selected(config({}, [node], known, master_nets=["FD00:0:0:A::/64"])) == {"true": ["0000:3b:00.0"]}


def test_a_named_resource_needs_no_policy():
    """With args.resourceName the VFs are somebody else's; the SriovNetwork says that they are used."""
    made = config({"resourceName": "fast_vfs"}, [host("node-1", "ens1")], facts(state("node-1", {})))
    assert [d["kind"] for d in made.dependents] == ["SriovNetwork"]
    assert made.dependents[0]["spec"] == {"resourceName": "fast_vfs"}
    assert made.annotations == {"k8s.v1.cni.cncf.io/resourceName": "openshift.io/fast_vfs"}


def test_managed_vfs_need_no_sriov_operator():
    """With manageVfs nothing of the SR-IOV operator is made, named or waited for."""
    made = config({"manageVfs": "true", "numVfs": "4"}, (), ClusterFacts(absent=frozenset([NODE_STATES.crd_name])))
    assert made == NetworkConfig({"manageVfs": True, "numVfs": 4})


def test_a_cluster_without_the_sriov_operator_is_told():
    """The kinds that are missing are named together with both ways out."""
    (wait,) = config({}, (), ClusterFacts(absent=frozenset([NODE_STATES.crd_name]))).waits
    assert "SriovNetworkNodeState" in wait
    assert "install the SR-IOV operator" in wait
    assert "manageVfs" in wait


def test_nodes_without_capable_nics_are_named():
    """A node without a NIC that can have VFs is noted; when there is no other the network waits."""
    nodes = [host("node-1", "ens1"), host("node-2", "eth0", "eth1")]
    known = facts(state("node-1", {"ens1": "0000:3b:00.0"}), state("node-2", {"ens7": "0000:3b:00.0"}))
    made = config({}, nodes, known)
    assert made.notes == ("no NIC that can have VFs on node-2 (eth0, eth1)",)
    assert selected(made) == {"node-1": ["0000:3b:00.0"]}
    (wait,) = config({}, nodes[1:], known).waits
    assert "node-2 (eth0, eth1)" in wait


def test_a_state_that_shows_nothing_deselects_nothing():
    """While the SR-IOV operator starts on a node again, what is selected there stays selected."""
    ours = {"multi-nic-cni-generated": "true"}
    nodes = [host("node-1", "ens1", pci={"ens1": "0000:3b:00.0"}), host("node-2", "ens9")]
    existing = policy("example", ours, resourceName="example", nicSelector={"rootDevices": ["0000:3b:00.0"]})
    known = facts(state("node-1", {}), state("node-2", {"ens9": "0000:af:00.0"}), policies=(existing,))
    assert selected(config({}, nodes, known)) == {"true": ["0000:3b:00.0", "0000:af:00.0"]}
    known = facts(state("node-1", {}), state("node-2", {"ens9": "0000:af:00.0"}))
    assert selected(config({}, nodes, known)) == {"true": ["0000:af:00.0"]}


TWO = {"ens1": "0000:3b:00.0", "ens2": "0000:5e:00.0"}


def written(made: NetworkConfig) -> tuple[Any, ...]:
    """The policies as the API server has them after they were written."""
    label = {"multi-nic-cni-generated": "true"}
    owner = {"apiVersion": "v1", "kind": "MultiNicNetwork", "name": "example", "uid": "u", "controller": True}
    return tuple(
        POLICIES.model.model_validate(d | {"metadata": d["metadata"] | {"labels": label, "ownerReferences": [owner]}})
        for d in made.dependents
        if d["kind"] == POLICIES.kind
    )


@pytest.mark.parametrize("spec", [{}, {"master_nets": ["10.0.1.0/24", "10.0.2.0/24"]}])
def test_a_nic_that_is_down_for_a_moment_stays_selected(spec: Any):
    """HostInterface shows it no more, but it is in its slot, and pods have its VFs; so again the next time."""
    states = (state("node-1", TWO), state("node-2", TWO))
    both = [host("node-1", "ens1", "ens2"), host("node-2", "ens1", "ens2")]
    made = config({}, both, facts(*states), **spec)
    for _ in range(2):
        kept = config({}, [host("node-1", "ens1"), both[1]], facts(*states, policies=written(made)), **spec)
        assert kept.dependents == made.dependents
        made = kept
    silent = (state("node-1", {}), states[1])
    assert config({}, [host("node-1"), both[1]], facts(*silent, policies=written(made)), **spec) == made


def test_a_nic_that_is_down_stays_selected_by_its_own_nodes_policy():
    """Also where the same slot is somebody else's NIC on another node, which is down or without addresses as ever."""
    nodes = [host("node-1", "ens1"), host("node-2", "ens9")]
    states = (state("node-1", TWO), state("node-2", {"ens9": "0000:af:00.0", "storage": "0000:3b:00.0"}))
    made = config({}, nodes, facts(*states))
    assert selected(made) == {"true": ["0000:af:00.0"], "node-1": ["0000:3b:00.0"]}
    kept = config({}, [host("node-1"), nodes[1]], facts(*states, policies=written(made)))
    assert kept.dependents == made.dependents


def test_what_was_selected_for_others_is_not_kept_on_a_node_that_comes():
    """A policy for all nodes reached the new node's NIC in that slot by mistake only."""
    nodes = [host("node-1", "ens1"), host("node-2", "ens9")]
    made = config({}, nodes[:1], facts(state("node-1", TWO)))
    assert selected(made) == {"true": ["0000:3b:00.0"]}
    states = (state("node-1", TWO), state("node-2", {"ens9": "0000:af:00.0", "storage": "0000:3b:00.0"}))
    after = config({}, nodes, facts(*states, policies=written(made)))
    assert selected(after) == {"true": ["0000:af:00.0"], "node-1": ["0000:3b:00.0"]}


def test_a_nic_in_another_network_or_out_of_its_slot_is_selected_no_more():
    """HostInterface shows it elsewhere, or the node's state does not show it at all."""
    made = config({}, [host("node-1", "ens1", "ens2")], facts(state("node-1", TWO)))
    moved = config(
        {},
        [host("node-1", "ens1", "ens2")],
        facts(state("node-1", TWO), policies=written(made)),
        master_nets=["10.0.1.0/24"],
    )
    gone = config({}, [host("node-1", "ens1")], facts(state("node-1", {"ens1": TWO["ens1"]}), policies=written(made)))
    assert selected(moved) == selected(gone) == {"true": ["0000:3b:00.0"]}


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), ADDRESSES))
def test_a_record_gives_back_what_was_written(wanted):
    """Law: node by node, whatever the groups; nodes without are left out."""
    found = recorded([record({node: addresses}) for node, addresses in wanted.items()])
    assert found == recorded([record(wanted)])
    assert sorted(map(sorted, found.values())) == sorted(
        sorted(addresses) for addresses in wanted.values() if addresses
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '{"0000:3b:00.0": 1}', '{"0000:3b:00.0": [[]]}'])
def test_a_spoiled_record_says_nothing(text):
    """Somebody else wrote into it."""
    assert recorded([text]) == {}


def test_a_resource_of_others_is_not_joined_by_accident():
    """Another policy that gives the same name to its VFs is named, as pods would get VFs of other NICs."""
    known = facts(state("node-1", {"ens1": "0000:3b:00.0"}), policies=(policy("theirs", resourceName="example"),))
    with pytest.raises(ConfigError, match=f"'example'.* SriovNetworkNodePolicy {NAMESPACE}/theirs gives that name"):
        config({}, [host("node-1", "ens1")], known)


def test_objects_live_where_the_sriov_operator_does():
    """The namespace of the node states is where policies are read."""
    known = facts(state("node-1", {"ens1": "0000:3b:00.0"}, "sriov-network-operator"))
    made = config({}, [host("node-1", "ens1")], known)
    assert {d["metadata"]["namespace"] for d in made.dependents} == {"sriov-network-operator"}


def test_the_resource_of_a_network_has_no_dots_and_hyphens():
    """The name that a device plugin accepts is made from the network's."""
    network = example_network("sriov", {})
    network = network.model_copy(update={"metadata": network.metadata.model_copy(update={"name": "multi-nic.sriov-1"})})
    made = Sriov().network_config(network, [host("n", "ens1")], facts(state("n", {"ens1": "0000:3b:00.0"})))
    assert made.annotations == {"k8s.v1.cni.cncf.io/resourceName": "openshift.io/multinicsriov1"}
    assert {(d["kind"], d["metadata"]["name"]) for d in made.dependents} == {
        (POLICIES.kind, "multi-nic.sriov-1"),
        (NETWORKS.kind, "multi-nic.sriov-1-net"),
    }
