"""Laws of the blocks, for any sequence of nodes and NICs that come, go and change."""

from __future__ import annotations

import random
from ipaddress import ip_interface, ip_network
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from multinic_operator.numbering.blocks import Computed, compute_blocks
from multinic_operator.numbering.layout import BlockRequest, HostNic

from multinic_core.model import CIDRSpec

HOSTS = [f"n{i}" for i in range(7)]
World = dict[str, dict[str, str]]
"""Node to ifname to address."""

nic_sets = st.dictionaries(
    st.sampled_from(["eth1", "eth2", "eth3"]), st.sampled_from([f"10.0.{net}" for net in range(1, 5)]), max_size=3
)
worlds = st.dictionaries(st.sampled_from(HOSTS), nic_sets, max_size=len(HOSTS))
excludes = st.lists(
    st.sampled_from(["192.168.0.0/24", "192.168.64.0/23", "192.168.128.0/18", "192.168.3.0/25", "10.0.1.0/28"]),
    unique=True,
    max_size=3,
)


@st.composite
def requests(draw: st.DrawFn) -> BlockRequest:
    found = draw(excludes)
    return BlockRequest(
        name="net",
        plugin="ipvlan",
        subnet=draw(st.sampled_from([ip_network("192.168.0.0/16"), None])),
        interface_bits=2,
        host_bits=draw(st.sampled_from([0, 1, 2, 4])),
        excludes=tuple(ip_network(e) for e in found),
        exclude_texts=tuple(found),
        master_nets=draw(st.sampled_from([(), tuple(ip_network(f"10.0.{i}.0/24") for i in (3, 1))])),
    )


def nics_of(world: World) -> list[HostNic]:
    """NICs with an address that nobody else has."""
    return [
        HostNic(host, ifname, ip_interface(f"{net}.1/24").network, f"{net}.{1 + HOSTS.index(host) * 4 + position}")
        for host, own in sorted(world.items())
        for position, (ifname, net) in enumerate(sorted(own.items()))
    ]


def compute(request: BlockRequest, world: World, existing: CIDRSpec | None) -> Computed:
    return compute_blocks(request, nics_of(world), set(world), existing)


def run(request: BlockRequest, history: list[World]) -> list[CIDRSpec]:
    specs: list[CIDRSpec] = []
    for world in history:
        specs.append(compute(request, world, specs[-1] if specs else None).spec)
    return specs


@given(requests(), st.lists(worlds, min_size=1, max_size=6))
def test_pod_blocks_never_overlap(request: BlockRequest, history: list[World]) -> None:
    """No address is in two pod blocks, and each lies in the interface block of its entry."""
    for spec in run(request, history):
        pods = sorted((ip_network(r.pod_cidr), ip_network(e.vlan_cidr)) for e in spec.cidr for r in e.hosts)
        assert all(pod.subnet_of(vlan) for pod, vlan in pods)
        assert not any(one.overlaps(other) for (one, _), (other, _) in pairwise(pods))


@given(requests(), st.lists(worlds, min_size=2, max_size=6))
def test_interface_indexes_never_move(request: BlockRequest, history: list[World]) -> None:
    """An entry that was once there stays, under its index, whatever comes and goes."""
    known: dict[str, int] = {}
    for spec in run(request, history):
        now = {entry.net_address: entry.interface_index for entry in spec.cidr}
        assert known.items() <= now.items()
        known = now


@given(requests(), st.lists(worlds, min_size=2, max_size=6))
def test_host_indexes_never_move_while_the_node_exists(request: BlockRequest, history: list[World]) -> None:
    """A NIC that is where it was before has the block that it had before."""
    before: dict[tuple[str, str, str], str] = {}
    for world, spec in zip(history, run(request, history), strict=True):
        now = {(e.net_address, r.host_name, r.interface_name): r.pod_cidr for e in spec.cidr for r in e.hosts}
        there = {(str(nic.network), nic.host, nic.ifname) for nic in nics_of(world)}
        assert all(now[key] == block for key, block in before.items() if key in there)
        before = {key: block for key, block in now.items() if key in there}


@given(requests(), st.lists(worlds, min_size=2, max_size=6))
def test_a_node_that_exists_keeps_its_indexes_without_its_nics(request: BlockRequest, history: list[World]) -> None:
    """NICs that all go and come back find the blocks they had."""
    spec = run(request, history)[-1]
    bare = compute(request, {host: {} for host in history[-1]}, spec).spec
    assert compute(request, history[-1], bare).spec == spec


@given(requests(), st.lists(worlds, min_size=1, max_size=4))
def test_computing_again_changes_nothing(request: BlockRequest, history: list[World]) -> None:
    """The computation is a fixpoint of itself, with the same problems."""
    spec = run(request, history)[-1]
    again = compute(request, history[-1], spec)
    assert again.spec == spec
    assert compute(request, history[-1], again.spec).problems == again.problems


@given(requests(), worlds, worlds, st.randoms())
def test_the_order_of_the_input_does_not_matter(
    request: BlockRequest, first: World, second: World, order: random.Random
) -> None:
    """Shuffled NICs, entries and rows give the same CIDR."""
    existing = compute(request, first, None).spec
    shuffled = existing.model_copy(deep=True)
    order.shuffle(shuffled.cidr)
    for entry in shuffled.cidr:
        order.shuffle(entry.hosts)
    nics = nics_of(second)
    expected = compute_blocks(request, nics, set(second), existing)
    order.shuffle(nics)
    assert compute_blocks(request, nics, set(second), shuffled) == expected


@given(requests(), st.lists(worlds, min_size=1, max_size=4))
def test_no_new_block_is_taken_whole_by_an_exclude(request: BlockRequest, history: list[World]) -> None:
    """A pod block that an exclude covers is given to nobody."""
    for spec in run(request, history):
        for entry in spec.cidr:
            for row in entry.hosts:
                assert not any(ip_network(row.pod_cidr).subnet_of(e) for e in request.excludes)


@given(st.lists(worlds, min_size=1, max_size=6))
@settings(max_examples=200)
def test_every_nic_has_a_block_or_a_problem(history: list[World]) -> None:
    """With room for all, every NIC has one row; nothing is left out in silence."""
    request = BlockRequest("net", "ipvlan", ip_network("192.168.0.0/16"), interface_bits=2, host_bits=6)
    for index, spec in enumerate(run(request, history)):
        rows = {(e.net_address, r.host_name, r.interface_name) for e in spec.cidr for r in e.hosts}
        assert {(str(n.network), n.host, n.ifname) for n in nics_of(history[index])} <= rows
        for host, own in history[index].items():
            for ifname in own:
                assert len([row for row in rows if row[1:] == (host, ifname)]) == 1


@given(st.lists(worlds, min_size=1, max_size=6), st.integers(1, 3))
def test_a_node_has_one_index_on_all_interfaces(history: list[World], count: int) -> None:
    """Without adoption, a node with one NIC for each network has one host index everywhere."""
    request = BlockRequest("net", "ipvlan", ip_network("192.168.0.0/16"), interface_bits=2, host_bits=6)
    single = [{host: {f"eth{i}": f"10.0.{i}" for i in range(1, count + 1)} for host in world} for world in history]
    for spec in run(request, single):
        for host in {row.host_name for entry in spec.cidr for row in entry.hosts}:
            indexes = {row.host_index for entry in spec.cidr for row in entry.hosts if row.host_name == host}
            assert len(indexes) == 1
