"""The blocks of a network: worked examples, limits, and what stays when things come and go."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest
from multinic_operator.numbering.blocks import Computed, compute_blocks
from multinic_operator.numbering.layout import BlockRequest, HostNic

from multinic_core.addressing import excluded_blocks
from multinic_core.model import CIDRSpec


def request(**fields: Any) -> BlockRequest:
    subnet = fields.pop("subnet", "192.168.0.0/16")
    excludes = fields.pop("excludes", ())
    masters = fields.pop("master_nets", ())
    defaults: dict[str, Any] = {"interface_bits": 2, "host_bits": 6, "vlan_mode": "l3"}
    return BlockRequest(
        name="net",
        plugin="ipvlan",
        subnet=ip_network(subnet) if subnet else None,
        excludes=tuple(ip_network(e) for e in excludes),
        exclude_texts=tuple(excludes),
        master_nets=tuple(ip_network(n) for n in masters),
        **(defaults | fields),
    )


def nics(**hosts: Mapping[str, str]) -> tuple[HostNic, ...]:
    return tuple(
        HostNic(host, ifname, ip_interface(address).network, str(ip_interface(address).ip))
        for host, own in sorted(hosts.items())
        for ifname, address in sorted(own.items())
    )


def compute(
    wish: BlockRequest, present: tuple[HostNic, ...], existing: CIDRSpec | None = None, hosts: Any = None
) -> Computed:
    return compute_blocks(wish, present, {nic.host for nic in present} if hosts is None else hosts, existing)


def table(spec: CIDRSpec) -> dict[str, dict[str, int]]:
    """Network to NIC to host index."""
    return {e.net_address: {f"{r.host_name}/{r.interface_name}": r.host_index for r in e.hosts} for e in spec.cidr}


@pytest.mark.parametrize(
    ("subnet", "interface_bits", "host_bits", "interface_index", "host_index", "vlan", "pod"),
    [
        ("192.168.0.0/16", 2, 6, 0, 0, "192.168.0.0/18", "192.168.0.0/24"),
        ("192.168.0.0/16", 2, 6, 0, 63, "192.168.0.0/18", "192.168.63.0/24"),
        ("192.168.0.0/16", 2, 6, 1, 2, "192.168.64.0/18", "192.168.66.0/24"),
        ("192.168.0.0/16", 2, 6, 3, 63, "192.168.192.0/18", "192.168.255.0/24"),
        ("192.168.0.0/16", 2, 8, 0, 1, "192.168.0.0/18", "192.168.0.64/26"),
        ("192.168.0.0/16", 2, 8, 1, 255, "192.168.64.0/18", "192.168.127.192/26"),
        ("192.168.0.0/16", 2, 9, 0, 1, "192.168.0.0/18", "192.168.0.32/27"),
        ("192.168.0.0/16", 2, 10, 1, 1023, "192.168.64.0/18", "192.168.127.240/28"),
        ("10.0.0.0/8", 3, 10, 1, 1, "10.32.0.0/11", "10.32.8.0/21"),
        ("10.0.0.0/8", 3, 10, 7, 0, "10.224.0.0/11", "10.224.0.0/21"),
        ("172.30.0.0/16", 2, 2, 2, 0, "172.30.128.0/18", "172.30.128.0/20"),
        ("172.34.0.0/16", 2, 8, 1, 2, "172.34.64.0/18", "172.34.64.128/26"),
    ],
)
def test_blocks_are_cut_as_documented(
    subnet: str, interface_bits: int, host_bits: int, interface_index: int, host_index: int, vlan: str, pod: str
) -> None:
    """The table of the original's guide: interface index and host index give these blocks."""
    networks = [f"100.64.{i}.0/24" for i in range(interface_index + 1)]
    hosts = {f"n{i:04d}": {"eth1": f"100.64.{interface_index}.1/24"} for i in range(host_index + 1)}
    wish = request(subnet=subnet, interface_bits=interface_bits, host_bits=host_bits, master_nets=networks)
    computed = compute(wish, nics(**hosts))
    entry = computed.spec.cidr[interface_index]
    assert computed.problems == ()
    assert (entry.interface_index, entry.vlan_cidr) == (interface_index, vlan)
    row = entry.hosts[-1]
    assert (row.host_index, row.pod_cidr, row.ippool) == (host_index, pod, f"net-{pod.replace('/', '-')}")


def test_two_hosts_on_two_networks_get_the_documented_pools() -> None:
    """Host1 has index 0 and Host2 index 1 on both networks, which have the order of masterNets."""
    present = nics(
        host1={"eth1": "10.0.1.1/24", "eth2": "10.0.2.1/24"}, host2={"eth1": "10.0.1.2/24", "eth2": "10.0.2.2/24"}
    )
    spec = compute(request(master_nets=("10.0.1.0/24", "10.0.2.0/24")), present).spec
    assert {(r.host_name, e.net_address): r.pod_cidr for e in spec.cidr for r in e.hosts} == {
        ("host1", "10.0.1.0/24"): "192.168.0.0/24",
        ("host2", "10.0.1.0/24"): "192.168.1.0/24",
        ("host1", "10.0.2.0/24"): "192.168.64.0/24",
        ("host2", "10.0.2.0/24"): "192.168.65.0/24",
    }


def test_an_excluded_pod_block_takes_its_host_index_on_every_interface() -> None:
    """With the original's test excludes the second host gets index 2; here on interface 1 as well."""
    present = nics(a={"eth1": "10.0.1.1/24", "eth2": "10.0.2.1/24"}, b={"eth1": "10.0.1.2/24", "eth2": "10.0.2.2/24"})
    spec = compute(request(host_bits=8, excludes=("192.168.0.64/26", "192.168.0.128/30")), present).spec
    assert table(spec) == {
        "10.0.1.0/24": {"a/eth1": 0, "b/eth1": 2},
        "10.0.2.0/24": {"a/eth2": 0, "b/eth2": 2},
    }
    assert spec.cidr[0].hosts[1].pod_cidr == "192.168.0.128/26"


def test_two_halves_of_a_block_exclude_the_block() -> None:
    """Excludes that together cover a pod block take its index."""
    spec = compute(request(excludes=("192.168.0.0/25", "192.168.0.128/25")), nics(a={"eth1": "10.0.1.1/24"})).spec
    assert table(spec) == {"10.0.1.0/24": {"a/eth1": 1}}


def test_an_excluded_interface_block_is_skipped() -> None:
    """An exclude of a whole interface block takes its interface index, and no host index."""
    present = nics(a={"eth1": "10.0.1.1/24", "eth2": "10.0.2.1/24"})
    spec = compute(request(excludes=("192.168.0.0/18",)), present).spec
    assert [(e.net_address, e.interface_index) for e in spec.cidr] == [("10.0.1.0/24", 1), ("10.0.2.0/24", 2)]
    assert spec.cidr[0].hosts[0].host_index == 0


def test_master_nets_order_the_interfaces_and_filter_the_nics() -> None:
    """Interface indexes follow masterNets, whose networks have an entry even before a NIC is there."""
    present = nics(a={"eth1": "10.0.1.1/24", "eth3": "10.0.3.1/24"})
    spec = compute(request(master_nets=("10.0.2.0/24", "10.0.1.0/24")), present).spec
    assert [(e.net_address, e.interface_index, len(e.hosts)) for e in spec.cidr] == [
        ("10.0.2.0/24", 0, 0),
        ("10.0.1.0/24", 1, 1),
    ]


def test_both_nics_of_a_node_in_one_network_are_used() -> None:
    """Each NIC has a row of its own; second NICs are numbered after all first ones, alike on all interfaces."""
    present = nics(
        a={"eth1": "10.0.1.1/24", "eth2": "10.0.1.2/24", "eth3": "10.0.2.1/24", "eth4": "10.0.2.2/24"},
        b={"eth1": "10.0.1.3/24", "eth3": "10.0.2.3/24"},
    )
    assert table(compute(request(), present).spec) == {
        "10.0.1.0/24": {"a/eth1": 0, "b/eth1": 1, "a/eth2": 2},
        "10.0.2.0/24": {"a/eth3": 0, "b/eth3": 1, "a/eth4": 2},
    }


def test_more_networks_than_interface_blocks_leave_the_existing_ones_alone() -> None:
    """The fifth network of interfaceBlock 2 is named with the limit; the four others are as they were."""
    four = {f"eth{i}": f"10.0.{i}.1/24" for i in range(1, 5)}
    before = compute(request(), nics(a=four)).spec
    after = compute(request(), nics(a=four | {"eth5": "10.0.0.1/24"}), before)
    assert after.spec == before
    (problem,) = after.problems
    assert "spec.ipam.interfaceBlock: found 2" in problem
    assert "4 NIC networks" in problem
    assert "10.0.0.0/24" in problem


def test_more_nodes_than_host_blocks_leave_the_existing_ones_alone() -> None:
    """The third node of hostBlock 1 is named with the limit; the two others are as they were."""
    two = {"b": {"eth1": "10.0.1.2/24"}, "c": {"eth1": "10.0.1.3/24"}}
    before = compute(request(host_bits=1), nics(**two)).spec
    after = compute(request(host_bits=1), nics(a={"eth1": "10.0.1.1/24"}, **two), before)
    assert after.spec == before
    (problem,) = after.problems
    assert "spec.ipam.hostBlock: found 1" in problem
    assert "allows 2 blocks" in problem
    assert "a (eth1)" in problem


def test_host_block_zero_gives_the_interface_block() -> None:
    """With hostBlock 0 the pod block is the interface block, for one node on each network."""
    present = nics(a={"eth1": "10.0.1.1/24"}, b={"eth1": "10.0.2.1/24"})
    spec = compute(request(host_bits=0), present).spec
    assert [(e.vlan_cidr, e.hosts[0].pod_cidr, e.hosts[0].host_index) for e in spec.cidr] == [
        ("192.168.0.0/18", "192.168.0.0/18", 0),
        ("192.168.64.0/18", "192.168.64.0/18", 0),
    ]


def test_host_block_zero_refuses_a_second_node_on_a_network() -> None:
    """Two nodes cannot allocate from one block, so the second one is a problem and not a shared pool."""
    computed = compute(request(host_bits=0), nics(a={"eth1": "10.0.1.1/24"}, b={"eth1": "10.0.1.2/24"}))
    assert table(computed.spec) == {"10.0.1.0/24": {"a/eth1": 0}}
    assert "allows 1 block on" in computed.problems[0]


def test_without_a_subnet_the_nic_networks_are_cut() -> None:
    """Host-subnet mode: interface block = NIC network, and interfaceBlock does not limit their number."""
    present = nics(a={"eth1": "10.0.1.1/24", "eth2": "10.0.2.1/24"}, b={"eth1": "10.0.1.2/24", "eth2": "10.0.2.2/24"})
    spec = compute(request(subnet="", interface_bits=0, host_bits=2), present).spec
    assert [(e.vlan_cidr, [r.pod_cidr for r in e.hosts]) for e in spec.cidr] == [
        ("10.0.1.0/24", ["10.0.1.0/26", "10.0.1.64/26"]),
        ("10.0.2.0/24", ["10.0.2.0/26", "10.0.2.64/26"]),
    ]


def test_without_a_subnet_a_network_too_small_is_named() -> None:
    """A NIC network with fewer bits than hostBlock has no block; others are not affected."""
    present = nics(a={"eth1": "10.0.1.1/30", "eth2": "10.0.2.1/24"})
    computed = compute(request(subnet="", host_bits=4), present)
    assert table(computed.spec) == {"10.0.2.0/24": {"a/eth2": 0}}
    assert "10.0.1.0/30 has only 2 bits" in computed.problems[0]


def test_a_renamed_nic_takes_over_its_row() -> None:
    """Index and block stay with node and network when the NIC's name changes."""
    before = compute(request(), nics(a={"eth1": "10.0.1.1/24"}, b={"eth1": "10.0.1.2/24"})).spec
    after = compute(request(), nics(a={"ens1": "10.0.1.1/24"}, b={"eth1": "10.0.1.2/24"}), before).spec
    assert table(after) == {"10.0.1.0/24": {"a/ens1": 0, "b/eth1": 1}}


def test_a_readdressed_nic_keeps_its_row() -> None:
    """Another address on the same network changes hostIP alone."""
    before = compute(request(), nics(a={"eth1": "10.0.1.1/24"})).spec
    after = compute(request(), nics(a={"eth1": "10.0.1.9/24"}), before).spec
    assert (after.cidr[0].hosts[0].host_ip, table(after)) == ("10.0.1.9", table(before))


def test_a_nic_that_moves_to_another_network_has_one_row() -> None:
    """The row on the old network goes, as a NIC has one pool; the node keeps its index on the new one."""
    before = compute(request(), nics(a={"eth1": "10.0.1.1/24"}, b={"eth1": "10.0.1.2/24"})).spec
    after = compute(request(), nics(a={"eth1": "10.0.1.1/24"}, b={"eth1": "10.0.3.2/24"}), before).spec
    assert table(after) == {"10.0.1.0/24": {"a/eth1": 0}, "10.0.3.0/24": {"b/eth1": 1}}


def test_a_node_without_nics_keeps_its_rows_while_it_exists() -> None:
    """Rows are the memory of indexes: they stay without NICs and go with the node."""
    present = nics(a={"eth1": "10.0.1.1/24"}, b={"eth1": "10.0.1.2/24"})
    before = compute(request(), present).spec
    assert compute(request(), nics(b={"eth1": "10.0.1.2/24"}), before, hosts={"a", "b"}).spec == before
    gone = compute(request(), nics(b={"eth1": "10.0.1.2/24"}), before, hosts={"b"}).spec
    assert table(gone) == {"10.0.1.0/24": {"b/eth1": 1}}


def test_a_new_node_gets_the_index_above_all_and_gaps_only_at_the_end() -> None:
    """After index 1 was freed a new node gets 3, and the one after it the gap."""
    hosts = {name: {"eth1": f"10.0.1.{number}/24"} for number, name in enumerate("abc", 1)}
    first = compute(request(host_bits=2), nics(**hosts)).spec
    del hosts["b"]
    hosts["d"] = {"eth1": "10.0.1.4/24"}
    second = compute(request(host_bits=2), nics(**hosts), first).spec
    assert table(second)["10.0.1.0/24"] == {"a/eth1": 0, "c/eth1": 2, "d/eth1": 3}
    hosts["e"] = {"eth1": "10.0.1.5/24"}
    third = compute(request(host_bits=2), nics(**hosts), second).spec
    assert table(third)["10.0.1.0/24"] == {"a/eth1": 0, "e/eth1": 1, "c/eth1": 2, "d/eth1": 3}


def test_an_entry_without_nodes_keeps_its_interface_index() -> None:
    """The entry stays when its last node has gone, and a later network does not get its index."""
    before = compute(request(), nics(a={"eth1": "10.0.1.1/24"}, b={"eth1": "10.0.2.1/24"})).spec
    after = compute(request(), nics(b={"eth1": "10.0.2.1/24", "eth2": "10.0.0.1/24"}), before).spec
    assert [(e.net_address, e.interface_index) for e in after.cidr] == [
        ("10.0.1.0/24", 0),
        ("10.0.2.0/24", 1),
        ("10.0.0.0/24", 2),
    ]


def adopted() -> CIDRSpec:
    """A CIDR as the original may have left it: node b counts 1 on one interface and 0 on the other."""
    present = nics(a={"eth1": "10.0.1.1/24"}, b={"eth1": "10.0.1.2/24", "eth2": "10.0.2.2/24"})
    spec = compute(request(), present).spec
    (row,) = spec.cidr[1].hosts
    return spec.model_copy(
        update={
            "cidr": [
                spec.cidr[0],
                spec.cidr[1].model_copy(update={"hosts": [row.model_copy(update={"host_index": 0})]}),
            ]
        }
    )


def test_adopted_indexes_that_differ_per_interface_stay() -> None:
    """Node b keeps 1 and 0; node a, new on the second interface, cannot have its 0 there and gets one new to all."""
    present = nics(a={"eth1": "10.0.1.1/24", "eth2": "10.0.2.1/24"}, b={"eth1": "10.0.1.2/24", "eth2": "10.0.2.2/24"})
    assert table(compute(request(), present, adopted()).spec) == {
        "10.0.1.0/24": {"a/eth1": 0, "b/eth1": 1},
        "10.0.2.0/24": {"b/eth2": 0, "a/eth2": 2},
    }


def test_an_adopted_network_is_filled_to_the_last_block() -> None:
    """When no index is free on all interfaces, one that is free on this one is given."""
    present = nics(a={"eth1": "10.0.1.1/24", "eth2": "10.0.2.1/24"}, b={"eth1": "10.0.1.2/24", "eth2": "10.0.2.2/24"})
    computed = compute(request(host_bits=1), present, adopted())
    assert computed.problems == ()
    assert table(computed.spec)["10.0.2.0/24"] == {"b/eth2": 0, "a/eth2": 1}


def test_a_repeated_row_of_an_adopted_cidr_counts_once() -> None:
    """The original could write the last host twice; the copy is dropped."""
    spec = compute(request(), nics(a={"eth1": "10.0.1.1/24"})).spec
    (entry,) = spec.cidr
    copy = entry.hosts[0].model_copy(update={"host_index": 5})
    doubled = spec.model_copy(update={"cidr": [entry.model_copy(update={"hosts": [*entry.hosts, copy]})]})
    assert compute(request(), nics(a={"eth1": "10.0.1.1/24"}), doubled).spec == spec


def test_a_nic_network_within_the_subnet_gets_no_block_and_stops_nothing() -> None:
    """A NIC that arrives with an address of the pod subnet is named; the others go on."""
    present = nics(a={"eth1": "10.0.1.1/24", "eth2": "192.168.7.1/24"})
    computed = compute(request(), present)
    assert table(computed.spec) == {"10.0.1.0/24": {"a/eth1": 0}}
    assert "192.168.7.0/24" in computed.problems[0]


def test_version_six_is_cut_by_the_same_arithmetic() -> None:
    """The same arithmetic on 128 bits, also where no loop over indexes would end."""
    wish = request(subnet="fd00::/16", interface_bits=48, host_bits=48, excludes=("fd00::/17",))
    spec = compute(wish, nics(a={"eth1": "2001:db8::1/64"})).spec
    assert spec.cidr[0].interface_index == 1 << 47
    assert spec.cidr[0].vlan_cidr == "fd00:8000::/64"
    assert spec.cidr[0].hosts[0].pod_cidr == "fd00:8000::/112"


def test_excluded_blocks_counts_blocks() -> None:
    """Excludes as ranges of block indexes: whole blocks only, outside ones not at all."""
    container = ip_network("192.168.0.0/16")
    excludes = [ip_network(e) for e in ("192.168.2.0/23", "192.168.9.0/25", "10.0.0.0/8", "192.168.255.0/24")]
    assert excluded_blocks(container, 8, excludes) == [(2, 3), (255, 255)]
    assert excluded_blocks(container, 8, [ip_network("192.0.0.0/8")]) == [(0, 255)]


def test_nics_that_swap_their_names_keep_their_blocks_by_address() -> None:
    """Of two renamed NICs on one network each takes the row that has its address."""
    before = compute(request(), nics(a={"eth1": "10.0.1.1/24", "eth2": "10.0.1.2/24"})).spec
    after = compute(request(), nics(a={"ens8": "10.0.1.1/24", "ens7": "10.0.1.2/24"}), before).spec
    assert table(after) == {"10.0.1.0/24": {"a/ens8": 0, "a/ens7": 1}}


def test_two_entries_of_one_interface_index_cannot_both_be_right() -> None:
    """The second entry of an index, which no working CIDR has, gets an index and blocks of its own."""
    present = nics(a={"eth1": "10.0.1.1/24", "eth2": "10.0.2.1/24"})
    spec = compute(request(), present).spec
    spoiled = spec.model_copy(update={"cidr": [spec.cidr[0], spec.cidr[1].model_copy(update={"interface_index": 0})]})
    assert compute(request(), present, spoiled).spec == spec
