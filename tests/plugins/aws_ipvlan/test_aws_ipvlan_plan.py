"""What aws-ipvlan plans, and what it refuses: with field, what is found and what would do."""

from dataclasses import replace
from ipaddress import ip_interface
from typing import Any, NamedTuple

import pytest
from multinic_plugin_aws_ipvlan import AwsIpvlan

from multinic_core import AttachmentRequest, ConfigError
from multinic_core.outside import Act
from multinic_core.plan import CreateLink
from multinic_core.testing import example_network, example_node, example_request

PLUGIN = AwsIpvlan()


def block(args: dict[str, str] | None = None) -> dict[str, Any]:
    """The ``plugin`` block that these arguments become."""
    return dict(PLUGIN.network_config(example_network("aws-ipvlan", args, subnet=""), []).plugin)


def request(config: dict[str, Any], *addresses: str, nic: str = "eth1", mac: str = "") -> AttachmentRequest:
    """An attachment of one link."""
    made = example_request(config, (nic,))
    link = replace(made.links[0], addresses=tuple(map(ip_interface, addresses)), mac_address=mac)
    return replace(made, links=(link,))


def test_each_link_has_an_action_with_all_that_undoing_needs() -> None:
    """The NIC's own address and MAC address by which EC2 knows it, the pod's address and the region."""
    config = block({"mode": "l3", "mtu": "1400", "region": "us-gov-west-1"})
    plan = PLUGIN.plan(example_request(config), example_node())
    wanted = [
        {"nic": nic, "mac": mac, "primary": primary, "address": address, "region": "us-gov-west-1"}
        for nic, mac, primary, address in (
            ("eth1", "02:00:00:00:00:01", "10.0.1.1", "192.168.0.1"),
            ("eth2", "02:00:00:00:00:02", "10.0.2.1", "192.168.1.1"),
        )
    ]
    assert plan.actions == tuple(
        Act("aws-private-address", arguments, f"net1-{number}") for number, arguments in enumerate(wanted)
    )
    attributes = {"IFLA_IPVLAN_MODE": 1, "IFLA_IPVLAN_FLAGS": 0}
    assert plan.links[0] == CreateLink("net1-0", "ipvlan", "eth1", 11, 1400, attributes)


def test_first_ipv4_address_of_the_nic_counts() -> None:
    """EC2 is asked by it, whatever else the NIC has."""
    node = example_node(1)
    found = tuple(map(ip_interface, ("fd00::1/64", "10.0.1.10/24", "10.0.1.11/24")))
    node = replace(node, nics={"eth1": replace(node.nics["eth1"], addresses=found)})
    (act,) = PLUGIN.plan(request({}, "10.0.1.40/24"), node).actions
    assert (act.arguments["primary"], act.arguments["region"]) == ("10.0.1.10", "")


def test_link_without_an_address_needs_nothing_of_ec2() -> None:
    """A network without an IPAM."""
    plan = PLUGIN.plan(request({}), example_node())
    assert (len(plan.links), plan.actions) == (1, ())


@pytest.mark.parametrize(
    "old",
    [
        {"primaryIP": None, "podIP": "", "master": "", "mode": "l2", "mtu": 0},
        {"primaryIP": {"eth1": "10.0.1.9"}, "podIP": "10.0.1.8", "master": "eth9", "mode": "l2", "mtu": 1500},
        {"primaryIP": "10.0.1.9"},
        {"cniVersion": "0.3.0", "type": "aws-ipvlan", "ipam": {}, "dns": {}},
    ],
)
def test_definitions_of_the_original_are_served(old: dict[str, Any]) -> None:
    """What they say of addresses and NICs is passed over: the daemon knows better."""
    (act,) = PLUGIN.plan(request(old, "10.0.1.40/24"), example_node()).actions
    assert (act.arguments["primary"], act.arguments["address"]) == ("10.0.1.1", "10.0.1.40")


def test_arguments_of_old_manifests_are_accepted() -> None:
    """primaryIP was JSON in a text."""
    assert block({"primaryIP": '{"eth1": "10.0.1.9"}', "podIP": "10.0.1.8", "master": "eth1", "mode": "l2"})


def test_another_ipam_may_have_a_subnet_written() -> None:
    """Then it is a word about the network, and no block is cut from it."""
    network = example_network("aws-ipvlan", subnet="10.0.1.0/24", multi_nic_ipam=False)
    assert PLUGIN.network_config(network, []).plugin == {}


class Args(NamedTuple):
    """``spec.plugin.args`` that the operator must refuse."""

    args: dict[str, str]
    words: tuple[str, ...]


class Pod(NamedTuple):
    """An attachment that the daemon must refuse, on NICs eth1 with 10.0.1.1/24 and eth6 with fd00::1/64 alone."""

    request: AttachmentRequest
    words: tuple[str, ...]


REFUSALS: dict[str, Args | Pod] = {
    "unknown argument": Args({"speed": "10"}, ("spec.plugin.args.speed: unknown argument", "'region'")),
    "argument in another case": Args({"podip": "10.0.1.8"}, ("spec.plugin.args.podip: unknown argument", "'podIP'")),
    "VLAN, which a VPC has none of": Args({"vlan": "100"}, ("spec.plugin.args.vlan: unknown argument",)),
    "endpoint, which is the daemon's": Args({"endpoint": "http://x"}, ("spec.plugin.args.endpoint: unknown argument",)),
    "mode of macvlan": Args({"mode": "bridge"}, ("spec.plugin.args.mode: found 'bridge'", "'l2', 'l3' or 'l3s'")),
    "mode empty": Args({"mode": ""}, ("spec.plugin.args.mode: found ''",)),
    "MTU no number": Args({"mtu": "jumbo"}, ("spec.plugin.args.mtu: found 'jumbo'", "valid integer")),
    "MTU below zero": Args({"mtu": "-1"}, ("spec.plugin.args.mtu: found '-1'",)),
    "MTU beyond 16 bits": Args({"mtu": "65536"}, ("less than or equal to 65535",)),
    "zone for a region": Args(
        {"region": "eu-central-1a"}, ("spec.plugin.args.region: found 'eu-central-1a'", "such as 'eu-central-1'")
    ),
    "URL for a region": Args({"region": "https://ec2"}, ("expected an AWS region such as 'eu-central-1'",)),
    "region empty": Args({"region": ""}, ("spec.plugin.args.region: found ''",)),
    "source routing neither yes nor no": Args({"sourceRouting": "perhaps"}, ("valid boolean",)),
    "everything at once": Args(
        {"mode": "l9", "mtu": "x", "region": "1", "size": "1"},
        ("args.mode: found 'l9'", "args.mtu: found 'x'", "args.region: found '1'", "args.size: unknown"),
    ),
    "netconf: mode": Pod(request({"mode": "l9"}, "10.0.1.40/24"), ("plugin.mode: found 'l9'",)),
    "netconf: region": Pod(request({"region": 5}, "10.0.1.40/24"), ("plugin.region: found 5",)),
    "netconf: primaryIP a list": Pod(request({"primaryIP": ["10.0.1.1"]}), ("plugin.primaryIP",)),
    "MTU above the NIC's": Pod(request({"mtu": 9001}, "10.0.1.40/24"), ("plugin.mtu: found 9001", "68 to 1500")),
    "NIC that is not there": Pod(request({}, "10.0.1.40/24", nic="eth9"), ("no NIC 'eth9' on 'node-1'",)),
    "MAC address": Pod(
        request({}, "10.0.1.40/24", mac="02:00:5e:10:00:01"), ("'02:00:5e:10:00:01'", "a VPC drops what")
    ),
    "address of IPv6": Pod(
        request({}, "fd00::40/64"), ("link 'net1-0' on NIC 'eth1': found address fd00::40/64, expected IPv4",)
    ),
    "NIC without IPv4": Pod(
        request({}, "10.0.1.40/24", nic="eth6"), ("NIC 'eth6': the NIC's addresses are fd00::1/64, expected an IPv4",)
    ),
    "the NIC's own address": Pod(request({}, "10.0.1.1/24"), ("address 10.0.1.1, which is one of the NIC's own",)),
    "two addresses, both wrong": Pod(request({}, "10.0.1.1/24", "fd00::1/64"), ("10.0.1.1, which", "fd00::1/64, exp")),
}


@pytest.mark.parametrize("bad", REFUSALS.values(), ids=REFUSALS.keys())
def test_what_cannot_work_is_refused(bad: Args | Pod) -> None:
    """With every problem in one answer."""
    node = example_node(1)
    without = replace(node.nics["eth1"], ifname="eth6", addresses=(ip_interface("fd00::1/64"),))
    node = replace(node, nics={**node.nics, "eth6": without})

    def ask() -> None:
        if isinstance(bad, Args):
            PLUGIN.network_config(example_network("aws-ipvlan", bad.args, subnet=""), [])
        else:
            PLUGIN.plan(bad.request, node)

    with pytest.raises(ConfigError) as refusal:
        ask()
    for words in bad.words:
        assert words in str(refusal.value)
