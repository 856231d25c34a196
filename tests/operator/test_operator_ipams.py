"""Networks whose addresses a plugin's IPAM gives: blocks and pools as for our own, and what is said where it lacks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from multinic_operator.validation.claims import claims_on
from multinic_operator.validation.validate import validate
from multinic_plugin_aws_ipvlan import AwsIpvlan
from multinic_plugin_delegate import Delegate
from multinic_plugin_host_device import HostDevice
from multinic_plugin_ipvlan import Ipvlan
from multinic_plugin_macvlan import Macvlan

from multinic_core.args import PluginArgs
from multinic_core.errors import ConfigError
from multinic_core.ipam import MultiNicIpam
from multinic_core.model import ATTACHMENT_DEFINITIONS, CIDRS, MultiNicNetwork
from multinic_core.registry import Registry

BLOCK = {"type": "foreign", "hostBlock": 6, "interfaceBlock": 2, "vlanMode": "l3", "rack": {"row": 7}}
OURS = BLOCK | {"type": "multi-nic-ipam"}


class Foreign(MultiNicIpam):
    """An IPAM as a plugin offers it; the operator knows it by its name."""

    name = "foreign"


@pytest.fixture
def registry(cluster: Any) -> Registry:
    """The operator's plugins, with the foreign IPAM among them."""
    cluster.registry.ipams.objects["foreign"] = Foreign()
    made: Registry = cluster.registry
    return made


def two_nodes(cluster: Any) -> None:
    cluster.node("node-1", {"eth1": "10.0.1.1/24", "eth2": "10.0.2.1/24"})
    cluster.node("node-2", {"eth1": "10.0.1.2/24", "eth2": "10.0.2.2/24"})


def conditions(status: Any) -> dict[str, tuple[str, str]]:
    return {condition.type: (condition.status, condition.message) for condition in status.conditions}


async def test_an_installed_ipam_has_the_blocks_and_pools_of_ours(
    cluster: Any, registry: Registry, cluster_maker: Any, autojump_clock: Any
) -> None:
    """CIDR, pools and routes are those that our own IPAM would have with the same block."""
    other = cluster_maker()
    for each, block in ((cluster, BLOCK), (other, OURS)):
        two_nodes(each)
        each.network(ipam=block)
        await each.settle()
    found, expected = [(await each.kube.get(CIDRS, "net")).spec for each in (cluster, other)]
    assert found.to_json() == expected.to_json()
    assert found.config.vlan_mode == "l3"
    assert {name: pool.spec for name, pool in cluster.pools().items()} == {
        name: pool.spec for name, pool in other.pools().items()
    }
    assert len(cluster.pools()) == 4
    statuses = [await each.status() for each in (cluster, other)]
    assert statuses[0].route_status == statuses[1].route_status == "Unknown"
    assert conditions(statuses[0]) == conditions(statuses[1])


async def test_the_whole_block_goes_to_the_nodes(cluster: Any, registry: Registry, autojump_clock: Any) -> None:
    """Keys that are the IPAM's own stand in the definition as the user wrote them."""
    two_nodes(cluster)
    cluster.network(ipam=BLOCK)
    await cluster.settle()
    definition = await cluster.kube.get(ATTACHMENT_DEFINITIONS, "net", "default")
    assert json.loads(definition.spec.config)["ipam"] == BLOCK


async def test_an_ipam_that_is_not_installed_gets_no_pools_and_the_status_says_so(
    cluster: Any, autojump_clock: Any
) -> None:
    """It is the node's CNI executable of that name, and the condition tells who looks for it in vain."""
    two_nodes(cluster)
    cluster.network(ipam=BLOCK)
    await cluster.settle()
    assert cluster.pools() == {}
    assert conditions(await cluster.status())["Configured"] == (
        "True",
        "spec.ipam.type: no IPAM 'foreign' is installed here, so nodes run their CNI executable of that name",
    )


@pytest.mark.parametrize(("kind", "ipam"), [("ipvlan", ""), ("host-device", {"type": "host-device-ipam"})])
async def test_where_nobody_is_asked_for_addresses_no_executable_is_spoken_of(
    cluster: Any, autojump_clock: Any, kind: str, ipam: Any
) -> None:
    """Links without addresses, and devices that keep theirs, have no IPAM to look for."""
    two_nodes(cluster)
    cluster.registry.main_plugins.objects["host-device"] = HostDevice()
    cluster.network(plugin={"cniVersion": "0.3.0", "type": kind}, ipam=ipam, multiNICIPAM=None)
    await cluster.settle()
    assert conditions(await cluster.status())["Configured"] == ("True", "")


@pytest.mark.parametrize("plugin", [Ipvlan(), Macvlan(), AwsIpvlan(), Delegate()], ids=lambda plugin: plugin.name)
def test_addresses_of_devices_need_a_plugin_that_gives_devices(
    registry: Registry, make_network: Any, plugin: Any
) -> None:
    """With links of their own, pods would fail on every node with the same words; so the network is refused."""
    registry.main_plugins.objects[plugin.name] = plugin
    network = make_network(
        ipam={"type": "host-device-ipam"},
        multiNICIPAM=None,
        subnet="",
        plugin={"cniVersion": "0.3.0", "type": plugin.name, "args": {}},
    )
    with pytest.raises(ConfigError) as refused:
        validate(MultiNicNetwork.model_validate(network), registry, [])
    problem = f"spec.ipam.type: found 'host-device-ipam' with main plugin {plugin.name!r}, which leaves the NIC"
    assert any(each.startswith(problem) for each in refused.value.problems), refused.value.problems


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"hostBlock": 20}, "spec.ipam.hostBlock: found 20, but 192.168.0.0/16 with interfaceBlock 2"),
        ({"hostBlock": "6"}, "spec.ipam.hostBlock: found '6'"),
        ({"vlanMode": "l4"}, "spec.ipam.vlanMode: found 'l4'"),
        ({"excludeCIDRs": ["there"]}, "spec.ipam.excludeCIDRs[0]: found 'there'"),
        ({"routes": [{"dst": "here"}]}, "spec.ipam.routes[0].dst: found 'here'"),
    ],
)
def test_the_keys_that_cut_the_subnet_are_checked_for_every_installed_ipam(
    registry: Registry, make_network: Any, changed: dict[str, Any], problem: str
) -> None:
    """They mean for a foreign IPAM what they mean for ours."""
    network = MultiNicNetwork.model_validate(make_network(ipam=BLOCK | changed))
    with pytest.raises(ConfigError) as refused:
        validate(network, registry, [])
    assert any(problem in each for each in refused.value.problems), refused.value.problems


def test_further_keys_are_nobodys_slip(registry: Registry, make_network: Any) -> None:
    """What would be a misspelt key of ours may be a key of the foreign IPAM."""
    ours, foreign = (
        MultiNicNetwork.model_validate(make_network(ipam=block | {"hostblocks": 3})) for block in (OURS, BLOCK)
    )
    with pytest.raises(ConfigError, match=r"spec\.ipam\.hostblocks: found an unknown key, expected 'hostBlock'"):
        validate(ours, registry, [])
    intent = validate(foreign, registry, [])
    assert intent.warnings == ()
    assert intent.blocks is not None


@pytest.mark.parametrize(("installed", "subnets"), [(("foreign",), ["192.168.0.0/16"]), ((), [])])
def test_its_networks_claim_their_subnets(make_network: Any, installed: tuple[str, ...], subnets: list[str]) -> None:
    """Nobody else's blocks lie in what a foreign IPAM gives addresses of; an executable's subnet is not ours."""
    older, younger = (MultiNicNetwork.model_validate(make_network(name, ipam=BLOCK)) for name in ("a", "b"))
    assert [str(claim.subnet) for claim in claims_on(younger, [older, younger], {}, installed)] == subnets


class RackArgs(PluginArgs):
    rack: dict[str, int]


@pytest.mark.parametrize(
    ("changed", "problems"),
    [
        ({}, ()),
        ({"rack": {"row": "far"}}, ("spec.ipam.rack.row: found 'far'",)),
        ({"racks": 1}, ("spec.ipam.racks: unknown argument, expected one of ['rack']",)),
        ({"racks": 1, "hostBlock": 20}, ("spec.ipam.racks: unknown argument", "spec.ipam.hostBlock: found 20")),
    ],
)
def test_an_ipam_may_say_which_keys_are_its_own(
    registry: Registry, make_network: Any, changed: dict[str, Any], problems: tuple[str, ...]
) -> None:
    """With a model of them, the operator refuses what does not fit, beside what is wrong with the blocks."""
    registry.ipams.objects["foreign"].args_model = RackArgs  # type: ignore[attr-defined]  # as plugins may have it
    network = MultiNicNetwork.model_validate(make_network(ipam=BLOCK | changed))
    try:
        found: tuple[str, ...] = ()
        validate(network, registry, [])
    except ConfigError as error:
        found = tuple(error.problems)
    assert len(found) == len(problems)
    assert all(each.startswith(problem) for each, problem in zip(found, problems, strict=True)), found
