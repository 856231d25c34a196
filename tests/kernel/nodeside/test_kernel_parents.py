"""NICs of every kind as parents of pod links, and what the kernel says when uses of one do not go together."""

import errno
from typing import Any

import pytest
from multinic_daemon.discovery.discovery import Discovery
from multinic_daemon.podlinks.apply import apply_plan, differences, remove_links

from multinic_core import CreateLink, KernelError, Plan
from multinic_core.parents import use_of_parent

GROUP = 0x5A0001
MACVLAN = ("macvlan", {"IFLA_MACVLAN_MODE": 4})
PRIVATE = ("macvlan", {"IFLA_MACVLAN_MODE": 1})
PASSTHRU = ("macvlan", {"IFLA_MACVLAN_MODE": 8})
L2 = ("ipvlan", {"IFLA_IPVLAN_MODE": 0, "IFLA_IPVLAN_FLAGS": 0})
L3 = ("ipvlan", {"IFLA_IPVLAN_MODE": 1, "IFLA_IPVLAN_FLAGS": 0})
L3_PRIVATE = ("ipvlan", {"IFLA_IPVLAN_MODE": 1, "IFLA_IPVLAN_FLAGS": 1})
How = tuple[str, dict[str, int]]

macvlan = pytest.mark.link_kind("veth", "macvlan")
ipvlan = pytest.mark.link_kind("veth", "macvlan", "ipvlan")
pytestmark = pytest.mark.needs_root


def plan(ifindex: int, how: How, nic: str = "eth1", ifname: str = "net1-0", mtu: int = 1500, mac: str = "") -> Plan:
    return Plan((CreateLink(ifname, how[0], nic, ifindex, mtu, how[1], mac),))


@macvlan
def test_a_mac_address_that_another_link_has_is_named(ground: Any):
    """Two pods ask for the same one on one NIC: the second is told which address, link and NIC, and gets nothing."""
    ifindex, one, two = ground.nic("eth1"), ground.namespace("one"), ground.namespace("two")
    mac = "02:00:5e:10:00:01"
    apply_plan(plan(ifindex, MACVLAN, mac=mac), one, GROUP, node_netns=ground.node)
    with pytest.raises(KernelError, match=f"'net1-0' on NIC 'eth1' with MAC address {mac}") as caught:
        apply_plan(plan(ifindex, MACVLAN, mac=mac), two, GROUP + 1, node_netns=ground.node)
    assert caught.value.errno == errno.EADDRINUSE
    assert "another link on the same NIC has this address" in caught.value.details
    assert ground.names(two) == set()


@macvlan
def test_the_same_mac_address_on_two_nics_is_nobodys_concern(ground: Any):
    """The address needs to be one of its kind on its NIC alone."""
    pod, mac = ground.namespace("pod"), "02:00:5e:10:00:01"
    one = plan(ground.nic("eth1"), MACVLAN, mac=mac)
    two = plan(ground.nic("eth2"), MACVLAN, nic="eth2", ifname="net1-1", mac=mac)
    apply_plan(Plan((*one.steps, *two.steps)), pod, GROUP, node_netns=ground.node)
    assert {ground.link(pod, ifname)["address"] for ifname in ("net1-0", "net1-1")} == {mac}


@macvlan
def test_a_nic_whose_mtu_shrinks_is_named_by_check(ground: Any):
    """The kernel shrinks the pods' links with it; CHECK says so, and why."""
    ifindex, pod = ground.nic("eth1"), ground.namespace("pod")
    apply_plan(plan(ifindex, MACVLAN), pod, GROUP, node_netns=ground.node)
    ground.ip(ground.node, "link", "set", "eth1", "mtu", "1300")
    (found,) = differences(plan(ifindex, MACVLAN), pod, node_netns=ground.node)
    assert found == "link 'net1-0' has mtu 1300, expected 1500, as NIC 'eth1' has mtu 1300 now"


@ipvlan
def test_a_nic_whose_mtu_shrinks_is_named_for_ipvlan_too(ground: Any):
    """The same with the other kind."""
    ifindex, pod = ground.nic("eth1"), ground.namespace("pod")
    apply_plan(plan(ifindex, L3), pod, GROUP, node_netns=ground.node)
    ground.ip(ground.node, "link", "set", "eth1", "mtu", "1300")
    (found,) = differences(plan(ifindex, L3), pod, node_netns=ground.node)
    assert "as NIC 'eth1' has mtu 1300 now" in found


REFUSED: dict[str, tuple[How, How, int]] = {
    "passthru beside macvlan": (MACVLAN, PASSTHRU, errno.EINVAL),
    "macvlan beside passthru": (PASSTHRU, MACVLAN, errno.EINVAL),
    "passthru beside passthru": (PASSTHRU, PASSTHRU, errno.EINVAL),
}
REFUSED_WITH_IPVLAN: dict[str, tuple[How, How, int]] = {
    "macvlan beside ipvlan": (L3, MACVLAN, errno.EBUSY),
    "ipvlan beside macvlan": (MACVLAN, L2, errno.EBUSY),
    "ipvlan beside passthru": (PASSTHRU, L2, errno.EBUSY),
}


def refused(ground: Any, first: How, second: How, number: int) -> None:
    ifindex, one, two = ground.nic("eth1"), ground.namespace("one"), ground.namespace("two")
    apply_plan(plan(ifindex, first, ifname="foreign0"), one, GROUP, node_netns=ground.node)
    with pytest.raises(KernelError, match="'net1-0' on NIC 'eth1'") as caught:
        apply_plan(plan(ifindex, second), two, GROUP + 1, node_netns=ground.node)
    assert caught.value.errno == number
    assert f"NIC 'eth1' is used by link 'foreign0' in '{one}' ({use_of_parent(*first)})" in caught.value.details
    assert ground.names(two) == set()
    assert use_of_parent(*first) != use_of_parent(*second) or second == PASSTHRU, "known before the kernel is asked"
    remove_links(one, GROUP)
    apply_plan(plan(ifindex, second), two, GROUP + 1, node_netns=ground.node)


@macvlan
@pytest.mark.parametrize("name", REFUSED)
def test_what_the_kernel_refuses_names_the_link_in_the_way(ground: Any, name: str):
    """A link that the journal does not know is found and named, with its namespace; without it the same succeeds."""
    refused(ground, *REFUSED[name])


@ipvlan
@pytest.mark.parametrize("name", REFUSED_WITH_IPVLAN)
def test_what_the_kernel_refuses_beside_ipvlan_names_the_link_in_the_way(ground: Any, name: str):
    """The same with ipvlan."""
    refused(ground, *REFUSED_WITH_IPVLAN[name])


@macvlan
def test_a_link_of_the_node_that_is_in_the_way_is_named(ground: Any):
    """Such as one that a person made by hand."""
    ifindex, pod = ground.nic("eth1"), ground.namespace("pod")
    ground.ip(ground.node, "link", "add", "hand", "link", "eth1", "type", "macvlan", "mode", "bridge")
    with pytest.raises(KernelError) as caught:
        apply_plan(plan(ifindex, PASSTHRU), pod, GROUP, node_netns=ground.node)
    assert "NIC 'eth1' is used by link 'hand' on the node (macvlan)" in caught.value.details


@pytest.mark.parametrize(
    ("kind", "use"),
    [
        pytest.param(["macvlan", "mode", "passthru"], "macvlan, mode passthru", marks=macvlan),
        pytest.param(["ipvlan", "mode", "l3s", "vepa"], "ipvlan, mode l3s, flag vepa", marks=ipvlan),
    ],
)
async def test_discovery_knows_how_the_node_itself_uses_a_nic(ground: Any, kind: list[str], use: str):
    """So it is known before the kernel is asked, which would change ipvlan links of another mode in silence."""
    ifindex = ground.nic("eth1", "10.0.1.5/24")
    discovery = Discovery("n1", netns=ground.node)
    assert (await discovery.look()).uses == {}
    ground.ip(ground.node, "link", "add", "hand", "link", "eth1", "type", *kind)
    assert (await discovery.look()).uses == {(ifindex, 0): {use: "hand"}}


@macvlan
@pytest.mark.link_kind("bridge")
def test_a_nic_that_belongs_to_a_bridge_is_told(ground: Any):
    """Such a NIC cannot have pod links."""
    ifindex, pod = ground.nic("eth1"), ground.namespace("pod")
    ground.ip(ground.node, "link", "add", "br0", "type", "bridge")
    ground.ip(ground.node, "link", "set", "eth1", "master", "br0")
    with pytest.raises(KernelError) as caught:
        apply_plan(plan(ifindex, MACVLAN), pod, GROUP, node_netns=ground.node)
    assert "NIC 'eth1' belongs to 'br0'" in caught.value.details


@ipvlan
@pytest.mark.parametrize("second", [L2, L3_PRIVATE], ids=["mode", "flag"])
def test_ipvlan_of_another_mode_changes_the_others(ground: Any, second: How):
    """What the kernel really does, and why networks of unlike modes are refused before it is asked: CHECK finds out."""
    ifindex, one, two = ground.nic("eth1"), ground.namespace("one"), ground.namespace("two")
    apply_plan(plan(ifindex, L3), one, GROUP, node_netns=ground.node)
    apply_plan(plan(ifindex, second), two, GROUP + 1, node_netns=ground.node)
    (found,) = differences(plan(ifindex, L3), one, node_netns=ground.node)
    assert "IFLA_IPVLAN_" in found
    assert use_of_parent(*L3) != use_of_parent(*second)


@macvlan
def test_macvlan_modes_beside_each_other_are_no_obstacle(ground: Any):
    """Each link has a mode of its own."""
    ifindex, one, two = ground.nic("eth1"), ground.namespace("one"), ground.namespace("two")
    apply_plan(plan(ifindex, MACVLAN), one, GROUP, node_netns=ground.node)
    apply_plan(plan(ifindex, PRIVATE), two, GROUP + 1, node_netns=ground.node)
    assert differences(plan(ifindex, MACVLAN), one, node_netns=ground.node) == []


def bond(ground: Any) -> None:
    """A bond of two NICs with an address, as a node has it; its members are up and have none."""
    node = ground.node
    ground.ip(node, "link", "add", "bond0", "type", "bond", "mode", "active-backup")
    for nic in ("eth1", "eth2"):
        ground.nic(nic)
        ground.ip(node, "link", "set", nic, "down")
        ground.ip(node, "link", "set", nic, "master", "bond0")
    ground.ip(node, "link", "set", "bond0", "up")
    ground.ip(node, "address", "add", "10.0.1.5/24", "dev", "bond0")


def vlan(ground: Any) -> None:
    """A VLAN link with an address: a NIC that the administrator made."""
    ground.nic("eth1")
    ground.ip(ground.node, "link", "add", "link", "eth1", "name", "vlan7", "type", "vlan", "id", "7")
    ground.ip(ground.node, "link", "set", "vlan7", "up")
    ground.ip(ground.node, "address", "add", "10.0.1.5/24", "dev", "vlan7")


def vlan_on_bond(ground: Any) -> None:
    bond(ground)
    ground.ip(ground.node, "address", "del", "10.0.1.5/24", "dev", "bond0")
    ground.ip(ground.node, "link", "add", "link", "bond0", "name", "bond0.7", "type", "vlan", "id", "7")
    ground.ip(ground.node, "link", "set", "bond0.7", "up")
    ground.ip(ground.node, "address", "add", "10.0.1.5/24", "dev", "bond0.7")


PARENTS = {"bond0": bond, "vlan7": vlan, "bond0.7": vlan_on_bond}


@pytest.mark.link_kind("veth", "macvlan", "ipvlan", "bond", "vlan")
@pytest.mark.parametrize("on_vlan", [0, 100], ids=["itself", "a VLAN on it"])
@pytest.mark.parametrize("how", [MACVLAN, L2, L3], ids=["macvlan", "ipvlan l2", "ipvlan l3"])
@pytest.mark.parametrize("nic", PARENTS)
async def test_bonds_and_vlans_are_parents_as_any_nic(ground: Any, nic: str, how: How, on_vlan: int):
    """Discovery offers exactly that link, neither members nor our VLAN links, and pod links can be made on it."""
    PARENTS[nic](ground)
    pod = ground.namespace("pod")
    discovery = Discovery("n1", netns=ground.node)
    found = (await discovery.look()).nics
    assert list(found) == [nic]
    step = CreateLink("net1-0", how[0], nic, found[nic].ifindex, found[nic].mtu, how[1], vlan=on_vlan)
    apply_plan(Plan((step,)), pod, GROUP, node_netns=ground.node)
    assert differences(Plan((step,)), pod, node_netns=ground.node) == []
    if on_vlan:
        (name,) = (each for each in ground.names(ground.node) if each.endswith(".100"))
        ground.ip(ground.node, "address", "add", "10.0.9.5/24", "dev", name)
    assert list((await discovery.look()).nics) == [nic]


@pytest.mark.link_kind("veth", "macvlan", "ipvlan", "bond")
@pytest.mark.parametrize("how", [MACVLAN, L2], ids=["macvlan", "ipvlan"])
def test_a_member_of_a_bond_is_told_where_it_belongs(ground: Any, how: How):
    """Were one offered all the same, the kernel's refusal is explained."""
    bond(ground)
    ifindex, pod = ground.link(ground.node, "eth1")["ifindex"], ground.namespace("pod")
    with pytest.raises(KernelError, match="'net1-0' on NIC 'eth1'") as caught:
        apply_plan(plan(ifindex, how), pod, GROUP, node_netns=ground.node)
    assert "NIC 'eth1' belongs to 'bond0'" in caught.value.details
