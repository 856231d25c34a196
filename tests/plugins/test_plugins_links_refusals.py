"""What ipvlan and macvlan refuse: each row an input that cannot work, with field, what is found and what would do."""

from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from multinic_plugin_ipvlan import Ipvlan
from multinic_plugin_macvlan import Macvlan

from multinic_core import AttachmentRequest, ConfigError
from multinic_core.testing import example_network, example_node, example_request

PLUGINS = {"ipvlan": Ipvlan(), "macvlan": Macvlan()}


class Args(NamedTuple):
    """``spec.plugin.args`` that the operator must refuse."""

    args: dict[str, str]
    words: tuple[str, ...]


class Pod(NamedTuple):
    """An attachment that the daemon must refuse, on a node whose NICs eth1 and eth2 have an MTU of 1500."""

    block: dict[str, Any]
    words: tuple[str, ...]
    nics: tuple[str, ...] = ("eth1",)
    macs: tuple[str, ...] = ()


COMMON: dict[str, Args | Pod] = {
    "unknown argument": Args(
        {"speed": "10"}, ("spec.plugin.args.speed: unknown argument, expected one of", "'mode'", "'vlan'")
    ),
    "argument in another case": Args({"Mode": "l2"}, ("spec.plugin.args.Mode: unknown argument",)),
    "MTU no number": Args({"mtu": "jumbo"}, ("spec.plugin.args.mtu: found 'jumbo'", "valid integer")),
    "MTU below zero": Args({"mtu": "-1"}, ("spec.plugin.args.mtu: found '-1'", "greater than or equal to 0")),
    "MTU beyond 16 bits": Args(
        {"mtu": "65536"}, ("spec.plugin.args.mtu: found '65536'", "less than or equal to 65535")
    ),
    "MTU with unit": Args({"mtu": "9k"}, ("spec.plugin.args.mtu: found '9k'",)),
    "VLAN 0": Args({"vlan": "0"}, ("spec.plugin.args.vlan: found '0'", "greater than or equal to 1")),
    "VLAN beyond 12 bits": Args(
        {"vlan": "4095"}, ("spec.plugin.args.vlan: found '4095'", "less than or equal to 4094")
    ),
    "VLAN no number": Args({"vlan": "storage"}, ("spec.plugin.args.vlan: found 'storage'", "valid integer")),
    "VLAN with fraction": Args({"vlan": "1.5"}, ("spec.plugin.args.vlan: found '1.5'",)),
    "two VLANs": Args({"vlan": "100,200"}, ("spec.plugin.args.vlan: found '100,200'",)),
    "source routing neither yes nor no": Args(
        {"sourceRouting": "perhaps"}, ("spec.plugin.args.sourceRouting: found 'perhaps'", "valid boolean")
    ),
    "mode empty": Args({"mode": ""}, ("spec.plugin.args.mode: found ''",)),
    "a MAC address for the whole network": Args(
        {"mac": "02:00:5e:10:00:01"}, ("spec.plugin.args.mac: unknown argument",)
    ),
    "everything wrong at once": Args(
        {"mode": "l9", "mtu": "x", "vlan": "0", "size": "1"},
        ("args.mode: found 'l9'", "args.mtu: found 'x'", "args.vlan: found '0'", "args.size: unknown argument"),
    ),
    "netconf: mode": Pod({"mode": "l9"}, ("plugin.mode: found 'l9'",)),
    "netconf: mode no text": Pod({"mode": 3}, ("plugin.mode: found 3",)),
    "netconf: VLAN": Pod({"vlan": 4095}, ("plugin.vlan: found 4095", "less than or equal to 4094")),
    "netconf: VLAN below zero": Pod({"vlan": -5}, ("plugin.vlan: found -5",)),
    "netconf: MTU a list": Pod({"mtu": [1500]}, ("plugin.mtu: found [1500]",)),
    "MTU above the NIC's": Pod(
        {"mtu": 9000}, ("plugin.mtu: found 9000, expected 68 to 1500 bytes, the MTU of 'eth1'",)
    ),
    "MTU above the NIC's, on a VLAN": Pod({"mtu": 1501, "vlan": 7}, ("plugin.mtu: found 1501, expected 68 to 1500",)),
    "MTU too small for IPv4": Pod({"mtu": 67}, ("plugin.mtu: found 67, expected 68 to 1500 bytes",)),
    "NIC that is not there": Pod({}, ("no NIC 'eth9' on 'node-1', found ['eth1', 'eth2']",), ("eth9",)),
    "NICs that are not there": Pod({}, ("no NIC 'eth8'", "no NIC 'eth9'"), ("eth8", "eth9")),
    "one NIC of two is not there": Pod({}, ("no NIC 'eth9'",), ("eth1", "eth9")),
}
REFUSALS: dict[str, dict[str, Args | Pod]] = {
    "ipvlan": COMMON
    | {
        "mode of macvlan": Args({"mode": "bridge"}, ("spec.plugin.args.mode: found 'bridge'", "'l2', 'l3' or 'l3s'")),
        "mode in capitals": Args({"mode": "L3"}, ("spec.plugin.args.mode: found 'L3'",)),
        "unknown flag": Args(
            {"flag": "shared"}, ("spec.plugin.args.flag: found 'shared'", "'bridge', 'private' or 'vepa'")
        ),
        "flag empty": Args({"flag": ""}, ("spec.plugin.args.flag: found ''",)),
        "netconf: flag": Pod({"flag": "passthru"}, ("plugin.flag: found 'passthru'",)),
        "MAC address asked for": Pod(
            {},
            (
                "link 'net1-0': found MAC address '02:00:5e:10:00:01' asked for, expected none",
                "all ipvlan links of a NIC have its MAC address; a network of type macvlan",
            ),
            macs=("02:00:5e:10:00:01",),
        ),
    },
    "macvlan": COMMON
    | {
        "mode of ipvlan": Args(
            {"mode": "l3"}, ("spec.plugin.args.mode: found 'l3'", "'bridge', 'private', 'vepa' or 'passthru'")
        ),
        "mode of the kernel that nothing feeds": Args({"mode": "source"}, ("spec.plugin.args.mode: found 'source'",)),
        "flag, which only ipvlan has": Args({"flag": "private"}, ("spec.plugin.args.flag: unknown argument",)),
        "MAC address of the NIC": Pod(
            {},
            ("found MAC address '02:00:00:00:00:01' asked for, which is that of NIC 'eth1' itself, expected another",),
            macs=("02:00:00:00:00:01",),
        ),
        "MAC address with passthru": Pod(
            {"mode": "passthru"},
            ("found MAC address '02:00:5e:10:00:01' asked for, expected none: a link of mode passthru has",),
            macs=("02:00:5e:10:00:01",),
        ),
        "MAC addresses with passthru": Pod(
            {"mode": "passthru"},
            ("link 'net1-0': found MAC address", "link 'net1-1': found MAC address"),
            ("eth1", "eth2"),
            ("02:00:5e:10:00:01", "02:00:5e:10:00:02"),
        ),
    },
}


def with_macs(request: AttachmentRequest, macs: tuple[str, ...]) -> AttachmentRequest:
    links = tuple(replace(link, mac_address=mac) for link, mac in zip(request.links, macs, strict=True))
    return replace(request, links=links)


def ask(plugin: Ipvlan | Macvlan, row: Args | Pod) -> None:
    """Give a row to the plugin as operator or daemon does."""
    if isinstance(row, Args):
        plugin.network_config(example_network(plugin.name, row.args), [])
    else:
        request = example_request(row.block, row.nics)
        plugin.plan(with_macs(request, row.macs or ("",) * len(row.nics)), example_node(2))


@pytest.mark.parametrize(("plugin", "name"), [(plugin, name) for plugin in REFUSALS for name in REFUSALS[plugin]])
def test_what_cannot_work_is_refused_by_field(plugin: str, name: str):
    """The message names the field, what was found there and what would be accepted; of several faults, each."""
    row = REFUSALS[plugin][name]
    with pytest.raises(ConfigError) as refused:
        ask(PLUGINS[plugin], row)
    assert [words for words in row.words if words not in str(refused.value)] == [], str(refused.value)


@pytest.mark.parametrize("plugin", REFUSALS)
def test_the_table_is_long_enough_to_mean_something(plugin: str):
    """Each plugin has rows for the operator's side and for the daemon's."""
    rows = REFUSALS[plugin].values()
    assert min(sum(isinstance(row, kind) for row in rows) for kind in (Args, Pod)) >= 12


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_vlan_is_planned_on_each_nic(plugin: str):
    """The id goes into the plan as the user wrote it; without one links lie on the NICs themselves."""
    chosen = PLUGINS[plugin]
    config = chosen.network_config(example_network(plugin, {"vlan": "4094"}), [])
    assert config.plugin == {"vlan": 4094}
    on_vlan = chosen.plan(example_request(config.plugin), example_node(2)).links
    on_nics = chosen.plan(example_request({}), example_node(2)).links
    assert [(link.parent, link.parent_ifindex, link.vlan) for link in on_vlan] == [
        ("eth1", 11, 4094),
        ("eth2", 12, 4094),
    ]
    assert on_nics == tuple(replace(link, vlan=0) for link in on_vlan)


def test_macvlan_gives_each_link_the_mac_address_that_it_is_asked_for():
    """One for each link, in their order; "" leaves the choice to the kernel."""
    macs = ("02:00:5e:10:00:01", "")
    plan = PLUGINS["macvlan"].plan(with_macs(example_request({}), macs), example_node(2))
    assert [link.mac_address for link in plan.links] == list(macs)
