"""Networks that may get in each other's way on the same NICs: told to who writes them, refused to nobody."""

from typing import Any

import pytest
from multinic_operator.validation.sharing import mixed_uses

from multinic_core import MainPlugin, NetworkConfig, load_plugins
from multinic_core.model import HostInterface, MultiNicNetwork
from multinic_core.registry import Registry
from multinic_core.testing import example_network

REGISTRY = load_plugins()
L3, L2, PRIVATE = {"mode": "l3"}, {"mode": "l2"}, {"mode": "l3", "flag": "private"}


def network(name: str, plugin: str, args: dict[str, str], *nets: str) -> MultiNicNetwork:
    made = example_network(plugin, args, master_nets=list(nets) or None)
    return made.model_copy(update={"metadata": made.metadata.model_copy(update={"name": name})})


def told(one: MultiNicNetwork, *others: MultiNicNetwork) -> list[str]:
    return mixed_uses(one, [one, *others], REGISTRY)


MIXED = {
    "modes": (("ipvlan", L3), ("ipvlan", L2)),
    "flags": (("ipvlan", L3), ("ipvlan", PRIVATE)),
    "kinds": (("ipvlan", L3), ("macvlan", {})),
    "passthru": (("macvlan", {"mode": "passthru"}), ("macvlan", {})),
    "passthru twice": (("macvlan", {"mode": "passthru"}), ("macvlan", {"mode": "passthru"})),
    "the same VLAN": (("ipvlan", L3 | {"vlan": "7"}), ("macvlan", {"vlan": "7"})),
}
TOGETHER = {
    "one mode": (("ipvlan", L3), ("ipvlan", L3)),
    "defaults written out": (("ipvlan", {}), ("ipvlan", {"mode": "l2", "flag": "bridge"})),
    "modes of macvlan": (("macvlan", {"mode": "private"}), ("macvlan", {"mode": "vepa"})),
    "another VLAN": (("ipvlan", L3 | {"vlan": "7"}), ("macvlan", {"vlan": "8"})),
    "a VLAN and the NIC": (("ipvlan", L3), ("macvlan", {"vlan": "8"})),
    "arguments that cannot work": (("ipvlan", L3), ("macvlan", {"mode": "l9"})),
    "no such plugin": (("ipvlan", L3), ("teapot", {})),
}


@pytest.mark.parametrize("name", MIXED)
def test_uses_that_do_not_go_together_are_told(name: str):
    """Each of the two networks is told about the other, by name and use, with ways out."""
    (kind, args), (other_kind, other_args) = MIXED[name]
    one, other = network("one", kind, args), network("other", other_kind, other_args)
    (first,), (second,) = told(one, other), told(other, one)
    assert first.startswith(f"spec.plugin: found {kind}")
    assert f"which does not go on one NIC with network 'other' ({other_kind}" in first
    assert f"with network 'one' ({kind}" in second
    assert first.endswith("use the same, other spec.masterNets, or a VLAN of its own by spec.plugin.args.vlan")


@pytest.mark.parametrize("name", TOGETHER)
def test_uses_that_go_together_are_nobodys_concern(name: str):
    """Nothing is said in vain."""
    (kind, args), (other_kind, other_args) = TOGETHER[name]
    one, other = network("one", kind, args), network("other", other_kind, other_args)
    assert told(one, other) == told(other, one) == []


@pytest.mark.parametrize(
    ("nets", "others", "concerned"),
    [
        ((), (), True),
        (("10.0.1.0/24",), (), True),
        ((), ("10.0.1.0/24",), True),
        (("10.0.1.0/24", "10.0.2.0/24"), ("10.0.2.0/24",), True),
        (("10.0.1.0/24",), ("10.0.2.0/24",), False),
    ],
)
def test_only_networks_on_the_same_nics_concern_each_other(nets: tuple[str], others: tuple[str], concerned: bool):
    """Without masterNets a network uses every NIC."""
    one, other = network("one", "ipvlan", L3, *nets), network("other", "macvlan", {}, *others)
    assert bool(told(one, other)) == concerned


def test_of_many_networks_a_few_are_named():
    """The message stays readable."""
    others = [network(f"other-{n}", "macvlan", {}) for n in range(5)]
    (message,) = told(network("one", "ipvlan", L3), *others)
    assert "with networks 'other-0' (macvlan), 'other-1' (macvlan), 'other-2' (macvlan), …: a pod" in message


def test_a_plugin_that_breaks_says_nothing():
    """Of a plugin of others that raises whatever it likes nothing is known."""

    class Broken:
        name = "broken"
        link_kinds = frozenset({"macvlan"})
        args_model: Any = None

        def network_config(self, network: MultiNicNetwork, nodes: list[HostInterface]) -> NetworkConfig:
            raise ZeroDivisionError

        def plan(self, request: Any, node: Any) -> Any:
            raise ZeroDivisionError

    registry = Registry()
    broken: MainPlugin = Broken()
    registry.main_plugins.objects["broken"] = broken
    assert mixed_uses(network("one", "broken", {}), [network("two", "broken", {})], registry) == []


def configured(status: Any) -> str:
    (condition,) = (each for each in status.conditions if each.type == "Configured")
    assert condition.status == "True"
    return condition.message


async def test_the_condition_says_it_for_as_long_as_it_is_so(cluster: Any, autojump_clock: Any):
    """The second network that comes is told of the first and works all the same; when the first changes, no more."""
    cluster.registry = REGISTRY
    cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    blocks = {"type": "multi-nic-ipam", "interfaceBlock": 1, "hostBlock": 2}
    ipvlan, macvlan = (
        {"type": kind, "cniVersion": "0.3.0", "args": args} for kind, args in (("ipvlan", L3), ("macvlan", {}))
    )
    cluster.network("one", plugin=ipvlan, ipam=blocks, subnet="192.168.0.0/17")
    cluster.network("two", plugin=macvlan, ipam=blocks, subnet="192.168.128.0/17")
    await cluster.settle()
    status = await cluster.status("two")
    assert status.config_status == "Success"
    assert "which does not go on one NIC with network 'one' (ipvlan, mode l3, flag bridge)" in configured(status)
    await cluster.edit("one", plugin={"args": {"mode": "l3", "vlan": "7"}})
    await cluster.settle()
    assert configured(await cluster.status("two")) == ""
