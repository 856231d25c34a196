"""ipvlan and macvlan: arguments to kernel values, and what they refuse."""

from dataclasses import replace

import pytest
from multinic_plugin_ipvlan import Ipvlan
from multinic_plugin_macvlan import Macvlan

from multinic_core import ConfigError
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
