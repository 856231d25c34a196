"""Rows of a compact CIDR, computed from it and one node's HostInterface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from multinic_core.model import CIDR, HostInterface, pool_name
from multinic_core.rows import Rows, rows_of


def cidr(*entries: tuple[str, int, str], excludes: Sequence[str] = (), subnet: str = "192.168.0.0/16") -> CIDR:
    """A compact CIDR ``net`` with hostBlock 6; entries are NIC network, interface index, interface block."""
    config = {
        "name": "net",
        "type": "ipvlan",
        "subnet": subnet,
        "masterNets": [net for net, _, _ in entries],
        "hostBlock": 6,
        "interfaceBlock": 2,
        "excludeCIDRs": list(excludes),
    }
    places = [{"netAddress": net, "interfaceIndex": index, "vlanCIDR": block} for net, index, block in entries]
    return CIDR.model_validate(
        {"metadata": {"name": "net"}, "spec": {"config": config, "cidr": places, "compact": True}}
    )


TWO = cidr(("10.0.1.0/24", 0, "192.168.0.0/18"), ("10.0.2.0/24", 1, "192.168.64.0/18"))


def host(nics: dict[str, str], index: int | None = 5, *claims: dict[str, Any]) -> HostInterface:
    interfaces = [
        {"interfaceName": name, "netAddress": f"{net}.0/24", "hostIP": f"{net}.9"} for name, net in nics.items()
    ]
    status = {"hostIndex": index, "exceptions": [{"network": "net"} | claim for claim in claims]}
    return HostInterface.model_validate(
        {"metadata": {"name": "n"}, "spec": {"hostName": "n", "interfaces": interfaces}, "status": status}
    )


def blocks(cidr: CIDR, host: HostInterface) -> dict[str, str]:
    return {row.interface_name: row.pod_cidr for row in rows_of(cidr, host)}


def test_every_nic_of_a_node_has_the_nodes_index():
    """Without claims the blocks follow from hostIndex and the interface indexes."""
    rows = rows_of(TWO, host({"b": "10.0.2", "a": "10.0.1", "c": "10.0.3"}))
    assert [
        (row.entry.interface_index, row.interface_name, row.host_index, row.pod_cidr, row.host_ip) for row in rows
    ] == [
        (0, "a", 5, "192.168.5.0/24", "10.0.1.9"),
        (1, "b", 5, "192.168.69.0/24", "10.0.2.9"),
    ]
    assert pool_name("net", rows[0].pod_cidr) == "net-192.168.5.0-24"


@pytest.mark.parametrize("index", [None, 64, 1000])
def test_an_index_that_is_missing_or_outside_the_blocks_gives_no_row(index):
    """No block is made up for a node that the operator has not numbered, or numbered beyond hostBlock."""
    assert rows_of(TWO, host({"a": "10.0.1"}, index)) == ()


def test_a_node_without_status_has_no_row():
    """A HostInterface that the operator has not seen yet serves nobody."""
    assert rows_of(TWO, host({"a": "10.0.1"}).model_copy(update={"status": None})) == ()


def test_a_claim_says_the_index_of_one_nic():
    """The claim holds on its NIC and network; the node's other NICs keep the node's index."""
    claimed = {"netAddress": "10.0.1.0/24", "interfaceName": "a", "hostIndex": 7}
    assert blocks(TWO, host({"a": "10.0.1", "b": "10.0.2"}, 5, claimed)) == {
        "a": "192.168.7.0/24",
        "b": "192.168.69.0/24",
    }


def test_a_claim_in_another_network_says_nothing_here():
    """Claims are read by the name of their network."""
    claimed = {"network": "other", "netAddress": "10.0.1.0/24", "interfaceName": "a", "hostIndex": 7}
    assert blocks(TWO, host({"a": "10.0.1"}, 5, claimed)) == {"a": "192.168.5.0/24"}


def test_two_nics_in_one_network_wait_for_claims():
    """Which of them has the node's index is for the operator to say, so that a second NIC never takes the first's."""
    assert blocks(TWO, host({"a": "10.0.1", "c": "10.0.1"})) == {}
    first = {"netAddress": "10.0.1.0/24", "interfaceName": "c", "hostIndex": 5}
    second = {"netAddress": "10.0.1.0/24", "interfaceName": "a", "hostIndex": 9}
    assert blocks(TWO, host({"a": "10.0.1", "c": "10.0.1"}, 5, first)) == {"c": "192.168.5.0/24"}
    assert blocks(TWO, host({"a": "10.0.1", "c": "10.0.1"}, 5, first, second)) == {
        "a": "192.168.9.0/24",
        "c": "192.168.5.0/24",
    }


def test_a_nic_beside_claims_of_others_has_no_row():
    """A NIC that takes the place of one with a claim gets a block when the claim is its own."""
    claimed = {"netAddress": "10.0.1.0/24", "interfaceName": "old", "hostIndex": 5}
    assert blocks(TWO, host({"new": "10.0.1"}, 5, claimed)) == {}


def test_a_claim_does_not_follow_its_nic_to_another_network():
    """The NIC has the node's index where it is now."""
    claimed = {"netAddress": "10.0.1.0/24", "interfaceName": "a", "hostIndex": 7}
    assert blocks(TWO, host({"a": "10.0.2"}, 5, claimed)) == {"a": "192.168.69.0/24"}


def test_a_bar_takes_the_nodes_own_index_away_but_not_its_claims():
    """A claim without an index means that somebody else holds the node's index in this network."""
    claimed = {"netAddress": "10.0.1.0/24", "interfaceName": "a", "hostIndex": 7}
    assert blocks(TWO, host({"a": "10.0.1", "b": "10.0.2"}, 5, {}, claimed)) == {"a": "192.168.7.0/24"}


def test_an_index_whose_block_is_excluded_serves_only_by_claim():
    """An exclude takes a block from newcomers; who was recorded there keeps it."""
    excluding = cidr(("10.0.1.0/24", 0, "192.168.0.0/18"), excludes=["192.168.4.0/23"])
    assert blocks(excluding, host({"a": "10.0.1"})) == {}
    kept = {"netAddress": "10.0.1.0/24", "interfaceName": "a", "hostIndex": 5}
    assert blocks(excluding, host({"a": "10.0.1"}, 5, kept)) == {"a": "192.168.5.0/24"}


def test_without_a_subnet_the_nic_network_is_cut():
    """The interface block is the NIC network; claims beyond hostBlock give nothing."""
    own = cidr(("10.0.1.0/24", 0, "10.0.1.0/24"), subnet="")
    assert blocks(own, host({"a": "10.0.1"})) == {"a": "10.0.1.20/30"}
    beyond = {"netAddress": "10.0.1.0/24", "interfaceName": "a", "hostIndex": 64}
    assert blocks(own, host({"a": "10.0.1"}, 5, beyond)) == {}


def test_a_cidr_that_cannot_be_read_is_an_error():
    """An interface index outside the blocks has no block."""
    with pytest.raises(ValueError, match="index 4"):
        Rows("net", cidr(("10.0.1.0/24", 4, "")).spec)
