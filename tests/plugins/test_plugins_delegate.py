"""delegate: what an executable gets to read, and what is refused before one is asked."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from multinic_plugin_delegate import Delegate

from multinic_core.errors import ConfigError
from multinic_core.plan import LinkRequest
from multinic_core.testing import example_network, example_node, example_request

LINK = LinkRequest("net1-0", "eth1", (ip_interface("192.168.0.1/18"),))


def network_block(plugin_type: str, args: dict[str, str]) -> dict[str, Any]:
    return dict(Delegate().network_config(example_network(plugin_type, args), []).plugin)


def plan_config(block: dict[str, Any], link: LinkRequest = LINK) -> Any:
    request = example_request(block, ("eth1",))
    (step,) = Delegate().plan(replace(request, links=(link,)), example_node(1)).plugins
    return step.config


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("1500", 1500),
        ("-1", -1),
        ("1.5", 1.5),
        ("[1, 2]", [1, 2]),
        ('{"a": {"b": true}}', {"a": {"b": True}}),
        ('"1500"', "1500"),
        ("br-net1", "br-net1"),
        ("0x10", "0x10"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("NaN", "NaN"),
        ("True", "True"),
        ("", ""),
        (" ", " "),
    ],
)
def test_argument_that_is_json_stands_for_its_value(text: str, value: object) -> None:
    """Arguments are strings, executables want types: JSON text is its value, anything else a string."""
    assert network_block("bridge", {"key": text}) == {"key": value}


@pytest.mark.parametrize(
    ("plugin_type", "args", "problem"),
    [
        ("delegate", {}, "spec.plugin.args.type: missing, expected the name of a CNI executable such as 'bridge'"),
        ("delegate", {"mtu": "1400"}, "found ['mtu']"),
        ("delegate", {"type": "/opt/cni/bin/bridge"}, "spec.plugin.args.type: found '/opt/cni/bin/bridge', expected"),
        ("delegate", {"type": "../bridge"}, "spec.plugin.args.type: found '../bridge', expected the name"),
        ("delegate", {"type": ""}, "spec.plugin.args.type: found '', expected the name"),
        ("delegate", {"type": "delegate"}, "spec.plugin.args.type: found 'delegate', expected the name"),
        ("delegate", {"type": "a b"}, "spec.plugin.args.type: found 'a b', expected the name"),
        ("bridge", {"type": "ptp"}, "spec.plugin.args.type: found 'ptp', expected none, as spec.plugin.type names"),
        ("bridge", {"name": "x"}, "spec.plugin.args.name: found 'x', expected none, as multinic sets it"),
        ("bridge", {"cniVersion": "1.0.0"}, "spec.plugin.args.cniVersion: found '1.0.0', expected none"),
        ("bridge", {"ipam": '{"type": "host-local"}'}, "spec.plugin.args.ipam: found"),
        ("bridge", {"prevResult": "{}"}, "spec.plugin.args.prevResult: found '{}', expected none"),
        ("bridge", {"runtimeConfig": "{}"}, "spec.plugin.args.runtimeConfig: found '{}', expected none"),
        ("bridge", {"executable": "ptp"}, "spec.plugin.args.executable: found 'ptp', expected none"),
        ("bridge", {"vlanTrunk": "[1, 2"}, "spec.plugin.args.vlanTrunk: found '[1, 2', which begins like JSON"),
        ("bridge", {"portMap": "{nonsense}"}, "spec.plugin.args.portMap: found '{nonsense}', which begins like JSON"),
        ("bridge", {"list": '["a" "b"]'}, "spec.plugin.args.list: found"),
        ("bridge", {"list": "[NaN]"}, "spec.plugin.args.list: found '[NaN]', which begins like JSON"),
    ],
)
def test_arguments_that_no_executable_could_get_are_refused(
    plugin_type: str, args: dict[str, str], problem: str
) -> None:
    """Each is told with its field path, what was found and what would do."""
    with pytest.raises(ConfigError) as refusal:
        network_block(plugin_type, args)
    assert any(each.startswith(problem) or problem in each for each in refusal.value.problems)


def test_all_problems_are_told_at_once() -> None:
    """Nobody has to try again for each of them."""
    with pytest.raises(ConfigError) as refusal:
        network_block("delegate", {"name": "x", "list": "[", "ipam": "{}"})
    assert len(refusal.value.problems) == 4


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ({"type": "delegate"}, "plugin.executable: found None, expected the name of a CNI executable"),
        ({"type": "delegate", "executable": 3}, "plugin.executable: found 3, expected"),
        ({"type": "delegate", "executable": "../x"}, "plugin.executable: found '../x', expected"),
        ({"type": "a/b"}, "plugin.type: found 'a/b', expected the name"),
        ({"type": None}, "plugin.type: found None, expected"),
        ({}, "plugin.type: found None, expected"),
    ],
)
def test_definition_that_names_no_executable_is_refused(block: dict[str, Any], problem: str) -> None:
    """Attachment definitions are written by hand, too."""
    with pytest.raises(ConfigError, match=problem.replace(".", r"\.")):
        plan_config(block)


def test_executable_is_named_by_type_or_by_argument() -> None:
    """``type: bridge`` and ``type: delegate`` with the argument ``type: bridge`` are the same to the executable."""
    direct = {**network_block("bridge", {"mtu": "1400"}), "type": "bridge"}
    named = {**network_block("delegate", {"type": "bridge", "mtu": "1400"}), "type": "delegate"}
    assert plan_config(direct) == plan_config(named)


def test_configuration_has_nic_name_and_static_addresses() -> None:
    """master is the NIC, name the link's, and addresses come with their gateways and routes."""
    link = LinkRequest(
        "net1-0",
        "eth1",
        (ip_interface("192.168.0.1/18"), ip_interface("fd00::1/64")),
        mac_address="02:00:00:00:00:05",
        gateways=(ip_address("192.168.0.254"),),
        routes=((ip_network("10.0.0.0/8"), ip_address("192.168.0.254")), (ip_network("fd01::/64"), None)),
    )
    assert plan_config({"type": "bridge", "cniVersion": "1.0.0", "mtu": 1400, "master": "eth9"}, link) == {
        "cniVersion": "1.0.0",
        "type": "bridge",
        "name": "net1-0",
        "master": "eth1",
        "mtu": 1400,
        "ipam": {
            "type": "static",
            "addresses": [{"address": "192.168.0.1/18", "gateway": "192.168.0.254"}, {"address": "fd00::1/64"}],
            "routes": [{"dst": "10.0.0.0/8", "gw": "192.168.0.254"}, {"dst": "fd01::/64"}],
        },
        "runtimeConfig": {"mac": "02:00:00:00:00:05"},
    }


def test_link_without_addresses_has_an_empty_ipam_block() -> None:
    """A network without an IPAM leaves addresses to the pod."""
    assert plan_config({"type": "bridge"}, LinkRequest("net1-0", "eth1"))["ipam"] == {}


def test_ipam_that_the_executable_runs_is_handed_on() -> None:
    """An IPAM that needs the link is the executable's to call."""
    link = LinkRequest("net1-0", "eth1", ipam={"type": "dhcp"})
    assert plan_config({"type": "macvlan"}, link)["ipam"] == {"type": "dhcp"}


def test_several_links_get_settings_and_one_keeps_the_kernels() -> None:
    """As links of every other main plugin do."""
    for count in (1, 2):
        names = tuple(f"eth{number}" for number in range(1, count + 1))
        plan = Delegate().plan(example_request({"type": "bridge"}, names), example_node(count))
        assert len({step.ifname for step in plan.sysctls}) == (0 if count == 1 else 2)
