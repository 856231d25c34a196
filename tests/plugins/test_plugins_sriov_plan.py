"""sriov on the node: which VF a link gets, with which settings, and what is refused."""

from dataclasses import replace
from typing import Any

import pytest
from multinic_plugin_sriov import Sriov

from multinic_core import ConfigError, NodeView
from multinic_core.devices import ConfigureVf, TakeDevice, VfSettings
from multinic_core.errors import MultinicError, SelectionError
from multinic_core.testing import example_node, example_request

SRIOV = Sriov()


def node(count: int = 1, *, held: frozenset[str] = frozenset(), **vf: Any) -> NodeView:
    """A node whose VFs are changed so."""
    made = example_node(count)
    nics = {name: replace(nic, vfs=tuple(replace(each, **vf) for each in nic.vfs)) for name, nic in made.nics.items()}
    return replace(made, nics=nics, devices_held=held)


def asked(block: dict[str, Any], *, links: int = 1, **link: Any) -> Any:
    request = example_request(block, tuple(f"eth{number + 1}" for number in range(links)))
    return replace(request, links=tuple(replace(each, **link) for each in request.links))


def test_the_lowest_free_vf_goes_into_the_pod():
    """One VF of each chosen NIC, with everything that giving it back needs."""
    plan = SRIOV.plan(asked({}, links=2), example_node(2))
    assert [(step.ifname, step.parent, step.device) for step in plan.devices] == [
        ("net1-0", "eth1", "eth1v0"),
        ("net1-1", "eth2", "eth2v0"),
    ]
    first = plan.devices[0]
    assert first == TakeDevice(
        "net1-0",
        "eth1",
        "eth1v0",
        "0000:01:10.0",
        mtu_before=1500,
        mac_address_before="02:00:00:01:01:00",
        rdma_devices=("mlx5_10",),
        driver_before="mlx5_core",
    )
    assert plan.vfs == ()
    assert {step.name for step in plan.sysctls} == {"rp_filter", "arp_announce", "arp_ignore"}


def test_vfs_in_use_are_passed_over():
    """What an attachment or the kubelet holds is not given again."""
    plan = SRIOV.plan(asked({}), node(held=frozenset({"0000:01:10.0"})))
    assert plan.devices[0].pci_address == "0000:01:10.1"


def test_a_vf_that_is_a_nic_of_the_node_is_passed_over():
    """A VF with an address on the node is the node's own."""
    view = node()
    own = replace(view.nics["eth1"], ifname="eth1v0", pci_address="0000:01:10.0", vfs=())
    plan = SRIOV.plan(asked({}), replace(view, nics={**view.nics, "eth1v0": own}))
    assert plan.devices[0].pci_address == "0000:01:10.1"


def test_the_devices_of_the_kubelet_are_taken():
    """A link that names a VF gets that one, and its plan remembers nothing of the others."""
    plan = SRIOV.plan(asked({}, device="0000:01:10.1"), node())
    assert plan.devices[0].device == "eth1v1"


def test_a_vf_for_user_space_is_passed_by_its_address():
    """Without a netdev there is nothing to move or to give an address to; the settings are laid down all the same."""
    plan = SRIOV.plan(asked({"vlan": 7, "mtu": 1400}, device="0000:01:10.0"), node(ifname="", driver="vfio-pci"))
    assert (plan.devices[0].device, plan.devices[0].mtu, plan.devices[0].driver_before) == ("", 0, "vfio-pci")
    assert plan.addresses == ()
    assert plan.vfs[0].settings == VfSettings(vlan=7)


def test_all_arguments_reach_the_vf():
    """Each argument, in either spelling, is a setting; the MAC address is one of VF and link."""
    block = {
        "vlan": 210,
        "vlanQoS": 3,
        "spoofchk": "off",
        "trust": "on",
        "linkState": "enable",
        "minTxRate": 10,
        "max_tx_rate": 500,
        "mtu": 1400,
    }
    plan = SRIOV.plan(asked(block, mac_address="02:00:00:00:00:77"), node())
    before = VfSettings("00:00:00:00:00:00", 0, 0, True, False, "auto", 0, 0)
    wanted = VfSettings("02:00:00:00:00:77", 210, 3, False, True, "enable", 10, 500)
    assert plan.vfs == (ConfigureVf("net1-0", "eth1", 11, 0, wanted, before),)
    assert (plan.devices[0].mtu, plan.devices[0].mac_address) == (1400, "02:00:00:00:00:77")


def test_a_vf_is_held_to_what_was_promised():
    """In whole Mbit/s, never less than the promise; a link without one keeps what it has."""
    plan = SRIOV.plan(asked({"rateLimit": True}, rate=2_500_000_001), node())
    assert plan.vfs[0].settings.max_tx_rate == 2501
    assert SRIOV.plan(asked({"rateLimit": True}), node()).vfs == ()
    assert SRIOV.plan(asked({}, rate=2_500_000_001), node()).vfs == ()


@pytest.mark.parametrize(
    ("block", "view", "link", "error", "message"),
    [
        ({"vlan": 4095}, node(), {}, ConfigError, "plugin.vlan: found 4095"),
        ({"vlan": -1}, node(), {}, ConfigError, "plugin.vlan: found -1"),
        ({"vlan": "many"}, node(), {}, ConfigError, "plugin.vlan: found 'many'"),
        ({"vlan": 7, "vlanQoS": 8}, node(), {}, ConfigError, "plugin.vlanQoS: found 8"),
        ({"vlanQoS": 3}, node(), {}, ConfigError, "plugin.vlanQoS: found 3 without a VLAN"),
        ({"spoofchk": "yes"}, node(), {}, ConfigError, "plugin.spoofchk: found 'yes'"),
        ({"trust": True}, node(), {}, ConfigError, "plugin.trust: found True"),
        ({"link_state": "up"}, node(), {}, ConfigError, "plugin.link_state: found 'up'"),
        (
            {"rateLimit": True, "max_tx_rate": 5},
            node(),
            {},
            ConfigError,
            "plugin.rateLimit: found true beside max_tx_rat",
        ),
        ({"rateLimit": "some"}, node(), {}, ConfigError, "plugin.rateLimit: found 'some'"),
        (
            {"rateLimit": True},
            node(settings=VfSettings(vlan=0)),
            {"rate": 1_000_000},
            ConfigError,
            "plugin.rateLimit: found 1 for VF 0 of NIC 'eth1', a rate without support",
        ),
        ({"max_tx_rate": -5}, node(), {}, ConfigError, "plugin.max_tx_rate: found -5"),
        ({"min_tx_rate": 9, "max_tx_rate": 5}, node(), {}, ConfigError, "plugin.min_tx_rate: found 9, expected at mo"),
        ({"minTxRate": 9, "min_tx_rate": 8}, node(), {}, ConfigError, "plugin.minTxRate: found 9 beside min_tx_rate 8"),
        (
            {"max_tx_rate": 99000},
            node(),
            {},
            ConfigError,
            "plugin.max_tx_rate: found 99000, expected at most 25000 Mbit/s, the speed of 'eth1'",
        ),
        (
            {"max_tx_rate": 50},
            node(settings=VfSettings(vlan=0)),
            {},
            ConfigError,
            "plugin.max_tx_rate: found 50 for VF 0 of NIC 'eth1', a rate without support",
        ),
        (
            {"spoofchk": "on"},
            node(settings=VfSettings(vlan=0)),
            {},
            ConfigError,
            "plugin.spoofchk: found 'on' for VF 0 of NIC 'eth1', whose driver has no spoof check",
        ),
        (
            {"trust": "on"},
            node(settings=VfSettings(vlan=0)),
            {},
            ConfigError,
            "plugin.trust: found 'on' for VF 0 of NIC 'eth1', whose driver knows no trust",
        ),
        ({"mtu": 9000}, node(), {}, ConfigError, "plugin.mtu: found 9000, expected 68 to 1500 bytes, the MTU of 'et"),
        ({"mtu": 67}, node(), {}, ConfigError, "plugin.mtu: found 67, expected 68 to 1500 bytes"),
        (
            {},
            node(),
            {"mac_address": "02:00:00:00:00:01"},
            ConfigError,
            "found MAC address '02:00:00:00:00:01' asked for, which is that of NIC 'eth1' itself",
        ),
        ({}, node(), {"parent": "eth9"}, ConfigError, "no NIC 'eth9' on 'node-1', found ['eth1']"),
        (
            {},
            node(held=frozenset({"0000:01:10.0", "0000:01:10.1"})),
            {},
            SelectionError,
            "no free VF on 'eth1': 2 of 2 in use",
        ),
        ({}, node(held=frozenset({"0000:01:00.0"})), {}, SelectionError, "'eth1': the NIC itself sits in a pod"),
        ({}, node(ifname=""), {}, SelectionError, "no free VF on 'eth1': 2 of 2 in use"),
        (
            {},
            node(ifname="", driver="vfio-pci"),
            {},
            SelectionError,
            "no free VF on 'eth1': 0 of 2 in use, 2 bound to a driver for user space",
        ),
        (
            {},
            node(),
            {"device": "0000:09:10.0"},
            ConfigError,
            "device '0000:09:10.0': not a VF of NIC 'eth1', expected one of ['0000:01:10.0', '0000:01:10.1']",
        ),
        (
            {},
            node(held=frozenset({"0000:01:10.1"})),
            {"device": "0000:01:10.1"},
            SelectionError,
            "device '0000:01:10.1': in use by another attachment",
        ),
        (
            {},
            node(ifname=""),
            {"device": "0000:01:10.1"},
            SelectionError,
            "VF 1 of NIC 'eth1' is in use: its link is not on the node",
        ),
    ],
)
def test_bad_input_is_refused(
    block: dict[str, Any], view: NodeView, link: dict[str, Any], error: type[MultinicError], message: str
):
    """Each refusal says where, what was found and what would do."""
    with pytest.raises(error) as refused:
        SRIOV.plan(asked(block, **link), view)
    assert message in str(refused.value)


def test_a_nic_without_vfs_says_how_many_it_could_have():
    """The reason tells whether making VFs would help."""
    none = replace(example_node(1).nics["eth1"], vfs=())
    assert SRIOV.unavailable({}, none, example_node(1)) == "no VF on 'eth1': it can have 8, and has none"
    assert SRIOV.unavailable({}, replace(none, vfs_possible=0), example_node(1)).endswith(
        "it can have none, and has none"
    )
    assert SRIOV.unavailable({}, example_node(1).nics["eth1"], example_node(1)) == ""


def test_a_device_given_twice_is_refused():
    """Two links of one attachment never share a VF."""
    request = example_request({}, ("eth1", "eth1"))
    twice = replace(request, links=tuple(replace(link, device="0000:01:10.0") for link in request.links))
    with pytest.raises(SelectionError, match="given twice"):
        SRIOV.plan(twice, node())
    assert [step.device for step in SRIOV.plan(request, node()).devices] == ["eth1v0", "eth1v1"]
    three = example_request({}, ("eth1", "eth1", "eth1"))
    with pytest.raises(SelectionError, match="no free VF on 'eth1': this pod gets the last 2"):
        SRIOV.plan(three, node())
