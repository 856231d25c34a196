"""What blocks hold: the verdict on what is there today, and the warning before they are full."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from multinic_operator.numbering.blocks import compute_blocks
from multinic_operator.numbering.layout import BlockRequest, HostNic
from multinic_operator.validation.capacity import Capacity, capacity

from multinic_core.model import CIDRConfig, CIDREntry, CIDRSpec
from multinic_core.plan import IPNetwork

NETS = [ip_network(f"10.0.{number}.0/24") for number in range(8)]


def request(**fields: Any) -> BlockRequest:
    found: dict[str, Any] = {"subnet": "192.168.0.0/16", "interface_bits": 2, "host_bits": 4} | fields
    subnet = ip_network(found.pop("subnet")) if found["subnet"] else found.pop("subnet")
    excludes = tuple(ip_network(text) for text in found.pop("excludes", ()))
    return BlockRequest(name="net", plugin="ipvlan", subnet=subnet, excludes=excludes, **found)


def verdict(counts: dict[IPNetwork, int], recorded: CIDRSpec | None = None, **fields: Any) -> Capacity:
    return capacity(request(**fields), counts, recorded)


@pytest.mark.parametrize(("nics", "low"), [(0, False), (12, False), (13, True), (16, True)])
def test_host_blocks_are_low_while_less_than_a_fifth_is_free(nics: int, low: bool) -> None:
    """Of 16 blocks 12 leave a quarter free, 13 less than a fifth."""
    found = verdict({NETS[0]: nics})
    assert (found.problems, bool(found.low)) == ((), low)


@pytest.mark.parametrize(("networks", "low"), [(5, False), (6, False), (7, True), (8, True)])
def test_interface_blocks_are_low_while_less_than_a_fifth_is_free(networks: int, low: bool) -> None:
    """Of 8 blocks 6 leave a quarter free."""
    found = verdict(dict.fromkeys(NETS[:networks], 1), interface_bits=3)
    assert (found.problems, bool(found.low)) == ((), low)


def test_blocks_that_are_not_cut_are_not_low() -> None:
    """hostBlock 0 for the one NIC and interfaceBlock 0 for the one network are what was asked for."""
    assert verdict({NETS[0]: 1}, interface_bits=0, host_bits=0) == Capacity()


def test_excluded_blocks_do_not_count() -> None:
    """On the interface block that they are part of, and for interface blocks themselves."""
    found = verdict({NETS[0]: 9, NETS[1]: 9}, excludes=["192.168.64.0/19"])
    assert found.low == ()
    assert [text.split(",")[0] for text in found.problems] == [
        "spec.ipam.hostBlock: found 4",
    ]
    assert "16 blocks less 8 excluded on the NIC network 10.0.1.0/24" in found.problems[0]
    found = verdict(dict.fromkeys(NETS[:4], 1), excludes=["192.168.128.0/18"])
    assert "numbers 4 NIC networks less 1 excluded, but there are 4" in found.problems[0]


def test_a_remedy_that_does_not_fit_the_subnet_asks_for_another_subnet() -> None:
    """Two more bits are not there in a /24 cut into /26."""
    found = verdict({NETS[0]: 70}, subnet="192.168.0.0/24", host_bits=6)
    assert found.problems[0].endswith("but 70 NICs are there; expected a subnet with 7 bits for nodes")


def test_only_networks_of_master_nets_count() -> None:
    """Other NICs do not come into this network."""
    counts = dict.fromkeys(NETS, 99)
    assert verdict(counts | {NETS[0]: 1}, master_nets=(NETS[0],)) == Capacity()


def test_a_compact_cidr_is_judged_by_the_nics_alone() -> None:
    """It lists no nodes; its interface indexes tell which block an exclude takes."""
    config = CIDRConfig.model_validate(
        {
            "name": "net",
            "type": "ipvlan",
            "subnet": "192.168.0.0/16",
            "masterNets": [],
            "hostBlock": 4,
            "interfaceBlock": 2,
        }
    )
    entry = {"netAddress": str(NETS[0]), "interfaceIndex": 3, "vlanCIDR": "192.168.192.0/18", "hosts": []}
    recorded = CIDRSpec(config=config, cidr=[CIDREntry.model_validate(entry)])
    assert verdict({NETS[0]: 12}, recorded) == Capacity()
    found = verdict({NETS[0]: 12}, recorded, excludes=["192.168.192.0/20"])
    assert found.low == ("spec.ipam.hostBlock 4: 12 of 12 blocks on 10.0.0.0/24 are in use",)


@pytest.mark.parametrize("bits", [(0, 0), (1, 2), (2, 3), (3, 1)])
@pytest.mark.parametrize("excludes", [(), ("192.168.0.0/18",), ("192.168.64.0/19", "192.168.255.0/24")])
@pytest.mark.parametrize("nodes", [1, 2, 4, 7, 8, 9])
def test_what_is_refused_could_not_be_numbered(bits: tuple[int, int], excludes: tuple[str, ...], nodes: int) -> None:
    """The count never refuses a network whose blocks, computed in full, leave nobody out."""
    nics = [HostNic(f"node-{n}", f"eth{i}", NETS[i], "") for n in range(nodes) for i in range(2)]
    asked = request(interface_bits=bits[0], host_bits=bits[1], excludes=excludes)
    found = capacity(asked, dict.fromkeys(NETS[:2], nodes), None)
    computed = compute_blocks(asked, nics, {nic.host for nic in nics}, None)
    assert not found.problems or computed.problems


def test_the_size_of_the_blocks_costs_nothing() -> None:
    """An IPv6 network with 2^60 host blocks is judged by arithmetic."""
    found = verdict({NETS[0]: 5}, subnet="fd00::/48", interface_bits=8, host_bits=60, excludes=["fd00::/70"])
    assert found == Capacity()
