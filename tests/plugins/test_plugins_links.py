"""ipvlan and macvlan: arguments to kernel values, and what they refuse."""

from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest
from multinic_plugin_ipvlan import Ipvlan
from multinic_plugin_macvlan import Macvlan

from multinic_core import AddRoute, AddRule, ConfigError
from multinic_core.links import source_table
from multinic_core.testing import example_network, example_node, example_request


@pytest.mark.parametrize(
    ("plugin", "block", "attributes"),
    [
        (Ipvlan(), {}, {"IFLA_IPVLAN_MODE": 0, "IFLA_IPVLAN_FLAGS": 0}),
        (Ipvlan(), {"mode": "l3"}, {"IFLA_IPVLAN_MODE": 1, "IFLA_IPVLAN_FLAGS": 0}),
        (Ipvlan(), {"mode": "l3s", "flag": "private"}, {"IFLA_IPVLAN_MODE": 2, "IFLA_IPVLAN_FLAGS": 1}),
        (Ipvlan(), {"flag": "vepa"}, {"IFLA_IPVLAN_MODE": 0, "IFLA_IPVLAN_FLAGS": 2}),
        (Macvlan(), {}, {"IFLA_MACVLAN_MODE": 4}),
        (Macvlan(), {"mode": "private"}, {"IFLA_MACVLAN_MODE": 1}),
        (Macvlan(), {"mode": "vepa"}, {"IFLA_MACVLAN_MODE": 2}),
        (Macvlan(), {"mode": "passthru"}, {"IFLA_MACVLAN_MODE": 8}),
    ],
)
def test_mode_and_flag_become_kernel_values(plugin, block, attributes):
    """Each mode and flag is written as the kernel's number."""
    plan = plugin.plan(example_request(block), example_node(2))
    assert [dict(link.attributes) for link in plan.links] == [attributes, attributes]


@pytest.mark.parametrize("plugin", [Ipvlan(), Macvlan()])
@pytest.mark.parametrize("block", [{}, {"mtu": 0}])
def test_mtu_defaults_to_the_parents(plugin, block):
    """With no mtu, or 0 as the original wrote it, a link takes the mtu of its parent."""
    plan = plugin.plan(example_request(block), example_node(2, mtu=9000))
    assert [link.mtu for link in plan.links] == [9000, 9000]


@pytest.mark.parametrize("plugin", [Ipvlan(), Macvlan()])
def test_each_link_sits_on_its_own_parent(plugin):
    """The n-th link is a child of the n-th chosen NIC."""
    plan = plugin.plan(example_request({}), example_node(2))
    assert [(link.ifname, link.parent, link.parent_ifindex) for link in plan.links] == [
        ("net1-0", "eth1", 11),
        ("net1-1", "eth2", 12),
    ]


@pytest.mark.parametrize("plugin", [Ipvlan(), Macvlan()])
def test_mtu_above_the_parents_is_refused(plugin):
    """The refusal says what was found and what the parent carries."""
    with pytest.raises(ConfigError, match=r"plugin\.mtu: found 9000, expected 68 to 1500 bytes, the MTU of 'eth1'"):
        plugin.plan(example_request({"mtu": 9000}), example_node(2))


def test_all_bad_parents_are_named_at_once():
    """Two absent parents make two problems, so that one attempt tells everything."""
    request = replace(example_request({}, ("eth8", "eth9")))
    with pytest.raises(ConfigError) as refused:
        Ipvlan().plan(request, example_node(1))
    assert [problem.split("no NIC ")[1][:6] for problem in refused.value.problems] == ["'eth8'", "'eth9'"]


@pytest.mark.parametrize(
    ("plugin", "args", "problem"),
    [
        ("ipvlan", {"mode": "l4"}, "spec.plugin.args.mode: found 'l4'"),
        ("ipvlan", {"flag": "shared"}, "spec.plugin.args.flag: found 'shared'"),
        ("ipvlan", {"mtu": "big"}, "spec.plugin.args.mtu: found 'big'"),
        ("ipvlan", {"mtu": "-1"}, "spec.plugin.args.mtu: found '-1'"),
        ("ipvlan", {"Mode": "l3"}, "spec.plugin.args.Mode: unknown argument, expected one of ['flag', 'master'"),
        ("macvlan", {"mode": "l3"}, "spec.plugin.args.mode: found 'l3'"),
        ("macvlan", {"flag": "bridge"}, "spec.plugin.args.flag: unknown argument"),
        ("macvlan", {"mtu": "70000"}, "spec.plugin.args.mtu: found '70000'"),
    ],
)
def test_bad_arguments_are_named_by_path(plugin, args, problem):
    """A refused argument is named with its field path and what was found."""
    plugins = {"ipvlan": Ipvlan(), "macvlan": Macvlan()}
    with pytest.raises(ConfigError) as refused:
        plugins[plugin].network_config(example_network(plugin, args), [])
    assert problem in str(refused.value)


def test_only_what_the_user_wrote_reaches_the_netconf():
    """Defaults are not written into the attachment definition; numbers become JSON numbers."""
    config = Ipvlan().network_config(example_network("ipvlan", {"mode": "l3", "mtu": "1400"}), [])
    assert config.plugin == {"mode": "l3", "mtu": 1400}


@pytest.mark.parametrize(
    ("plugin", "block", "names"),
    [
        (Macvlan(), {}, {"rp_filter": "2", "arp_announce": "2", "arp_ignore": "1"}),
        (Ipvlan(), {}, {"rp_filter": "2", "arp_announce": "2", "arp_ignore": "1"}),
        (Ipvlan(), {"mode": "l3"}, {"rp_filter": "2"}),
        (Ipvlan(), {"mode": "l3s"}, {"rp_filter": "2"}),
    ],
)
def test_each_of_several_links_has_settings_for_many_nics(plugin, block, names):
    """Loose reverse-path filtering, and ARP for the link's own addresses where the link speaks ARP."""
    plan = plugin.plan(example_request(block), example_node(2))
    for ifname in ("net1-0", "net1-1"):
        assert {step.name: step.value for step in plan.sysctls if step.ifname == ifname} == names


@pytest.mark.parametrize("plugin", [Ipvlan(), Macvlan()])
def test_one_link_keeps_the_kernels_settings(plugin):
    """With one link there is nothing to tell apart, and nothing to pay for."""
    plan = plugin.plan(example_request({}, ("eth1",)), example_node(1))
    assert plan.sysctls == plan.rules == plan.routes == ()


@pytest.mark.parametrize("plugin", [Ipvlan(), Macvlan()])
def test_source_routing_gives_each_link_a_table_and_each_address_a_rule(plugin):
    """The table holds the link's network once for each family; the rules look it up just before the main table."""
    request = example_request({"sourceRouting": True})
    addresses = [("10.0.0.7/24", "10.0.0.8/24", "fd00::7/64"), ("10.0.0.9/24",)]
    links = tuple(
        replace(link, addresses=tuple(map(ip_interface, each)))
        for link, each in zip(request.links, addresses, strict=True)
    )
    plan = plugin.plan(replace(request, links=links), example_node(2))
    assert plan.routes == (
        AddRoute(ip_network("10.0.0.0/24"), "net1-0", table=1100),
        AddRoute(ip_network("fd00::/64"), "net1-0", table=1100),
        AddRoute(ip_network("10.0.0.0/24"), "net1-1", table=1101),
    )
    assert plan.rules == (
        AddRule(ip_network("10.0.0.7/32"), 1100, 32765),
        AddRule(ip_network("10.0.0.8/32"), 1100, 32765),
        AddRule(ip_network("fd00::7/128"), 1100, 32765),
        AddRule(ip_network("10.0.0.9/32"), 1101, 32765),
    )


@pytest.mark.parametrize(
    ("ifname", "position", "table"),
    [("net1", 0, 1100), ("net1", 15, 1115), ("net2", 0, 1200), ("eth", 3, 1003), ("n99999999999999", 99, 1000000999)],
)
def test_tables_are_told_apart_by_the_interfaces_number(ifname, position, table):
    """Two interfaces of one pod share no table, and no name makes a table id that the kernel cannot hold."""
    assert source_table(ifname, position) == table < 2**32


@pytest.mark.parametrize("plugin", [Ipvlan(), Macvlan()])
def test_source_routing_is_written_as_json_boolean(plugin):
    """The string that users write reaches the netconf under its own name; another word is refused by path."""
    config = plugin.network_config(example_network(plugin.name, {"sourceRouting": "true"}), [])
    assert config.plugin == {"sourceRouting": True}
    with pytest.raises(ConfigError, match=r"spec\.plugin\.args\.sourceRouting: found 'perhaps'"):
        plugin.network_config(example_network(plugin.name, {"sourceRouting": "perhaps"}), [])
