"""Whole devices go into a pod and come back as they were, whatever happens in between, as ``ip`` sees it."""

import errno
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
from multinic_daemon.netlink import Conversation, open_netns
from multinic_daemon.netlink.observed import read_links
from multinic_daemon.podlinks.apply import apply_plan, differences, remove_links, return_devices
from multinic_daemon.podlinks.giveback import give_back
from multinic_daemon.podlinks.marks import GROUPS
from multinic_daemon.testing.crashing import killed_at

from multinic_core import AddAddress, AddRoute, ConfigError, CreateLink, KernelError, Plan
from multinic_core.devices import TakeDevice

GROUP = GROUPS[5]
ADDRESSES = (ip_interface("10.7.0.1/24"), ip_interface("fd07::1/64"))
pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth")]


def device(ground: Any, ifname: str = "eth1", number: int = 0) -> TakeDevice:
    """A NIC of the node with an MTU, a further name and addresses, and the step that takes it."""
    ground.nic(ifname, *map(str, ADDRESSES))
    ground.ip(ground.node, "link", "set", ifname, "mtu", "1480")
    ground.ip(ground.node, "link", "property", "add", "dev", ifname, "altname", f"{ifname}long")
    ground.ip(ground.node, "link", "set", ifname, "alias", "to the storage", "group", "7")
    return TakeDevice(
        f"net1-{number}",
        ifname,
        ifname,
        mtu=1400,
        mac_address=f"02:00:00:00:77:{number:02x}",
        mtu_before=1480,
        mac_address_before=ground.link(ground.node, ifname)["address"],
        altnames_before=(f"{ifname}long",),
        up_before=True,
        addresses_before=ADDRESSES,
        alias_before="to the storage",
        group_before=7,
    )


def plan_of(*devices: TakeDevice) -> Plan:
    steps: list[Any] = []
    for number, step in enumerate(devices):
        steps += [step, AddAddress(step.ifname, ip_interface(f"192.168.{number}.7/24"))]
    steps.append(AddRoute(ip_network("172.16.0.0/12"), "net1-0", ip_address("192.168.0.1")))
    return Plan(tuple(steps))


def state(ground: Any, ifname: str) -> dict[str, Any]:
    """What must be as before, of a link on the node."""
    link = ground.link(ground.node, ifname)
    (shown,) = ground.ip(ground.node, "address", "show", ifname)
    addresses = {f"{a['local']}/{a['prefixlen']}" for a in shown["addr_info"] if a["scope"] == "global"}
    kept = ("ifname", "mtu", "address", "group", "altnames", "ifalias")
    return {key: link.get(key) for key in kept} | {"up": "UP" in link["flags"], "addresses": addresses}


def test_a_device_is_taken_set_up_and_brought_back(ground: Any):
    """In the pod it has its new name, MTU, MAC address, address and route; back on the node it is what it was."""
    step, pod = device(ground), ground.namespace("pod")
    plan, before = plan_of(step), state(ground, "eth1")
    (made,) = apply_plan(plan, pod, GROUP, node_netns=ground.node)
    shown = ground.link(pod, "net1-0")
    assert (shown["mtu"], shown["address"], shown["group"]) == (1400, "02:00:00:00:77:00", str(GROUP))
    assert (made.ifname, made.ifindex, made.mac_address, made.mtu) == (
        "net1-0",
        shown["ifindex"],
        "02:00:00:00:77:00",
        1400,
    )
    assert "UP" in shown["flags"]
    (route,) = ground.ip(pod, "route", "show", "172.16.0.0/12")
    assert route["dev"] == "net1-0"
    assert ground.names(ground.node) == set()
    assert differences(plan, pod, node_netns=ground.node) == []
    assert return_devices(plan, pod, GROUP, node_netns=ground.node) == 1
    assert state(ground, "eth1") == before
    assert not remove_links(pod, GROUP)
    assert ground.names(pod) == set()
    assert return_devices(plan, pod, GROUP, node_netns=ground.node) == 0
    assert state(ground, "eth1") == before


def test_a_device_that_was_down_comes_back_down(ground: Any):
    """Up or down is remembered, too."""
    step, pod = replace(device(ground), up_before=False), ground.namespace("pod")
    plan = plan_of(step)
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    return_devices(plan, pod, GROUP, node_netns=ground.node)
    assert not state(ground, "eth1")["up"]


@pytest.mark.link_kind("macvlan")
def test_devices_and_links_of_one_attachment(ground: Any):
    """Devices go back first, and then the group of links is deleted without them."""
    step, pod = device(ground), ground.namespace("pod")
    link = CreateLink("net1-1", "macvlan", "eth2", ground.nic("eth2"), 1500, {"IFLA_MACVLAN_MODE": 4})
    plan = Plan((*plan_of(step).steps, link))
    assert [made.ifname for made in apply_plan(plan, pod, GROUP, node_netns=ground.node)] == ["net1-1", "net1-0"]
    assert differences(plan, pod, node_netns=ground.node) == []
    assert return_devices(plan, pod, GROUP, node_netns=ground.node) == 1
    assert remove_links(pod, GROUP)
    assert ground.names(ground.node) == {"eth1", "eth2"}


def test_a_failure_leaves_the_node_as_it_was(ground: Any):
    """Of two devices the second is not there: the first comes back, and the pod has nothing."""
    first, pod = device(ground), ground.namespace("pod")
    before = state(ground, "eth1")
    second = TakeDevice("net1-1", "eth9", "eth9")
    with pytest.raises(KernelError, match="device 'eth9' of link 'net1-1'") as refused:
        apply_plan(plan_of(first, second), pod, GROUP, node_netns=ground.node)
    assert refused.value.errno == errno.ENODEV
    assert state(ground, "eth1") == before
    bad = Plan((first, AddRoute(ip_network("172.16.0.0/12"), "net1-0", ip_address("192.168.0.1"))))
    with pytest.raises(KernelError, match=r"route 172\.16\.0\.0/12 via 192\.168\.0\.1 of link 'net1-0' on NIC 'eth1'"):
        apply_plan(bad, pod, GROUP, node_netns=ground.node)
    assert state(ground, "eth1") == before
    assert ground.names(pod) == set()


def test_a_taken_name_in_the_pod_is_refused(ground: Any):
    """An interface of that name stays what it is, and so does the device."""
    step, pod = device(ground), ground.namespace("pod")
    before = state(ground, "eth1")
    ground.ip(pod, "link", "add", "net1-0", "type", "veth", "peer", "name", "other")
    with pytest.raises(ConfigError, match="'net1-0' exists in the pod already"):
        apply_plan(plan_of(step), pod, GROUP, node_netns=ground.node)
    assert state(ground, "eth1") == before
    assert ground.names(pod) == {"net1-0", "other"}


def test_the_node_name_may_be_taken_in_the_pod(ground: Any):
    """A pod whose eth1 is another link gets the device under its new name."""
    step, pod = device(ground), ground.namespace("pod")
    ground.ip(pod, "link", "add", "eth1", "type", "veth", "peer", "name", "other")
    apply_plan(plan_of(step), pod, GROUP, node_netns=ground.node)
    assert ground.names(pod) == {"net1-0", "eth1", "other"}
    return_devices(plan_of(step), pod, GROUP, node_netns=ground.node)
    assert ground.names(pod) == {"eth1", "other"}
    assert ground.names(ground.node) == {"eth1"}


def test_another_attachments_device_is_refused(ground: Any):
    """A device that carries another attachment's mark is not touched."""
    step, pod = device(ground), ground.namespace("pod")
    ground.ip(ground.node, "link", "set", "eth1", "group", str(GROUP + 1))
    before = state(ground, "eth1")
    with pytest.raises(ConfigError, match=r"belongs to another attachment.*: ip link set eth1 group 0"):
        apply_plan(plan_of(step), pod, GROUP, node_netns=ground.node)
    assert state(ground, "eth1") == before


@pytest.mark.link_kind("bridge")
def test_a_part_of_another_link_is_refused(ground: Any):
    """A bridge's port is not taken out of its bridge."""
    step, pod = device(ground), ground.namespace("pod")
    ground.ip(ground.node, "link", "add", "br0", "type", "bridge")
    ground.ip(ground.node, "link", "set", "eth1", "master", "br0")
    with pytest.raises(ConfigError, match="is part of link 'br0'"):
        apply_plan(plan_of(step), pod, GROUP, node_netns=ground.node)
    assert ground.link(ground.node, "eth1")["master"] == "br0"


@pytest.mark.link_kind("macvlan")
def test_a_device_that_carries_a_link_of_the_node_is_refused(ground: Any):
    """What lies on it, as a VLAN link or a macvlan link, would lead into the pod."""
    step, pod = device(ground), ground.namespace("pod")
    ground.ip(ground.node, "link", "add", "link", "eth1", "name", "above", "type", "macvlan", "mode", "bridge")
    before = state(ground, "eth1")
    with pytest.raises(ConfigError, match="carries the node's link 'above'"):
        apply_plan(plan_of(step), pod, GROUP, node_netns=ground.node)
    assert state(ground, "eth1") == before


def test_a_device_that_the_node_uses_is_refused(ground: Any):
    """An address that nobody would give back, as of a VF that is the node's own link."""
    step, pod = device(ground), ground.namespace("pod")
    before = state(ground, "eth1")
    with pytest.raises(ConfigError, match=r"is in use: the node has 10\.7\.0\.1/24, fd07::1/64 on it"):
        apply_plan(plan_of(replace(step, addresses_before=())), pod, GROUP, node_netns=ground.node)
    assert state(ground, "eth1") == before


def test_an_alias_of_any_bytes_comes_back(ground: Any):
    """The kernel holds what it is given, which need not be text."""
    step, pod = replace(device(ground), alias_before="stor\udcff"), ground.namespace("pod")
    apply_plan(plan_of(step), pod, GROUP, node_netns=ground.node)
    return_devices(plan_of(step), pod, GROUP, node_netns=ground.node)
    with open_netns(ground.node) as file, Conversation(file) as node:
        assert [link.alias for link in read_links(node) if link.ifname == "eth1"] == [step.alias_before]


def test_a_nic_with_a_lease_comes_back_without_it(ground: Any):
    """By then the address may be somebody else's; a VF with one is in use by the node."""
    step, pod = device(ground), ground.namespace("pod")
    before = state(ground, "eth1")
    for lease in ("10.7.0.99/24", "fd07::99/64"):
        ground.ip(ground.node, "address", "add", lease, "dev", "eth1", "valid_lft", "600", "preferred_lft", "600")
    with pytest.raises(ConfigError, match=r"is in use: the node has 10\.7\.0\.99/24 on it"):
        apply_plan(plan_of(replace(step, parent="eth9")), pod, GROUP, node_netns=ground.node)
    apply_plan(plan_of(step), pod, GROUP, node_netns=ground.node)
    assert return_devices(plan_of(step), pod, GROUP, node_netns=ground.node) == 1
    assert state(ground, "eth1") == before


def test_a_device_renamed_in_the_pod_is_found(ground: Any):
    """Whoever renames it, or changes its MTU or MAC address, changes nothing for the node."""
    step, pod = device(ground), ground.namespace("pod")
    before = state(ground, "eth1")
    apply_plan(plan_of(step), pod, GROUP, node_netns=ground.node)
    for change in (["down"], ["name", "mine"], ["mtu", "1300"], ["up"]):
        ground.ip(pod, "link", "set", "mine" if change == ["up"] or change[0] == "mtu" else "net1-0", *change)
    assert return_devices(plan_of(step), pod, GROUP, node_netns=ground.node) == 1
    assert state(ground, "eth1") == before


def test_a_device_moved_on_by_the_pod_is_found(ground: Any):
    """A namespace that the pod itself has made is looked through as well."""
    step, pod, inner = device(ground), ground.namespace("pod"), ground.namespace("inner")
    before = state(ground, "eth1")
    apply_plan(plan_of(step), pod, GROUP, node_netns=ground.node)
    ground.ip(pod, "link", "set", "net1-0", "netns", inner.rpartition("/")[2])
    assert return_devices(plan_of(step), pod, GROUP, node_netns=ground.node) == 1
    assert state(ground, "eth1") == before


def test_a_name_that_was_taken_meanwhile_is_said_and_the_device_is_back(ground: Any, caplog: Any):
    """The device comes back under another name, with all the rest as it was, and the pod can go."""
    step, pod = device(ground), ground.namespace("pod")
    apply_plan(plan_of(step), pod, GROUP, node_netns=ground.node)
    ground.ip(ground.node, "link", "add", "eth1", "type", "veth", "peer", "name", "eth1peer")
    return_devices(plan_of(step), pod, GROUP, node_netns=ground.node)
    assert ground.names(pod) == set()
    (other,) = ground.names(ground.node) - {"eth1", "eth1peer"}
    found = state(ground, other)
    assert (found["mtu"], found["group"], found["altnames"], found["up"]) == (1480, "7", ["eth1long"], True)
    assert "came back from its pod, but not as it was: name 'eth1'" in caplog.text


def test_a_vanished_namespace_that_took_its_device_along_is_no_error(ground: Any):
    """A virtual device ends with its namespace; nothing is left to give back."""
    step, pod = device(ground), ground.namespace("pod")
    apply_plan(plan_of(step), pod, GROUP, node_netns=ground.node)
    ground.remove(pod)
    assert return_devices(plan_of(step), pod, GROUP, node_netns=ground.node) == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["mtu", "1300"], "link 'net1-0' has mtu 1300, expected 1400"),
        (["address", "02:00:00:00:00:99"], "has MAC address 02:00:00:00:00:99, expected 02:00:00:00:77:00"),
        (["down"], "link 'net1-0' is down, expected up"),
    ],
)
def test_check_names_what_was_changed(ground: Any, change: list[str], sentence: str):
    """Each mutilation is one sentence."""
    step, pod = device(ground), ground.namespace("pod")
    plan = Plan((step,))
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    ground.ip(pod, "link", "set", "net1-0", *change)
    (found,) = differences(plan, pod, node_netns=ground.node)
    assert sentence in found


def test_check_names_a_device_that_is_missing_or_renamed(ground: Any):
    """Without the link of that name, its device is missing."""
    step, pod = device(ground), ground.namespace("pod")
    plan = Plan((step,))
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    ground.ip(pod, "link", "set", "net1-0", "down")
    ground.ip(pod, "link", "set", "net1-0", "name", "mine")
    assert differences(plan, pod, node_netns=ground.node) == ["link 'net1-0' is missing, the device 'eth1'"]


TAKING = ["devices.marked", "devices.configured", "devices.moved", "apply.created"]
RETURNING = ["devices.returned", "devices.restored"]


@pytest.mark.parametrize("name", TAKING)
def test_killed_while_taking(ground: Any, name: str):
    """Whoever reads the plan brings the device back from wherever it is, with all it had, and twice is as good."""
    step, pod = device(ground), ground.namespace("pod")
    plan, before = plan_of(step), state(ground, "eth1")
    killed_at(name, lambda: apply_plan(plan, pod, GROUP, node_netns=ground.node))
    for _ in range(2):
        return_devices(plan, pod, GROUP, node_netns=ground.node)
        assert not remove_links(pod, GROUP)
        assert state(ground, "eth1") == before
    assert ground.names(pod) == set()
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert differences(plan, pod, node_netns=ground.node) == []


@pytest.mark.parametrize("name", RETURNING)
def test_killed_while_giving_back(ground: Any, name: str):
    """What was begun is finished by the next."""
    step, pod = device(ground), ground.namespace("pod")
    plan, before = plan_of(step), state(ground, "eth1")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    killed_at(name, lambda: return_devices(plan, pod, GROUP, node_netns=ground.node))
    assert ground.names(ground.node) == {"eth1"}
    assert ground.link(ground.node, "eth1")["group"] == str(GROUP)
    assert return_devices(plan, pod, GROUP, node_netns=ground.node) == 0
    assert state(ground, "eth1") == before


def test_a_driver_that_is_gone_keeps_no_other_device_away(ground: Any, tmp_path: Path):
    """What cannot be bound again is told, and tried again; the pod's other devices are the node's at once."""
    step, pod = device(ground), ground.namespace("pod")
    before = state(ground, "eth1")
    apply_plan(plan_of(step), pod, GROUP, node_netns=ground.node)
    function = "0000:8a:10.1"
    (tmp_path / "bus" / "pci" / "devices" / function).mkdir(parents=True)
    unbound = TakeDevice("net1-1", "eth2", "", function, driver_before="iavf")
    with pytest.raises(KernelError, match=f"binding {function} to driver 'iavf' again"):
        give_back(plan_of(unbound, step), pod, GROUP, node_netns=ground.node, sysfs=tmp_path)
    assert state(ground, "eth1") == before
