"""host-device on the node: which device a link gets, and what is refused."""

from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

import pytest
from multinic_plugin_host_device import HostDevice

from multinic_core import ConfigError, NodeView
from multinic_core.devices import TakeDevice, VfSettings
from multinic_core.errors import MultinicError, SelectionError
from multinic_core.testing import example_nic, example_node, example_request

PLUGIN = HostDevice()


def node(held: str = "", **nic: Any) -> NodeView:
    """A node with one NIC, changed so."""
    return NodeView("node-1", {"eth1": replace(example_nic(1), **nic)}, frozenset({held} if held else ()))


def asked(block: dict[str, Any], **link: Any) -> Any:
    request = example_request(block, ("eth1",))
    return replace(request, links=tuple(replace(each, **link) for each in request.links))


def test_the_nic_itself_goes_into_the_pod():
    """With all that giving it back needs: name, further names, MTU, MAC address, addresses and driver."""
    view = node(altnames=("enp1s0",), rdma_devices=("mlx5_0",))
    plan = PLUGIN.plan(asked({"mtu": 1400}, mac_address="02:00:00:00:00:77"), view)
    assert plan.devices == (
        TakeDevice(
            "net1-0",
            "eth1",
            "eth1",
            "0000:01:00.0",
            1400,
            "02:00:00:00:00:77",
            1500,
            "02:00:00:00:00:01",
            ("enp1s0",),
            ("mlx5_0",),
            True,
            (ip_interface("10.0.1.1/24"),),
            "mlx5_core",
        ),
    )
    assert [step.address for step in plan.addresses] == [ip_interface("192.168.0.1/24")]
    assert plan.sysctls == ()
    assert plan.vfs == ()


def test_a_nic_is_given_back_only_what_it_had_itself():
    """Not the addresses that a hand-written HostInterface declares, nor those with a lease; and down if it was."""
    own, shown = (ip_interface("10.0.1.5/24"),), (ip_interface("10.0.1.5/24"), ip_interface("10.0.1.9/24"))
    for had in ((), own):
        (step,) = PLUGIN.plan(asked({}), node(addresses=shown, own_addresses=had, switched_on=False)).devices
        assert (step.addresses_before, step.addresses_shown, step.up_before) == (had, shown, False)


def test_alias_and_group_come_back_with_nic_and_vf():
    """Those that the node's owner gave them."""
    (vf, *others), told = example_nic(1).vfs, {"alias": "to the storage", "group": 7}
    view = node(vfs=(replace(vf, **told), *others), **told)
    for device in ("", vf.pci_address):
        (step,) = PLUGIN.plan(asked({}, device=device), view).devices
        assert (step.alias_before, step.group_before) == ("to the storage", 7)


def test_a_vf_of_the_kubelets_choice_goes_into_the_pod():
    """A device plugin may give VFs; a MAC address that the pod asks for is told to the physical function, too."""
    plan = PLUGIN.plan(asked({}, device="0000:01:10.1", mac_address="02:00:00:00:00:77"), node())
    assert (plan.devices[0].device, plan.devices[0].pci_address) == ("eth1v1", "0000:01:10.1")
    assert plan.vfs[0].settings == VfSettings("02:00:00:00:00:77")
    plan = PLUGIN.plan(asked({}, device="0000:01:00.0"), node())
    assert plan.devices[0].device == "eth1"


@pytest.mark.parametrize(
    "block",
    [
        {"device": "eth1"},
        {"device": "enp1s0"},
        {"hwaddr": "02:00:00:00:00:01"},
        {"pciBusID": "0000:01:00.0"},
        {"deviceID": "0000:01:00.0"},
        {"kernelpath": "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0"},
        {"kernelpath": "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/net/eth1"},
    ],
)
def test_a_device_may_be_named_in_each_way(block: dict[str, Any]):
    """Name or further name, MAC address, PCI address and folder all mean the NIC."""
    view = node(altnames=("enp1s0",))
    assert PLUGIN.unavailable(block, view.nics["eth1"], view) == ""
    assert PLUGIN.plan(asked(block), view).devices[0].device == "eth1"


@pytest.mark.parametrize(
    ("block", "view", "link", "error", "message"),
    [
        ({"device": "eth9"}, node(), {}, ConfigError, "plugin.device: found 'eth9', NIC 'eth1' is not the one"),
        ({"device": "a/b"}, node(), {}, ConfigError, "plugin.device: found 'a/b'"),
        ({"device": 7}, node(), {}, ConfigError, "plugin.device: found 7"),
        ({"hwaddr": "02:00:00:00:00:99"}, node(), {}, ConfigError, "plugin.hwaddr: found '02:00:00:00:00:99'"),
        ({"hwaddr": "02:00"}, node(), {}, ConfigError, "plugin.hwaddr: found '02:00'"),
        ({"pciBusID": "0000:09:00.0"}, node(), {}, ConfigError, "it is '0000:01:00.0'"),
        ({"pciBusID": "09:00"}, node(), {}, ConfigError, "plugin.pciBusID: found '09:00'"),
        ({"kernelpath": "/sys/devices/x"}, node(), {}, ConfigError, "plugin.kernelpath: found '/sys/devices/x'"),
        ({"kernelpath": "/etc"}, node(), {}, ConfigError, "plugin.kernelpath: found '/etc'"),
        (
            {"device": "eth1", "hwaddr": "02:00:00:00:00:01"},
            node(),
            {},
            ConfigError,
            "plugin.hwaddr: found beside device",
        ),
        ({"deviceID": "0000:01:00.0", "pciBusID": "0000:02:00.0"}, node(), {}, ConfigError, "plugin.deviceID: found"),
        ({"mtu": 67}, node(), {}, ConfigError, "plugin.mtu: found 67, expected 68 to 65535 bytes"),
        ({"mtu": "big"}, node(), {}, ConfigError, "plugin.mtu: found 'big'"),
        ({}, node(), {"parent": "eth9"}, ConfigError, "no NIC 'eth9' on 'node-1', found ['eth1']"),
        ({}, node("0000:01:00.0"), {}, SelectionError, "NIC 'eth1' is in use: it sits in another pod"),
        ({}, node("eth1", pci_address=""), {}, SelectionError, "NIC 'eth1' is in use: it sits in another pod"),
        ({}, node("0000:01:10.1"), {}, SelectionError, "NIC 'eth1' is in use: 1 of its 2 VFs are in use by pods"),
        (
            {},
            node("0000:01:00.0"),
            {"device": "0000:01:00.0"},
            SelectionError,
            "device '0000:01:00.0': in use by another attachment",
        ),
        ({}, node(), {"device": "0000:09:10.0"}, ConfigError, "device '0000:09:10.0': not a VF of NIC 'eth1'"),
        ({"mtu": 9000}, node(), {"device": "0000:01:10.0"}, ConfigError, "plugin.mtu: found 9000, expected 68 to 1500"),
    ],
)
def test_bad_input_is_refused(
    block: dict[str, Any], view: NodeView, link: dict[str, Any], error: type[MultinicError], message: str
):
    """Each refusal says where, what was found and what would do."""
    with pytest.raises(error) as refused:
        PLUGIN.plan(asked(block, **link), view)
    assert message in str(refused.value)


def test_all_links_that_cannot_be_are_named_at_once():
    """Two NICs that are not the device that is named make two problems."""
    with pytest.raises(ConfigError) as refused:
        PLUGIN.plan(example_request({"device": "eth9"}), example_node(2))
    assert len(refused.value.problems) == 2
