"""VLAN links under pod links on a real kernel: made, found again, used as they are, and removed, as ``ip`` sees it."""

import errno
from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

import pytest
from multinic_daemon.podlinks.apply import apply_plan, differences, read_vlans, remove_links, remove_vlan
from multinic_daemon.podlinks.kernel import Parent
from multinic_daemon.podlinks.vlans import VLAN_GROUP, vlan_name

from multinic_core import AddAddress, CreateLink, KernelError, Plan

GROUP = 0x5A0001
pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth", "vlan", "macvlan", "ipvlan")]


def plan_on(
    ground: Any, *, vlan: int = 100, kind: str = "macvlan", nics: tuple[str, ...] = ("eth1", "eth2"), mtu: int = 1500
) -> Plan:
    """A link on a VLAN of each of these NICs, which are made when they are not there."""
    attributes = {"IFLA_MACVLAN_MODE": 4} if kind == "macvlan" else {"IFLA_IPVLAN_MODE": 1, "IFLA_IPVLAN_FLAGS": 0}
    steps: list[Any] = []
    for number, nic in enumerate(nics):
        ifindex = ground.link(ground.node, nic)["ifindex"] if nic in ground.names(ground.node) else ground.nic(nic)
        steps.append(CreateLink(f"net1-{number}", kind, nic, ifindex, mtu, attributes, vlan=vlan))
        steps.append(AddAddress(f"net1-{number}", ip_interface(f"192.168.{number}.7/24")))
    return Plan(tuple(steps))


def parents(plan: Plan) -> list[Parent]:
    return [Parent(link.parent_ifindex, link.vlan) for link in plan.links]


@pytest.mark.parametrize("kind", ["macvlan", "ipvlan"])
def test_pod_links_lie_on_a_vlan_link_that_is_ours(ground: Any, kind: str):
    """It is up, with the id, its NIC's MTU and our group, and pods' links lie on it; removing both leaves nothing."""
    plan, pod = plan_on(ground, kind=kind), ground.namespace("pod")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    vlan = ground.link(ground.node, "eth1.100")
    assert vlan["linkinfo"]["info_data"]["id"] == 100
    assert (vlan["link"], vlan["group"], vlan["mtu"]) == ("eth1", str(VLAN_GROUP), 1500)
    assert "UP" in vlan["flags"]
    assert ground.link(pod, "net1-0")["link_index"] == vlan["ifindex"]
    assert differences(plan, pod, node_netns=ground.node) == []
    assert read_vlans(ground.node) == dict(zip(parents(plan), ["eth1.100", "eth2.100"], strict=True))
    remove_links(pod, GROUP)
    assert [remove_vlan(parent, node_netns=ground.node) for parent in parents(plan)] == [True, True]
    assert [remove_vlan(parent, node_netns=ground.node) for parent in parents(plan)] == [False, False]
    assert ground.names(ground.node) == {"eth1", "eth2"}


def test_a_second_pod_lies_on_the_same_vlan_link(ground: Any):
    """There is one for each NIC and id, whoever needs it; another id makes another one."""
    plan, one, two = plan_on(ground), ground.namespace("one"), ground.namespace("two")
    apply_plan(plan, one, GROUP, node_netns=ground.node)
    apply_plan(plan, two, GROUP + 1, node_netns=ground.node)
    apply_plan(Plan((replace(plan.links[0], ifname="net2-0", vlan=200),)), two, GROUP + 2, node_netns=ground.node)
    assert ground.names(ground.node) == {"eth1", "eth2", "eth1.100", "eth2.100", "eth1.200"}
    remove_links(two, GROUP + 2)
    assert remove_vlan(Parent(plan.links[0].parent_ifindex, 200), node_netns=ground.node)
    assert differences(plan, one, node_netns=ground.node) == differences(plan, two, node_netns=ground.node) == []


def test_pods_on_different_vlans_of_one_nic_may_use_it_differently(ground: Any):
    """ipvlan l2, ipvlan l3 and macvlan on three VLANs, and macvlan on the NIC itself, do not disturb each other."""
    pod = ground.namespace("pod")
    first = plan_on(ground, vlan=100, kind="ipvlan", nics=("eth1",))
    plans = [first, plan_on(ground, vlan=200, nics=("eth1",)), plan_on(ground, vlan=0, nics=("eth1",))]
    l2 = replace(first.links[0], vlan=300, attributes={"IFLA_IPVLAN_MODE": 0, "IFLA_IPVLAN_FLAGS": 1})
    plans.append(Plan((l2,)))
    plans = [Plan((replace(p.links[0], ifname=f"net{n}"),)) for n, p in enumerate(plans)]
    for number, plan in enumerate(plans):
        apply_plan(plan, pod, GROUP + number, node_netns=ground.node)
    assert [differences(plan, pod, node_netns=ground.node) for plan in plans] == [[], [], [], []]


def test_a_vlan_link_of_somebody_else_is_used_as_it_is_and_stays(ground: Any):
    """Under whatever name: it is not changed, and not removed."""
    plan, pod = plan_on(ground, nics=("eth1",)), ground.namespace("pod")
    ground.ip(ground.node, "link", "add", "link", "eth1", "name", "storage", "type", "vlan", "id", "100")
    ground.ip(ground.node, "link", "set", "storage", "up")
    before = ground.link(ground.node, "storage")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert ground.link(pod, "net1-0")["link_index"] == before["ifindex"]
    assert differences(plan, pod, node_netns=ground.node) == []
    assert read_vlans(ground.node) == {}
    assert not remove_vlan(parents(plan)[0], node_netns=ground.node)
    after = ground.link(ground.node, "storage")
    assert [after[key] for key in ("mtu", "group", "flags")] == [before[key] for key in ("mtu", "group", "flags")]


@pytest.mark.parametrize("where", ["pod", "node"])
def test_a_vlan_link_of_ours_stays_while_anything_lies_on_it(ground: Any, where: str):
    """The kernel would delete what lies on it, such as a pod's link of another journal, or a link made by hand."""
    plan, pod = plan_on(ground, nics=("eth1",)), ground.namespace("pod")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    if where == "node":
        ground.ip(ground.node, "link", "add", "hand", "link", "eth1.100", "type", "macvlan", "mode", "bridge")
        remove_links(pod, GROUP)
    assert not remove_vlan(parents(plan)[0], node_netns=ground.node)
    assert "eth1.100" in ground.names(ground.node)
    if where == "node":
        ground.ip(ground.node, "link", "del", "hand")
    remove_links(pod, GROUP)
    assert remove_vlan(parents(plan)[0], node_netns=ground.node)


FOREIGN = {
    "down": ([], errno.ENETDOWN, "'storage', which is not ours, of id 100 on NIC 'eth1': found down, expected up"),
    "small": (["mtu", "1400", "up"], errno.ERANGE, "found MTU 1400, expected at least 1500 bytes"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_vlan_link_of_somebody_else_that_will_not_do_is_named(ground: Any, name: str):
    """It is left as it is, nothing is made, and the error says what it lacks."""
    settings, number, words = FOREIGN[name]
    plan, pod = plan_on(ground, nics=("eth1",)), ground.namespace("pod")
    ground.ip(ground.node, "link", "add", "link", "eth1", "name", "storage", "type", "vlan", "id", "100")
    if settings:
        ground.ip(ground.node, "link", "set", "storage", *settings)
    with pytest.raises(KernelError, match="VLAN link") as caught:
        apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert caught.value.errno == number
    assert words in str(caught.value)
    assert caught.value.details
    assert ground.names(pod) == set()


def test_a_vlan_link_of_ours_is_set_up_and_grows_again(ground: Any):
    """What happened to ours while no pod needed more of it is mended when one does."""
    plan, pod = plan_on(ground, nics=("eth1",)), ground.namespace("pod")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    ground.ip(ground.node, "link", "set", "eth1", "mtu", "1300")
    ground.ip(ground.node, "link", "set", "eth1", "mtu", "1500")
    ground.ip(ground.node, "link", "set", "eth1.100", "down")
    assert ground.link(ground.node, "eth1.100")["mtu"] == 1300
    apply_plan(Plan((replace(plan.links[0], ifname="net2-0"),)), pod, GROUP + 1, node_netns=ground.node)
    vlan = ground.link(ground.node, "eth1.100")
    assert (vlan["mtu"], "UP" in vlan["flags"]) == (1500, True)


def test_a_name_that_is_taken_gives_way_to_another(ground: Any):
    """A link of the node that is called as ours would be stays, and ours has a name that still tells its NIC."""
    plan, pod = plan_on(ground, nics=("eth1",)), ground.namespace("pod")
    ground.nic("eth1.100")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    (name,) = read_vlans(ground.node).values()
    assert name.startswith("eth1~")
    assert name.endswith(".100")
    assert ground.link(ground.node, "eth1.100")["linkinfo"]["info_kind"] == "veth"
    assert differences(plan, pod, node_netns=ground.node) == []


def test_a_long_nic_name_makes_a_shorter_vlan_name(ground: Any):
    """The kernel takes 15 bytes; the id is whole, and two NICs of like names have two VLAN links."""
    nics = ("enp193s0f0a", "enp193s0f0b")
    plan, pod = plan_on(ground, vlan=4094, nics=nics), ground.namespace("pod")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    names = [vlan_name(nic, 4094) for nic in nics]
    assert list(read_vlans(ground.node).values()) == names
    assert len(set(names)) == 2
    assert all(len(name) <= 15 and name.endswith(".4094") for name in names)


def test_a_nic_that_is_down_is_named(ground: Any):
    """No VLAN link can be up on it; nothing is left."""
    plan, pod = plan_on(ground, nics=("eth1",)), ground.namespace("pod")
    ground.ip(ground.node, "link", "set", "eth1", "down")
    with pytest.raises(KernelError, match="VLAN link of id 100 on NIC 'eth1'") as caught:
        apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert caught.value.errno == errno.ENETDOWN
    assert caught.value.details == "set the NIC up"
    assert ground.names(ground.node) == {"eth1"}


def test_a_nic_that_is_gone_is_named(ground: Any):
    """The error names the NIC and the id."""
    plan, pod = plan_on(ground, nics=("eth1",)), ground.namespace("pod")
    ground.ip(ground.node, "link", "del", "eth1")
    with pytest.raises(KernelError, match="VLAN link of id 100 on NIC 'eth1'") as caught:
        apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert "gone from the node" in caught.value.details


DISTURBANCES = {
    "removed": (["link", "del", "eth1.100"], "VLAN link of id 100 on NIC 'eth1' is missing"),
    "down": (["link", "set", "eth1.100", "down"], "VLAN link 'eth1.100' is down, expected up"),
}


@pytest.mark.parametrize("name", DISTURBANCES)
def test_each_disturbance_of_a_vlan_link_is_a_difference(ground: Any, name: str):
    """CHECK looks under the pod's links."""
    command, sentence = DISTURBANCES[name]
    plan, pod = plan_on(ground, nics=("eth1",)), ground.namespace("pod")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    ground.ip(ground.node, *command)
    assert sentence in differences(plan, pod, node_netns=ground.node)


def test_a_link_on_the_nic_itself_or_on_another_vlan_is_a_difference(ground: Any):
    """The right NIC is not enough."""
    plan, pod = plan_on(ground, nics=("eth1",)), ground.namespace("pod")
    for vlan in (0, 200):
        other = Plan((replace(plan.links[0], vlan=vlan),))
        apply_plan(other, pod, GROUP, node_netns=ground.node)
        found = differences(plan, pod, node_netns=ground.node)
        assert [text for text in found if "VLAN link of id 100 on NIC 'eth1' is missing" in text], found
        apply_plan(Plan((replace(plan.links[0], ifname="x"),)), pod, GROUP + 1, node_netns=ground.node)
        found = differences(Plan(plan.links), pod, node_netns=ground.node)
        assert [text for text in found if "expected VLAN 100 of NIC 'eth1', link" in text], found
        remove_links(pod, GROUP)
        remove_links(pod, GROUP + 1)
        assert remove_vlan(parents(plan)[0], node_netns=ground.node)
