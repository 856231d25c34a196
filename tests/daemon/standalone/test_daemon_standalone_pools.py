"""Which addresses each NIC of the one machine has."""

from ipaddress import ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multinic_daemon.standalone.fields import PoolFields
from multinic_daemon.standalone.pools import cut_pools, listed_pools, pool_objects
from multinic_daemon.testing import NODE, nic

from multinic_core import ConfigError, NodeView
from multinic_core.addressing import overlaps
from multinic_core.model import MultiNicIpamConfig

VIEW = NodeView(NODE, {nic(n).ifname: nic(n) for n in (1, 2, 3)})
"""eth1 to eth3 on 10.0.1.0/24 to 10.0.3.0/24."""


def ipam(interface_block: int = 2, host_block: int = 6, *excludes: str) -> MultiNicIpamConfig:
    return MultiNicIpamConfig(
        type="multi-nic-ipam", interface_block=interface_block, host_block=host_block, exclude_cidrs=list(excludes)
    )


def test_each_nic_has_the_block_of_its_place_in_the_list():
    """The documented example: blocks of a quarter of the subnet, of which this machine has one of 64 parts."""
    for host, expected in ((0, ("192.168.0.0/24", "192.168.64.0/24")), (1, ("192.168.1.0/24", "192.168.65.0/24"))):
        pools = cut_pools("192.168.0.0/16", ipam(), ["eth7", "eth2"], [], host)
        assert [(pool.nic, str(pool.network)) for pool in pools] == [("eth7", expected[0]), ("eth2", expected[1])]
        assert [pool.block.prefixlen for pool in pools] == [18, 18]


def test_one_nic_may_have_the_whole_subnet():
    """With neither interfaceBlock nor hostBlock nothing is cut."""
    (pool,) = cut_pools("10.1.0.0/24", ipam(0, 0), ["eth1"], [], 0)
    assert pool.network == pool.block == ip_network("10.1.0.0/24")


def test_of_two_families_each_nic_has_a_block_of_each():
    """A subnet of IPv4 and one of IPv6 are cut alike."""
    pools = cut_pools("10.1.0.0/16,fd00::/64", ipam(1, 0), ["eth1", "eth2"], [], 0)
    assert [(pool.nic, str(pool.network)) for pool in pools] == [
        ("eth1", "10.1.0.0/17"),
        ("eth1", "fd00::/65"),
        ("eth2", "10.1.128.0/17"),
        ("eth2", "fd00::8000:0:0:0/65"),
    ]


@given(st.integers(0, 4), st.integers(0, 6), st.data())
def test_no_two_blocks_overlap(interface_block, host_block, data):
    """Whatever is cut, of all NICs of two machines no two share an address."""
    count = data.draw(st.integers(1, 1 << interface_block))
    hosts = data.draw(st.sets(st.integers(0, (1 << host_block) - 1), min_size=1, max_size=2))
    names = [f"eth{number}" for number in range(count)]
    networks = [
        pool.network
        for host in hosts
        for pool in cut_pools("10.0.0.0/16", ipam(interface_block, host_block), names, [], host)
    ]
    assert not any(overlaps(one, other) for i, one in enumerate(networks) for other in networks[:i])


def test_nics_are_found_by_their_networks():
    """masterNets: the NIC on each network; one that this machine is not on is passed over and keeps its block."""
    pools = cut_pools("192.168.0.0/16", ipam(), [], ["10.9.0.0/24", "10.0.3.0/24"], 0)
    objects, problems = pool_objects("fast", pools, VIEW, ())
    assert [(pool.spec.interface_name, pool.spec.pod_cidr) for pool in objects] == [("eth3", "192.168.64.0/24")]
    assert problems == ()


def test_a_machine_on_none_of_the_networks_is_told_so():
    """Nothing could be attached, so it is said what there is."""
    pools = cut_pools("192.168.0.0/16", ipam(), [], ["10.9.0.0/24"], 0)
    objects, (problem,) = pool_objects("fast", pools, VIEW, ())
    assert objects == ()
    assert problem.startswith(
        "masterNets: found ['10.9.0.0/24'], expected one that a NIC of this machine is on: {'eth1'"
    )


def test_two_nics_on_one_network_have_to_be_named():
    """A block is one NIC's, and guessing which would change with what is plugged in."""
    other = NodeView(NODE, {"eth1": nic(1), "eth9": nic(1)})
    pools = cut_pools("192.168.0.0/16", ipam(), [], ["10.0.1.0/24"], 0)
    _, (problem,) = pool_objects("fast", pools, other, ())
    assert problem.startswith("masterNets[0]: found NICs")


def test_a_nic_that_is_named_must_be_there():
    """One missing NIC is named with its place in the list; fewer links than asked for would be no answer."""
    pools = cut_pools("192.168.0.0/16", ipam(), ["eth1", "eth9"], [], 0)
    _, problems = pool_objects("fast", pools, VIEW, ())
    assert problems == ("masters[1]: found 'eth9', expected a NIC of this machine: ['eth1', 'eth2', 'eth3']",)


def test_this_machines_own_addresses_are_never_given():
    """Where containers share a NIC's own network, its address is held by the machine."""
    pools = listed_pools([PoolFields(interface_name="eth1", pod_cidr="10.0.1.0/28", vlan_cidr="10.0.1.0/24")], [])
    (pool,), _ = pool_objects("fast", pools, VIEW, [ip_network("10.0.1.7/32"), ip_network("10.0.9.7/32")])
    assert sorted(pool.spec.excludes) == ["10.0.1.1", "10.0.1.7/32"]
    assert ip_interface(nic(1).addresses[0]).ip == ip_interface("10.0.1.1").ip


def test_excludes_of_the_ipam_hold_for_listed_pools_too():
    """Together they must leave an address."""
    fields = PoolFields(interface_name="eth1", pod_cidr="10.0.1.0/28", excludes=["10.0.1.0/29"])
    (pool,) = listed_pools([fields], ["10.0.1.8/30", "10.77.0.0/16"])
    assert sorted(map(str, pool.excludes)) == ["10.0.1.0/29", "10.0.1.8/30"]
    with pytest.raises(ConfigError, match=r"pools\[0\]: found no address in 10.0.1.0/28"):
        listed_pools([fields], ["10.0.1.8/29"])
