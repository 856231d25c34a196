"""What networks of whole devices want in the cluster: arguments, and the names of the NVIDIA operator's pools."""

from __future__ import annotations

import json
from typing import Any

import pytest
from multinic_plugin_host_device import HostDevice, Mellanox
from multinic_plugin_host_device.args import host_device_block
from multinic_plugin_host_device.cluster import NIC_CLUSTER_POLICIES

from multinic_core import ConfigError, NetworkConfig
from multinic_core.clusterfacts import ClusterFacts
from multinic_core.testing import example_network

ANNOTATION = "k8s.v1.cni.cncf.io/resourceName"
IPAM = {"type": "multi-nic-ipam", "interfaceBlock": 2, "hostBlock": 6, "vlanMode": "l3"}


def policy(config: Any, name: str = "nic-cluster-policy") -> Any:
    """A NicClusterPolicy with this device plugin configuration; other than texts are made JSON texts."""
    text = config if isinstance(config, str) else json.dumps(config)
    plugin = {"image": "sriov-network-device-plugin", "config": text}
    return NIC_CLUSTER_POLICIES.model.model_validate(
        {"metadata": {"name": name}, "spec": {"ofedDriver": {"image": "x"}, "sriovDevicePlugin": plugin}}
    )


def pools(*items: Any) -> Any:
    return policy({"resourceList": list(items)})


def mellanox(*policies: Any, args: dict[str, str] | None = None) -> NetworkConfig:
    facts = ClusterFacts({NIC_CLUSTER_POLICIES.crd_name: policies})
    return Mellanox().network_config(example_network("mellanox", args), [], facts)


def test_pools_are_joined_in_the_policys_order():
    """Each pool by prefix and name, nvidia.com where there is no prefix, which the original left out."""
    made = mellanox(
        pools(
            {"resourcePrefix": "nvidia.com", "resourceName": "hostdev", "selectors": {"vendors": ["15b3"]}},
            {"resourceName": "rails", "selectors": {}},
            {"resourcePrefix": "example.org", "resourceName": "slow_1"},
            {"resourceName": "hostdev"},
        )
    )
    assert made.annotations == {ANNOTATION: "nvidia.com/hostdev,nvidia.com/rails,example.org/slow_1"}
    assert made.plugin == {"type": "host-device", "name": "example", "ipam": IPAM}
    assert made.waits == ()


def test_the_first_policy_counts():
    """Of several policies the first by name is read."""
    made = mellanox(policy({"resourceList": [{"resourceName": "a"}]}, "a"), policy("{broken", "b"))
    assert made.annotations == {ANNOTATION: "nvidia.com/a"}


WHERE = "NicClusterPolicy 'nic-cluster-policy' spec.sriovDevicePlugin.config"
BAD_POLICIES = [
    (policy("{broken"), f"{WHERE}: not JSON at line 1 column 2"),
    (policy("[]"), f"{WHERE}: found [], expected an object with resourceList"),
    (policy('"text"'), f"{WHERE}: found 'text', expected an object"),
    (policy({"resourceList": {}}), f"{WHERE}.resourceList: found {{}}, expected a list of pools"),
    (policy({"resourceList": "hostdev"}), f"{WHERE}.resourceList: found 'hostdev', expected a list"),
    (pools("hostdev"), f"{WHERE}.resourceList[0]: found 'hostdev', expected an object with resourceName"),
    (pools({"resourceName": "a"}, None), f"{WHERE}.resourceList[1]: found None, expected an object"),
    (pools({"resourcePrefix": "nvidia.com"}), f"{WHERE}.resourceList[0].resourceName: found None, expected a name"),
    (pools({"resourceName": "a"}, {"resourceName": ""}), f"{WHERE}.resourceList[1].resourceName: found ''"),
    (pools({"resourceName": 7}), f"{WHERE}.resourceList[0].resourceName: found 7, expected a name"),
    (pools({"resourceName": "nvidia.com/a"}), f"{WHERE}.resourceList[0].resourceName: found 'nvidia.com/a'"),
    (pools({"resourceName": "a" * 64}), f"{WHERE}.resourceList[0].resourceName: found 'aaa"),
    (pools({"resourceName": "a", "resourcePrefix": 5}), f"{WHERE}.resourceList[0].resourcePrefix: found 5, expected"),
    (pools({"resourceName": "a", "resourcePrefix": "No Domain"}), f"{WHERE}.resourceList[0].resourcePrefix: found 'No"),
]


@pytest.mark.parametrize(("bad", "words"), BAD_POLICIES, ids=[str(i) for i in range(len(BAD_POLICIES))])
def test_a_policy_that_cannot_be_read_is_refused_with_the_place(bad, words):
    """The refusal names the policy, the field and the position in the list; nothing crashes."""
    with pytest.raises(ConfigError) as refused:
        mellanox(bad)
    assert str(refused.value).startswith(words)


def test_all_bad_pools_are_told_at_once():
    """Each position has its own sentence."""
    with pytest.raises(ConfigError) as refused:
        mellanox(pools({}, {"resourceName": "good"}, {"resourceName": ""}))
    assert [problem.partition("resourceList")[2][:3] for problem in refused.value.problems] == ["[0]", "[2]"]


@pytest.mark.parametrize(
    "empty", [policy(""), policy({}), pools(), NIC_CLUSTER_POLICIES.model.model_validate({"metadata": {"name": "x"}})]
)
def test_a_policy_without_pools_is_waited_for(empty):
    """Nothing usable is told in the original's words, with what would do; the definition is not made meanwhile."""
    made = mellanox(empty)
    assert made.annotations == {}
    (wait,) = made.waits
    assert wait.startswith("failed to get resource annotation from sriov plugin config")
    assert "expected at least one with resourceName" in wait


def test_missing_policy_and_missing_kind_are_told_apart():
    """No object of the kind and no such kind are two sentences with two ways out; unknown facts are none."""
    (wait,) = mellanox().waits
    assert wait.startswith("there is no NicClusterPolicy; make one")
    absent = ClusterFacts(absent=frozenset([NIC_CLUSTER_POLICIES.crd_name]))
    network = example_network("mellanox", {})
    (wait,) = Mellanox().network_config(network, [], absent).waits
    assert "install the NVIDIA network operator" in wait
    assert Mellanox().network_config(network, []).waits == ()


BAD_ARGS = [
    ("mellanox", {"resourceName": "a/b"}, "spec.plugin.args.resourceName: unknown argument"),
    ("mellanox", {"mtu": "1500"}, "spec.plugin.args.mtu: unknown argument, expected one of []"),
    ("host-device", {"resourceName": "hostdev"}, "spec.plugin.args.resourceName: found 'hostdev'"),
    ("host-device", {"resourceName": "nvidia.com/"}, "spec.plugin.args.resourceName: found 'nvidia.com/'"),
    ("host-device", {"resourceName": "nvidia.com/a b"}, "spec.plugin.args.resourceName: found 'nvidia.com/a b'"),
    ("host-device", {"device": "a-name-too-long-for-linux"}, "spec.plugin.args.device: found 'a-name-too-long"),
    ("host-device", {"device": "../eth1"}, "spec.plugin.args.device: found '../eth1'"),
    ("host-device", {"device": ""}, "spec.plugin.args.device: found ''"),
    ("host-device", {"hwaddr": "02:00:00:00:00"}, "spec.plugin.args.hwaddr: found '02:00:00:00:00'"),
    ("host-device", {"kernelpath": "/dev/net"}, "spec.plugin.args.kernelpath: found '/dev/net'"),
    ("host-device", {"pciBusID": "3b:00.0"}, "spec.plugin.args.pciBusID: found '3b:00.0'"),
    ("host-device", {"deviceID": "eth1"}, "spec.plugin.args.pciBusID: found 'eth1'"),
    (
        "host-device",
        {"deviceID": "0000:3b:00.0", "pciBusID": "0000:3b:00.1"},
        "spec.plugin.args.deviceID: found '0000:3b:00.0' beside pciBusID '0000:3b:00.1', expected one of the two",
    ),
    (
        "host-device",
        {"device": "eth1", "pciBusID": "0000:3b:00.0"},
        "spec.plugin.args.pciBusID: found beside device, expected at most one of",
    ),
    ("host-device", {"mtu": "big"}, "spec.plugin.args.mtu: found 'big'"),
    ("host-device", {"vlan": "5"}, "spec.plugin.args.vlan: unknown argument, expected one of ['device'"),
]


@pytest.mark.parametrize(("plugin", "args", "words"), BAD_ARGS, ids=[str(i) for i in range(len(BAD_ARGS))])
def test_bad_arguments_are_refused_by_name(plugin, args, words):
    """Each refusal names the field, the value and what would do."""
    made = {"mellanox": Mellanox(), "host-device": HostDevice()}[plugin]
    with pytest.raises(ConfigError) as refused:
        made.network_config(example_network(plugin, args), [])
    assert str(refused.value).startswith(words)


def test_a_device_by_its_address_reaches_the_node():
    """Both spellings of the address are one key in the netconf, and the resource is an annotation."""
    args = {"deviceID": "0000:3b:00.0", "resourceName": "nvidia.com/hostdev", "mtu": "9000"}
    made = HostDevice().network_config(example_network("host-device", args), [])
    assert made.plugin == {"pciBusID": "0000:3b:00.0", "mtu": 9000, "name": "example", "ipam": IPAM}
    assert made.annotations == {ANNOTATION: "nvidia.com/hostdev"}
    read = host_device_block({**made.plugin, "cniVersion": "0.3.0", "type": "host-device"})
    assert (read.pci_bus_id, read.mtu) == ("0000:3b:00.0", 9000)


def test_bad_ipam_is_told_once():
    """A block that cannot be parsed is the network's fault and not repeated by the plugin."""
    network = example_network("mellanox", {}, ipam="{")
    assert Mellanox().network_config(network, []).plugin["ipam"] == {}
