"""Settings, tables and rules of a pod with several links: made, compared and removed on a real kernel."""

import re
import subprocess
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from multinic_daemon.podlinks.apply import apply_plan, differences, remove_links
from multinic_plugin_ipvlan import Ipvlan
from multinic_plugin_macvlan import Macvlan

from multinic_core import AddRoute, ConfigError, KernelError, MainPlugin, Plan, SetSysctl
from multinic_core.plan import AttachmentRequest, LinkRequest, Nic, NodeView, PodReference

GROUP = 0x5A0002
MACVLAN = Macvlan()

pytestmark = pytest.mark.needs_root
macvlan = pytest.mark.link_kind("veth", "macvlan")
ipvlan = pytest.mark.link_kind("veth", "ipvlan")


def plan_of(
    ground: Any, count: int = 2, *, ifname: str = "net1", first: int = 7, plugin: MainPlugin = MACVLAN, mode: str = ""
) -> Plan:
    """What the plugin plans for a pod on NICs ``eth1`` and on, all in one network, with source routing."""
    there = ground.names(ground.node)
    nics = [f"eth{i + 1}" for i in range(count)]
    node = NodeView(
        "node-1",
        {
            nic: Nic(nic, ground.link(ground.node, nic)["ifindex"] if nic in there else ground.nic(nic), 1500)
            for nic in nics
        },
    )
    links = tuple(
        LinkRequest(
            f"{ifname}-{i}", nic, (ip_interface(f"10.0.0.{first + i}/24"), ip_interface(f"fd00::{first + i}/64"))
        )
        for i, nic in enumerate(nics)
    )
    config = {"type": plugin.name, "sourceRouting": True, **({"mode": mode} if mode else {})}
    request = AttachmentRequest("c1", ifname, "/unused", "net-a", PodReference(), config, links)
    return plugin.plan(request, node)


def read(pod: str, key: str) -> str:
    """A setting as a process in the pod reads it."""
    return run(pod, f"cat /proc/sys/{key}").strip()


def run(pod: str, command: str) -> str:
    return subprocess.run(
        ["nsenter", f"--net={pod}", "sh", "-c", command], capture_output=True, text=True, timeout=60, check=True
    ).stdout


def rules(ground: Any, pod: str) -> list[tuple[str, str]]:
    shown = [*ground.ip(pod, "rule", "show"), *ground.ip(pod, "-6", "rule", "show")]
    return [(rule["src"], rule["table"]) for rule in shown if rule["src"] != "all"]


@macvlan
def test_settings_tables_and_rules_are_in_the_pod_and_only_there(ground: Any):
    """Each link has its settings, its table and its rules; the pod's other links and the node keep theirs."""
    plan, pod = plan_of(ground), ground.namespace("pod")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    for ifname in ("net1-0", "net1-1"):
        found = [read(pod, f"net/ipv4/conf/{ifname}/{name}") for name in ("rp_filter", "arp_ignore", "arp_announce")]
        assert found == ["2", "1", "2"]
    assert read(pod, "net/ipv4/conf/lo/arp_ignore") == read(ground.node, "net/ipv4/conf/eth1/arp_ignore") == "0"
    assert rules(ground, pod) == [("10.0.0.7", "1100"), ("10.0.0.8", "1101"), ("fd00::7", "1100"), ("fd00::8", "1101")]
    for source, ifname in (("10.0.0.7", "net1-0"), ("10.0.0.8", "net1-1"), ("fd00::8", "net1-1")):
        to = "fd00::99" if ":" in source else "10.0.0.99"
        assert ground.ip(pod, "route", "get", to, "from", source)[0]["dev"] == ifname
    assert differences(plan, pod, node_netns=ground.node) == []


@macvlan
def test_one_link_has_the_settings_it_was_born_with(ground: Any):
    """No setting is touched where there is nothing to tell apart."""
    plan, pod = plan_of(ground, 1), ground.namespace("pod")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    for name in ("rp_filter", "arp_ignore", "arp_announce"):
        key = f"net/ipv4/conf/{{}}/{name}"
        assert read(pod, key.format("net1-0")) == read(pod, key.format("default"))


@macvlan
def test_removal_takes_its_own_rules_and_no_others(ground: Any):
    """Another attachment's rules stay, and a foreign one; removal repeated, also with links gone, finds nothing."""
    first, second, pod = plan_of(ground), plan_of(ground, ifname="net2", first=17), ground.namespace("pod")
    apply_plan(first, pod, GROUP, node_netns=ground.node)
    apply_plan(second, pod, GROUP + 1, node_netns=ground.node)
    ground.ip(pod, "rule", "add", "from", "10.0.0.7", "lookup", "7")
    assert remove_links(pod, GROUP, first.rules)
    assert differences(second, pod, node_netns=ground.node) == []
    assert rules(ground, pod)[:1] == [("10.0.0.7", "7")]
    assert len(rules(ground, pod)) == 1 + 4
    ground.ip(pod, "link", "del", "net2-0")
    ground.ip(pod, "link", "del", "net2-1")
    assert not remove_links(pod, GROUP + 1, second.rules)
    assert rules(ground, pod) == [("10.0.0.7", "7")]
    assert not remove_links(pod, GROUP + 1, second.rules)


@macvlan
def test_a_refused_step_undoes_the_rules_too(ground: Any):
    """All or nothing holds for what does not go with its link; the next attempt then succeeds."""
    plan, pod = plan_of(ground), ground.namespace("pod")
    wrong = Plan((*plan.steps, AddRoute(ip_network("10.9.0.0/16"), "net1-1", ip_address("10.8.0.1"))))
    with pytest.raises(KernelError, match=r"route 10\.9\.0\.0/16"):
        apply_plan(wrong, pod, GROUP, node_netns=ground.node)
    assert rules(ground, pod) == []
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert differences(plan, pod, node_netns=ground.node) == []


@macvlan
def test_a_rule_that_was_left_behind_is_taken_as_it_is(ground: Any):
    """Links that vanished with their record leave their rules; a new attachment of the same address gets in."""
    plan, pod = plan_of(ground), ground.namespace("pod")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    remove_links(pod, GROUP)
    assert len(rules(ground, pod)) == 4
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert differences(plan, pod, node_netns=ground.node) == []


@macvlan
@pytest.mark.parametrize(
    ("step", "words"),
    [
        (SetSysctl("net/ipv4/conf/net1-0/forwarding", "1"), "'net/ipv4/conf/net1-0/forwarding' is unknown"),
        (SetSysctl("net/ipv4/conf/net1-0/rp_filter", "loose"), "found 'loose', expected a whole number"),
        (SetSysctl("kernel/core_pattern", "1"), "is unknown, expected one of"),
    ],
)
def test_a_setting_that_links_do_not_have_is_refused(ground: Any, step: SetSysctl, words: str):
    """Nothing but the settings that are known to belong to one link is ever written."""
    plan, pod = plan_of(ground), ground.namespace("pod")
    with pytest.raises(ConfigError, match=re.escape(words)):
        apply_plan(Plan((*plan.steps, step)), pod, GROUP, node_netns=ground.node)
    assert ground.names(pod) == set()


@ipvlan
@pytest.mark.parametrize(("mode", "arp"), [("l2", "1"), ("l3", "0")])
def test_ipvlan_links_have_the_settings_of_their_mode(ground: Any, mode: str, arp: str):
    """ARP is set where the mode speaks it; tables and rules are as with any other link."""
    plan, pod = plan_of(ground, plugin=Ipvlan(), mode=mode), ground.namespace("pod")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    assert differences(plan, pod, node_netns=ground.node) == []
    found = [read(pod, f"net/ipv4/conf/net1-1/{name}") for name in ("rp_filter", "arp_ignore")]
    assert found == ["2", arp]
    assert len(rules(ground, pod)) == 4
    assert remove_links(pod, GROUP, plan.rules)
    assert rules(ground, pod) == []


MUTILATIONS = {
    "rule": ("ip rule del from 10.0.0.8 lookup 1101", "rule from 10.0.0.8/32 lookup 1101 with priority 32765"),
    "rule to elsewhere": (
        "ip rule del from 10.0.0.7 && ip rule add from 10.0.0.7 lookup 1101 priority 32765 protocol 109",
        "rule from 10.0.0.7/32 lookup 1100",
    ),
    "ipv6 rule": ("ip -6 rule del from fd00::7", "rule from fd00::7/128 lookup 1100"),
    "route": ("ip route flush table 1101", "route 10.0.0.0/24 on link 'net1-1' in table 1101 is missing"),
    "rp_filter": ("echo 1 > /proc/sys/net/ipv4/conf/net1-1/rp_filter", "'net1-1' has rp_filter 1, expected 2"),
    "arp_ignore": ("echo 0 > /proc/sys/net/ipv4/conf/net1-0/arp_ignore", "'net1-0' has arp_ignore 0, expected 1"),
    "arp_announce": ("echo 0 > /proc/sys/net/ipv4/conf/net1-0/arp_announce", "'net1-0' has arp_announce 0, expected 2"),
}


@macvlan
@pytest.mark.parametrize("name", MUTILATIONS)
def test_each_mutilation_is_named_and_nothing_else(ground: Any, name: str):
    """CHECK says in one sentence which rule, table or setting is not as recorded."""
    command, words = MUTILATIONS[name]
    plan, pod = plan_of(ground), ground.namespace("pod")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    run(pod, command)
    (found,) = differences(plan, pod, node_netns=ground.node)
    assert words in found


@macvlan
def test_rows_without_settings_ask_for_none(ground: Any):
    """A plan of an older daemon, without settings and rules, agrees with a pod that has or lacks them."""
    plan, pod = plan_of(ground), ground.namespace("pod")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    old = Plan((*plan.links, *plan.addresses))
    run(pod, "echo 0 > /proc/sys/net/ipv4/conf/net1-0/rp_filter")
    assert differences(old, pod, node_netns=ground.node) == []
