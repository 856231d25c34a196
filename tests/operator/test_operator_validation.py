"""What is refused, in which words, and what is not."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

import pytest
from multinic_operator.numbering.blocks import compute_blocks
from multinic_operator.validation.claims import Claim, claims_on
from multinic_operator.validation.surroundings import Surroundings, nic_networks
from multinic_operator.validation.validate import Intent, renumbering, validate

from multinic_core import load_plugins
from multinic_core.errors import ConfigError
from multinic_core.model import CIDRSpec, MultiNicNetwork
from multinic_core.testing import example_network

IPAM = {"type": "multi-nic-ipam", "hostBlock": 6, "interfaceBlock": 2, "vlanMode": "l3"}


@pytest.fixture
def check(cluster: Any, make_network: Any) -> Any:
    """Validates a network made of these fields, against the nodes given."""

    def check(
        *, nodes: Any = (), claims: Any = (), recorded: CIDRSpec | None = None, name: str = "net", **spec: Any
    ) -> Intent:
        network = MultiNicNetwork.model_validate(make_network(name, **spec))
        around = Surroundings(nic_networks(nodes))
        return validate(network, cluster.registry, nodes, claims, recorded, around)

    return check


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"ipam": "{nonsense"}, "spec.ipam: not JSON at line 1"),
        ({"ipam": "[]"}, "spec.ipam: found a JSON list, expected an object"),
        ({"ipam": {"type": "multi-config", "args": {"eth1": {}}}}, "spec.ipam.ipam_type: found None"),
        ({"ipam": {"type": "multi-config", "ipam_type": "x", "args": {"eth1": 1}}}, "spec.ipam.args.eth1: found 1"),
        ({"ipam": IPAM | {"hostBlock": -1}}, "spec.ipam.hostBlock: found -1"),
        ({"ipam": IPAM | {"hostBlock": 15}}, "spec.ipam.hostBlock: found 15, but 192.168.0.0/16 with interfaceBlock 2"),
        ({"ipam": IPAM | {"vlanMode": "l4"}}, "spec.ipam.vlanMode: found 'l4'"),
        ({"ipam": IPAM | {"excludeCIDRs": ["10.0.0.0/24"]}}, "spec.ipam.excludeCIDRs[0]: found '10.0.0.0/24'"),
        ({"ipam": IPAM | {"excludeCIDRs": ["x"]}, "subnet": ""}, "spec.ipam.excludeCIDRs[0]: found 'x'"),
        (
            {"subnet": "192.168.1.0/16"},
            "spec.subnet: found '192.168.1.0/16' with host bits set, expected '192.",
        ),
        ({"subnet": "192.168.0.0/16,fd00::/48"}, "spec.subnet: found '192.168.0.0/16,fd00::/48', expected one subnet"),
        ({"subnet": None}, "spec.subnet: found '', expected a subnet, as host routes of spec.ipam.vlanMode 'l3'"),
        ({"masterNets": ["10.0.1.7/24"]}, "spec.masterNets[0]: found '10.0.1.7/24' with host bits set"),
        ({"masterNets": ["10.0.1.0/24"] * 2}, "spec.masterNets[1]: found '10.0.1.0/24' a second time"),
        ({"masterNets": [f"10.0.{i}.0/24" for i in range(5)]}, "spec.masterNets: found 5 networks, expected at most 4"),
        ({"plugin": {"cniVersion": "0.3.0", "type": "x"}}, "spec.plugin.type: found 'x', expected one of ['ipvlan']"),
        (
            {"plugin": {"cniVersion": "0.3.0", "type": "ipvlan", "args": {"mood": "l3"}}},
            "spec.plugin.args.mood: unknown argument",
        ),
        ({"attachPolicy": {"strategy": "x"}}, "spec.attachPolicy.strategy: found 'x', expected one of ['none']"),
        ({"name": "n" * 64}, "metadata.name: found 64 characters, expected at most 63"),
    ],
)
def test_what_cannot_work_is_refused_with_its_path(check: Any, spec: dict[str, Any], problem: str) -> None:
    """One problem, which names field, value and what would do."""
    with pytest.raises(ConfigError) as caught:
        check(**spec)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(problem)


def test_all_problems_are_told_at_once(check: Any) -> None:
    """A person corrects the text once."""
    with pytest.raises(ConfigError) as caught:
        check(
            subnet="10.0.0.1/8",
            masterNets=["10.0.0.1/24"],
            plugin={"cniVersion": "0.3.0", "type": "x"},
            attachPolicy={"strategy": "y"},
        )
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "spec.plugin.type",
        "spec.attachPolicy.strategy",
        "spec.masterNets[0]",
        "spec.subnet",
    ]


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"attachPolicy": None},
        {"subnet": None, "ipam": IPAM | {"vlanMode": "", "excludeCIDRs": ["10.0.0.1", "fd00::/64"]}},
        {"subnet": "fd00::/48"},
        {"ipam": "", "multiNICIPAM": None, "subnet": None},
        {"ipam": {"type": "whereabouts", "range": "10.0.0.0/8"}, "subnet": "10.0.0.0/8"},
        {"masterNets": ["10.0.1.0/24", "10.0.2.0/24"]},
    ],
)
def test_what_can_work_is_accepted(check: Any, spec: dict[str, Any]) -> None:
    """No problem, and blocks exactly for multi-nic-ipam."""
    intent = check(**spec)
    assert (intent.blocks is not None) == ("multi-nic-ipam" in json.dumps(spec.get("ipam", "multi-nic-ipam")))


def test_host_routes_need_the_mode_and_the_one_call(check: Any) -> None:
    """L3 is vlanMode l3 or l3s together with multiNICIPAM."""
    assert check().l3
    assert check(ipam=IPAM | {"vlanMode": "l3s"}).l3
    assert not check(multiNICIPAM=False).l3
    assert not check(ipam=IPAM | {"vlanMode": "l2"}).l3


def test_a_subnet_over_a_nic_network_is_refused(check: Any, make_host: Any) -> None:
    """The message names the NIC and the way out; a network that already works is not stopped by it."""
    node = make_host("node-1", {"eth1": "192.168.9.1/24"})
    with pytest.raises(ConfigError, match=r"overlaps the NIC network 192\.168\.9\.0/24 \(eth1 of node 'node-1'\)"):
        check(nodes=[node])
    recorded = compute_blocks(check().blocks, (), (), None).spec
    assert check(nodes=[node], recorded=recorded).blocks is not None


def test_a_claimed_subnet_is_refused(check: Any) -> None:
    """Overlap with another network's subnet names that network."""
    with pytest.raises(ConfigError, match=r"overlaps '192\.168\.128\.0/17' of network 'other'"):
        check(claims=[Claim("other", ip_network("192.168.128.0/17"))])


def test_of_two_networks_the_one_in_use_wins_then_the_older_then_the_name(check: Any, make_network: Any) -> None:
    """Exactly one of two overlapping networks has the claim, and editing onto a subnet in use never does."""

    def network(name: str, created: str, subnet: str = "192.168.0.0/16") -> MultiNicNetwork:
        body = make_network(name, subnet=subnet)
        body["metadata"]["creationTimestamp"] = created
        return MultiNicNetwork.model_validate(body)

    old, new = network("b", "2026-01-01T00:00:00Z"), network("a", "2026-01-02T00:00:00Z")
    twin = network("c", "2026-01-01T00:00:00Z")
    claim = [Claim("b", ip_network("192.168.0.0/16"))]
    assert (claims_on(new, [old, new], {}), claims_on(old, [old, new], {})) == (claim, [])
    assert (claims_on(twin, [old, twin], {}), claims_on(old, [old, twin], {})) == (claim, [])
    in_use = compute_blocks(check().blocks, (), (), None).spec
    taken = {"a": in_use}
    assert claims_on(new, [old, new], taken) == []
    assert claims_on(old, [old, new], taken) == [Claim("a", ip_network("192.168.0.0/16"))]
    moving = {
        "a": in_use,
        "b": in_use.model_copy(update={"config": in_use.config.model_copy(update={"subnet": "10.0.0.0/8"})}),
    }
    assert [c.network for c in claims_on(old, [old, new], moving)] == ["a"]
    whereabouts = MultiNicNetwork.model_validate(make_network("d", ipam={"type": "whereabouts"}))
    assert claims_on(new, [whereabouts], {}) == []


def test_renumbering_edits_are_told_apart_from_safe_ones(check: Any) -> None:
    """Subnet and block sizes move every block; excludes, masterNets and mode move none."""
    recorded = compute_blocks(check().blocks, (), (), None).spec

    def edits(**spec: Any) -> list[str]:
        return [edit.split(":")[0] for edit in renumbering(recorded, check(**spec).blocks)]

    assert edits(subnet="192.168.0.0/17") == ["spec.subnet"]
    assert edits(ipam=IPAM | {"hostBlock": 5}) == ["spec.ipam.hostBlock"]
    assert edits(ipam=IPAM | {"interfaceBlock": 3}) == ["spec.ipam.interfaceBlock"]
    assert edits(subnet=None, ipam=IPAM | {"vlanMode": ""}) == ["spec.subnet"]
    assert edits(masterNets=["10.0.1.0/24"], ipam=IPAM | {"vlanMode": "l2", "excludeCIDRs": ["192.168.0.0/24"]}) == []


def test_unknown_plugin_type_is_left_to_the_plugin_that_serves_others() -> None:
    """With one that serves any type installed, only a slip of the pen in a known name is refused."""
    registry = load_plugins()
    for name in ("bridge", "vlan", "ovs", "tap"):
        network = example_network(name, {"mtu": "1400"})
        intent = validate(network, registry, [])
        assert dict(intent.config.plugin) == {"mtu": 1400}
    for name in ("ipvlam", "ipvaln", "macvaln", "sriovv", "mac-vlan"):
        with pytest.raises(ConfigError, match=f"found '{name}', expected one of .* 'delegate' with"):
            validate(example_network(name), registry, [])
