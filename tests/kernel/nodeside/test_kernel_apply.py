"""What apply_plan, remove_links and differences do to a real kernel, as ``ip`` sees it."""

import errno
import re
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from multinic_daemon.podlinks.apply import apply_plan, differences, observe, remove_links
from multinic_daemon.podlinks.make import FIRST_INDEX, MOST_LINKS

from multinic_core import AddAddress, AddRoute, ConfigError, CreateLink, KernelError, Plan
from multinic_core.errors import ContainerGoneError

GROUP = 0x5A0001
MACVLAN_BRIDGE = {"IFLA_MACVLAN_MODE": 4}

macvlan = pytest.mark.link_kind("veth", "macvlan")
ipvlan = pytest.mark.link_kind("veth", "ipvlan")
pytestmark = pytest.mark.needs_root


def macvlan_plan(ground: Any, count: int = 2) -> Plan:
    """A macvlan link on each of ``count`` new NICs, with an IPv4 and an IPv6 address, and a route over the first."""
    steps: list[Any] = []
    for i in range(count):
        ifindex = ground.nic(f"eth{i + 1}")
        steps += [
            CreateLink(f"net1-{i}", "macvlan", f"eth{i + 1}", ifindex, 1400, MACVLAN_BRIDGE),
            AddAddress(f"net1-{i}", ip_interface(f"192.168.{i}.7/24")),
            AddAddress(f"net1-{i}", ip_interface(f"fd00:{i}::7/64")),
        ]
    steps.append(AddRoute(ip_network("172.16.0.0/12"), "net1-0", ip_address("192.168.0.1")))
    return Plan(tuple(steps))


@macvlan
def test_a_plan_becomes_links_addresses_and_routes_inside_the_pod(ground: Any):
    """Everything in the plan is there and usable, the answer tells what the kernel chose, and the node gets no link."""
    plan, pod = macvlan_plan(ground), ground.namespace("pod")
    before = ground.names(ground.node)
    made = apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert [link.ifname for link in made] == ["net1-0", "net1-1"]
    for link in made:
        shown = ground.link(pod, link.ifname)
        assert (shown["ifindex"], shown["address"], shown["mtu"]) == (link.ifindex, link.mac_address, 1400)
        assert shown["linkinfo"]["info_kind"] == "macvlan"
        assert shown["linkinfo"]["info_data"]["mode"] == "bridge"
        assert shown["group"] == str(GROUP)
        assert "UP" in shown["flags"]
    (shown,) = ground.ip(pod, "address", "show", "net1-1")
    found = {
        (a["local"], a["prefixlen"], a.get("tentative", False)) for a in shown["addr_info"] if a["scope"] == "global"
    }
    assert found == {("192.168.1.7", 24, False), ("fd00:1::7", 64, False)}
    (route,) = ground.ip(pod, "route", "show", "172.16.0.0/12")
    assert (route["gateway"], route["dev"]) == ("192.168.0.1", "net1-0")
    assert ground.names(ground.node) == before


@macvlan
def test_apply_then_no_difference_then_remove_leaves_nothing(ground: Any):
    """The difference after apply is empty, removal counts the links, and removal repeated finds none."""
    plan, pod = macvlan_plan(ground, 3), ground.namespace("pod")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert differences(plan, pod, node_netns=ground.node) == []
    assert {link.ifname for link in observe(pod).group_of(GROUP)} == {"net1-0", "net1-1", "net1-2"}
    assert remove_links(pod, GROUP)
    assert ground.names(pod) == set()
    assert not remove_links(pod, GROUP)


@macvlan
def test_removal_finds_renamed_links_and_spares_other_groups(ground: Any):
    """The group is what counts: a link renamed in the pod goes, another attachment's link stays."""
    first, pod = macvlan_plan(ground), ground.namespace("pod")
    link = first.links[0]
    second = Plan((replace(link, ifname="net2-0"),))
    apply_plan(first, pod, GROUP, node_netns=ground.node)
    apply_plan(second, pod, GROUP + 1, node_netns=ground.node)
    ground.ip(pod, "link", "set", "net1-0", "down")
    ground.ip(pod, "link", "set", "net1-0", "name", "renamed")
    assert remove_links(pod, GROUP)
    assert ground.names(pod) == {"net2-0"}


def test_removal_from_a_namespace_that_is_gone_is_no_error(ground: Any):
    """DEL comes with a vanished namespace, and with none."""
    pod = ground.namespace("pod")
    ground.remove(pod)
    assert not remove_links(pod, GROUP)
    assert not remove_links("", GROUP)


@macvlan
def test_applying_to_a_namespace_that_is_gone_says_so(ground: Any, tmp_path: Any):
    """A vanished path, an empty one and a file that is no namespace all mean that the container is gone."""
    plan = macvlan_plan(ground)
    (tmp_path / "plain").touch()
    for path in ("/run/netns/mnk-never", "", str(tmp_path / "plain")):
        with pytest.raises(ContainerGoneError):
            apply_plan(plan, path, GROUP, node_netns=ground.node)


@macvlan
def test_a_taken_name_is_named_and_nothing_is_made(ground: Any):
    """An interface of that name in the pod stops the whole plan."""
    plan, pod = macvlan_plan(ground), ground.namespace("pod")
    ground.ip(pod, "link", "add", "net1-1", "type", "veth", "peer", "name", "other")
    with pytest.raises(ConfigError, match="'net1-1'"):
        apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert ground.names(pod) == {"net1-1", "other"}


@macvlan
def test_a_taken_index_is_no_obstacle(ground: Any):
    """A link of the pod that has the index meant for one of ours stays, and ours get others."""
    plan, pod = macvlan_plan(ground, 3), ground.namespace("pod")
    wanted = FIRST_INDEX + GROUP % 65536 * MOST_LINKS + 1
    ground.ip(pod, "link", "add", "other", "index", str(wanted), "type", "veth", "peer", "name", "another")
    made = apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert [ground.link(pod, link.ifname)["ifindex"] for link in made] == [link.ifindex for link in made]
    assert ground.names(pod) == {"net1-0", "net1-1", "net1-2", "other", "another"}
    assert ground.link(pod, "other")["ifindex"] == wanted
    assert differences(plan, pod, node_netns=ground.node) == []


@macvlan
def test_an_index_of_the_node_is_no_obstacle(ground: Any):
    """Kernels before 6.15 look for the index on the node, where it may be taken."""
    plan, pod = macvlan_plan(ground), ground.namespace("pod")
    wanted = FIRST_INDEX + GROUP % 65536 * MOST_LINKS
    ground.ip(ground.node, "link", "add", "other", "index", str(wanted), "type", "veth", "peer", "name", "another")
    made = apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert [ground.link(pod, link.ifname)["ifindex"] for link in made] == [link.ifindex for link in made]
    assert differences(plan, pod, node_netns=ground.node) == []


@macvlan
def test_more_links_than_have_indexes_of_their_own_are_made_too(ground: Any):
    """Those of a very wide attachment are the kernel's to number."""
    pod, ifindex = ground.namespace("pod"), ground.nic("eth1")
    names = [f"net1-{number}" for number in range(MOST_LINKS + 1)]
    plan = Plan(tuple(CreateLink(name, "macvlan", "eth1", ifindex, 1500, MACVLAN_BRIDGE) for name in names))
    made = apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert [link.ifname for link in made] == names
    assert differences(plan, pod, node_netns=ground.node) == []


@macvlan
def test_a_link_of_the_kernels_mtu_is_answered_with_it(ground: Any):
    """What the plan leaves to the kernel is read from it."""
    pod = ground.namespace("pod")
    plan = Plan((CreateLink("net1-0", "macvlan", "eth1", ground.nic("eth1"), 0, MACVLAN_BRIDGE),))
    (made,) = apply_plan(plan, pod, GROUP, node_netns=ground.node)
    shown = ground.link(pod, "net1-0")
    assert (made.mtu, made.mac_address) == (shown["mtu"], shown["address"])


@macvlan
def test_a_passthru_link_is_answered_with_its_parents_mac_address(ground: Any):
    """It has none of its own."""
    pod = ground.namespace("pod")
    plan = Plan((CreateLink("net1-0", "macvlan", "eth1", ground.nic("eth1"), 1500, {"IFLA_MACVLAN_MODE": 8}),))
    (made,) = apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert made.mac_address == ground.link(ground.node, "eth1")["address"] == ground.link(pod, "net1-0")["address"]


@macvlan
def test_a_name_that_only_the_node_has_is_free(ground: Any):
    """A link of the node called as one of the pod's does no harm, also on kernels that look for it there."""
    plan, pod = macvlan_plan(ground), ground.namespace("pod")
    ground.nic("net1-1")
    made = apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert [link.ifname for link in made] == ["net1-0", "net1-1"]
    assert ground.names(pod) == {"net1-0", "net1-1"}
    assert differences(plan, pod, node_netns=ground.node) == []


@ipvlan
def test_a_name_that_only_the_node_has_is_free_for_ipvlan_too(ground: Any):
    """The same on the kernel that runs the ipvlan tests."""
    pod = ground.namespace("pod")
    plan = Plan((CreateLink("net1-0", "ipvlan", "eth1", ground.nic("eth1"), 1500),))
    ground.nic("net1-0")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert ground.names(pod) == {"net1-0"}
    assert differences(plan, pod, node_netns=ground.node) == []


@macvlan
def test_a_vanished_nic_undoes_the_links_before_it(ground: Any):
    """When the second NIC is gone, the first link goes too, and the error names link, NIC and way out."""
    plan, pod = macvlan_plan(ground), ground.namespace("pod")
    ground.ip(ground.node, "link", "del", "eth2")
    with pytest.raises(KernelError, match="'net1-1' on NIC 'eth2'") as caught:
        apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert caught.value.errno in (errno.ENODEV, errno.EINVAL)
    assert caught.value.details
    assert ground.names(pod) == set()


@macvlan
def test_a_refused_address_undoes_every_link(ground: Any):
    """All or nothing holds in the second conversation as well."""
    plan, pod = macvlan_plan(ground), ground.namespace("pod")
    wrong = Plan((*plan.steps, AddRoute(ip_network("10.9.0.0/16"), "net1-1", ip_address("10.8.0.1"))))
    with pytest.raises(KernelError, match=r"route 10\.9\.0\.0/16 via 10\.8\.0\.1 of link 'net1-1' on NIC 'eth2'"):
        apply_plan(wrong, pod, GROUP, node_netns=ground.node)
    assert ground.names(pod) == set()


@macvlan
def test_a_group_in_use_is_refused_without_touching_its_links(ground: Any):
    """A second plan under the first one's group must not take the first one's links down with it."""
    plan, pod = macvlan_plan(ground), ground.namespace("pod")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    other = Plan((replace(plan.links[0], ifname="net2-0"),))
    with pytest.raises(KernelError, match="in use"):
        apply_plan(other, pod, GROUP, node_netns=ground.node)
    assert ground.names(pod) == {"net1-0", "net1-1"}


@macvlan
def test_an_attribute_the_kind_lacks_is_refused_by_name(ground: Any):
    """A misspelt attribute does not reach the kernel."""
    pod = ground.namespace("pod")
    plan = Plan((CreateLink("net1-0", "macvlan", "eth1", ground.nic("eth1"), 1500, {"IFLA_MACVLAN_MOOD": 1}),))
    with pytest.raises(ConfigError, match="IFLA_MACVLAN_MOOD"):
        apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert ground.names(pod) == set()


@macvlan
def test_a_planned_mac_address_is_given(ground: Any):
    """The pod's link has the MAC address of the plan."""
    pod = ground.namespace("pod")
    step = CreateLink("net1-0", "macvlan", "eth1", ground.nic("eth1"), 1500, MACVLAN_BRIDGE, "02:00:5E:00:00:01")
    (made,) = apply_plan(Plan((step,)), pod, GROUP, node_netns=ground.node)
    assert made.mac_address == ground.link(pod, "net1-0")["address"] == "02:00:5e:00:00:01"
    assert differences(Plan((step,)), pod, node_netns=ground.node) == []


DISTURBANCES = {
    "address": (["address", "del", "192.168.0.7/24", "dev", "net1-0"], r"lacks the address 192\.168\.0\.7/24"),
    "route": (["route", "del", "172.16.0.0/12"], r"route 172\.16\.0\.0/12 via 192\.168\.0\.1 .* is missing"),
    "down": (["link", "set", "net1-1", "down"], "'net1-1' is down, expected up"),
    "mtu": (["link", "set", "net1-1", "mtu", "1300"], "'net1-1' has mtu 1300, expected 1400"),
    "mode": (["link", "set", "net1-1", "type", "macvlan", "mode", "private"], "IFLA_MACVLAN_MODE 1, expected 4"),
    "missing": (["link", "del", "net1-1"], "'net1-1' is missing"),
}


@macvlan
@pytest.mark.parametrize("name", DISTURBANCES)
def test_each_disturbance_is_a_difference(ground: Any, name: str):
    """CHECK can fail: every aspect of the plan, disturbed by hand, is named in one sentence."""
    command, sentence = DISTURBANCES[name]
    plan, pod = macvlan_plan(ground), ground.namespace("pod")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    ground.ip(pod, *command)
    found = differences(plan, pod, node_netns=ground.node)
    assert [text for text in found if re.search(sentence, text)], found


@macvlan
def test_a_link_on_another_nic_is_a_difference(ground: Any):
    """A link of the right name, kind and settings on the wrong parent is not the one planned."""
    pod = ground.namespace("pod")
    step = CreateLink("net1-0", "macvlan", "eth1", ground.nic("eth1"), 1500, MACVLAN_BRIDGE)
    other = replace(step, parent="eth2", parent_ifindex=ground.nic("eth2"))
    apply_plan(Plan((other,)), pod, GROUP, node_netns=ground.node)
    (difference,) = differences(Plan((step,)), pod, node_netns=ground.node)
    assert "expected NIC 'eth1'" in difference


@ipvlan
@pytest.mark.parametrize(("mode", "shown"), [(0, "l2"), (1, "l3"), (2, "l3s")])
@pytest.mark.parametrize(("flag", "word"), [(0, "bridge"), (1, "private"), (2, "vepa")])
def test_ipvlan_takes_every_mode_and_flag(ground: Any, mode: int, shown: str, flag: int, word: str):
    """ipvlan links carry mode and flag, share the parent's MAC address, and come off as one group."""
    pod = ground.namespace("pod")
    attributes = {"IFLA_IPVLAN_MODE": mode, "IFLA_IPVLAN_FLAGS": flag}
    steps: list[Any] = []
    for i in range(2):
        ifindex = ground.nic(f"eth{i + 1}")
        steps.append(CreateLink(f"net1-{i}", "ipvlan", f"eth{i + 1}", ifindex, 1500, attributes))
        steps.append(AddAddress(f"net1-{i}", ip_interface(f"192.168.{i}.7/24")))
    plan = Plan(tuple(steps))
    made = apply_plan(plan, pod, GROUP, node_netns=ground.node)
    info = ground.link(pod, "net1-1")["linkinfo"]
    assert info == {"info_kind": "ipvlan", "info_data": {"mode": shown, word: True}}
    assert made[1].mac_address == ground.link(ground.node, "eth2")["address"]
    assert differences(plan, pod, node_netns=ground.node) == []
    changed = Plan(tuple(replace(s, attributes={**attributes, "IFLA_IPVLAN_MODE": 1 - mode // 2}) for s in plan.links))
    assert (differences(changed, pod, node_netns=ground.node) == []) == (mode == 1 - mode // 2)
    assert remove_links(pod, GROUP)
    assert ground.names(pod) == set()


@ipvlan
def test_a_nic_used_by_another_kind_names_the_way_out(ground: Any):
    """ipvlan on a NIC that has macvlan links is refused; the error says that the two cannot share."""
    pod = ground.namespace("pod")
    ifindex = ground.nic("eth1")
    apply_plan(
        Plan((CreateLink("a", "macvlan", "eth1", ifindex, 1500, MACVLAN_BRIDGE),)), pod, GROUP, node_netns=ground.node
    )
    with pytest.raises(KernelError, match="'net1-0' on NIC 'eth1'") as caught:
        apply_plan(
            Plan((CreateLink("net1-0", "ipvlan", "eth1", ifindex, 1500),)), pod, GROUP + 1, node_netns=ground.node
        )
    assert caught.value.errno == errno.EBUSY
    assert "cannot share" in caught.value.details
