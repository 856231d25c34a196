"""Which links the rule takes as secondary NICs, case by case."""

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from multinic_daemon.discovery.hardware import Hardware
from multinic_daemon.discovery.nics import NodeFacts, node_uses, secondary_nics
from multinic_daemon.discovery.pci import PciFunction
from multinic_daemon.discovery.sysfs import DeviceFacts
from multinic_daemon.netlink import Address, Link, Route
from multinic_daemon.netlink.kinds import encode_attributes
from multinic_daemon.podlinks.marks import GROUPS
from multinic_daemon.podlinks.vlans import VLAN_GROUP

from multinic_core import Nic, Vf

UP, LOOPBACK = 1, 8


def link(ifindex: int, ifname: str, **changes: Any) -> Link:
    fields: dict[str, Any] = {
        "ifindex": ifindex,
        "ifname": ifname,
        "hardware": 1,
        "flags": UP,
        "mtu": 1500,
        "mac_address": f"02:00:00:00:00:{ifindex:02x}",
        "link_kind": "",
        "info_data": b"",
        "parent_ifindex": 0,
        "parent_netns_id": None,
        "master_ifindex": 0,
        "group": 0,
        "carrier": True,
        "bus": "",
        "bus_device": "",
    }
    return Link(**{**fields, **changes})


def address(ifindex: int, text: str, scope: int = 0, flags: int = 0) -> Address:
    return Address(ifindex, ip_interface(text), scope, flags)


def default(ifindex: int, *, priority: int = 0, version: int = 4) -> Route:
    dst = ip_network("0.0.0.0/0" if version == 4 else "::/0")
    gateway = ip_address("10.0.0.254" if version == 4 else "fe80::1")
    return Route(dst, gateway, (ifindex,), 254, 4, priority, 1)


PRIMARY = link(2, "eth0")
BASE = [link(1, "lo", flags=UP | LOOPBACK, hardware=772), PRIMARY]
BASE_ADDRESSES = [address(1, "127.0.0.1/8", 254), address(2, "10.0.0.5/24")]


def taken(*links: Link, addresses: Any = (), routes: Any = None, **more: Any) -> list[str]:
    facts = NodeFacts(
        links=[*BASE, *links],
        addresses=[*BASE_ADDRESSES, *addresses],
        default_routes=[default(2)] if routes is None else routes,
        **more,
    )
    return [nic.ifname for nic in secondary_nics(facts)]


@pytest.mark.parametrize(
    ("link_kind", "yes"),
    [(kind, True) for kind in ("", "bond", "team", "vlan", "veth", "ipoib")]
    + [(kind, False) for kind in ("bridge", "vxlan", "geneve", "gre", "gretap", "ipip", "sit", "ip6tnl", "wireguard")]
    + [(kind, False) for kind in ("tun", "dummy", "ifb", "vrf", "macvlan", "ipvlan", "nlmon", "unheard-of")],
)
def test_the_kind_decides(link_kind: str, yes: bool):
    """Of links that are alike in all else, only those of kinds that lead out of the node are taken."""
    found = taken(link(3, "x0", link_kind=link_kind), addresses=[address(3, "10.0.1.5/24")])
    assert found == (["x0"] if yes else [])


def test_a_vlan_link_that_we_made_for_pods_is_no_nic():
    """Whatever address somebody gives it; a VLAN link of the node's own is one."""
    vlan = link(3, "eth1.100", link_kind="vlan", parent_ifindex=4)
    on_it = [address(3, "10.0.1.5/24")]
    assert taken(vlan, addresses=on_it) == ["eth1.100"]
    assert taken(vlan._replace(group=VLAN_GROUP), addresses=on_it) == []


def test_uses_that_the_node_itself_makes_of_its_nics_are_told():
    """By NIC and by VLAN of it; of a VLAN link both ways, as it may be a NIC itself. Other namespaces do not count."""
    vlan_data = encode_attributes("vlan", {"IFLA_VLAN_ID": 7})
    passthru, l3 = ({"IFLA_MACVLAN_MODE": 8}, {"IFLA_IPVLAN_MODE": 1})
    links = [
        link(3, "eth1"),
        link(4, "eth1.7", link_kind="vlan", parent_ifindex=3, info_data=vlan_data),
        link(5, "mv0", link_kind="macvlan", parent_ifindex=3, info_data=encode_attributes("macvlan", passthru)),
        link(6, "iv0", link_kind="ipvlan", parent_ifindex=4, info_data=encode_attributes("ipvlan", l3)),
        link(7, "iv1", link_kind="ipvlan", parent_ifindex=3, parent_netns_id=1),
        link(8, "veth0", link_kind="veth", parent_ifindex=3),
    ]
    l3_use = {"ipvlan, mode l3, flag bridge": "iv0"}
    assert node_uses(links) == {(3, 0): {"macvlan, mode passthru": "mv0"}, (4, 0): l3_use, (3, 7): l3_use}


def test_neither_the_loopback_nor_the_primary_nic_is_taken():
    """A node with nothing else has no secondary NICs."""
    assert taken() == []


def test_two_nics_in_one_subnet_are_both_taken():
    """NICs are told apart by name, not by network."""
    found = taken(link(3, "eth1"), link(4, "eth2"), addresses=[address(3, "10.0.1.5/24"), address(4, "10.0.1.6/24")])
    assert found == ["eth1", "eth2"]


def test_a_second_link_on_the_primary_network_is_not_taken():
    """Clouds hang NICs of their pod network beside the primary one."""
    assert taken(link(3, "ens6"), addresses=[address(3, "10.0.0.77/24")]) == []


def test_of_several_default_routes_the_lowest_metric_marks_the_primary():
    """DHCP gives each NIC a default route; the others are secondary all the same."""
    routes = [default(2, priority=100), default(3, priority=200)]
    assert taken(link(3, "eth1"), addresses=[address(3, "10.0.1.5/24")], routes=routes) == ["eth1"]


def test_an_ipv6_default_route_marks_the_primary_only_where_ipv4_has_none():
    """Router advertisements on a fabric do not make its NIC the primary one."""
    extra = [address(3, "10.0.1.5/24")]
    assert taken(link(3, "eth1"), addresses=extra, routes=[default(2), default(3, version=6)]) == ["eth1"]
    assert taken(link(3, "eth1"), addresses=extra, routes=[default(3, version=6)]) == ["eth0"]


def test_every_next_hop_of_a_multipath_default_route_is_primary():
    """Two uplinks that share the default route are both primary."""
    route = default(2)._replace(ifindexes=(2, 3), gateway=None)
    assert taken(link(3, "eth1"), addresses=[address(3, "10.0.1.5/24")], routes=[route]) == []


def test_the_internal_ip_marks_the_primary_without_a_default_route():
    """An air-gapped node knows its primary NIC by the Node object."""
    found = taken(
        link(3, "eth1"),
        addresses=[address(3, "10.0.1.5/24")],
        routes=[],
        internal_addresses=frozenset({ip_address("10.0.0.5")}),
    )
    assert found == ["eth1"]


def test_a_primary_nic_that_lost_its_route_stays_the_primary():
    """While the default route is away, the NIC that had it must not be given an index."""
    assert taken(routes=[]) == ["eth0"]
    assert taken(routes=[], last_primary=frozenset({"eth0"})) == []


def test_members_of_a_bond_or_a_bridge_are_not_taken_but_the_bond_is():
    """A member's traffic belongs to its master; a VRF takes nothing away."""
    links = [
        link(3, "bond0", link_kind="bond"),
        link(4, "eth1", master_ifindex=3),
        link(5, "br0", link_kind="bridge"),
        link(6, "eth2", master_ifindex=5),
        link(7, "red", link_kind="vrf"),
        link(8, "eth3", master_ifindex=7),
    ]
    addresses = [address(i, f"10.0.{i}.5/24") for i in range(3, 9)]
    assert taken(*links, addresses=addresses) == ["bond0", "eth3"]


def test_a_veth_is_taken_only_with_an_address_on_a_network_of_its_own():
    """Peers of pods have none, or the pod's gateway as a single address."""
    links = [link(i, f"veth{i}", link_kind="veth", parent_netns_id=i) for i in (3, 4, 5)]
    addresses = [address(3, "10.0.1.5/24"), address(4, "10.244.0.1/32"), address(5, "fe80::1/64", 253)]
    assert taken(*links, addresses=addresses) == ["veth3"]


def test_a_macvlan_is_taken_when_its_parent_is_elsewhere():
    """A node that lives in a container has such links as its NICs; one with its parent here is like a pod's."""
    links = [link(3, "eth1", link_kind="macvlan", parent_netns_id=0), link(4, "shim", link_kind="macvlan")]
    addresses = [address(3, "10.0.1.5/24"), address(4, "10.0.2.5/24")]
    assert taken(*links, addresses=addresses) == ["eth1"]


def test_a_nic_leaves_when_down_or_without_address_and_stays_without_carrier():
    """Down and unaddressed NICs carry nothing; a pulled cable shows in ``up`` alone."""
    links = [link(3, "down", flags=0), link(4, "bare"), link(5, "dark", carrier=False)]
    facts = NodeFacts(
        [*BASE, *links], [*BASE_ADDRESSES, address(3, "10.0.1.5/24"), address(5, "10.0.2.5/24")], [default(2)]
    )
    (nic,) = secondary_nics(facts)
    assert (nic.ifname, nic.up) == ("dark", False)


def test_addresses_are_ipv4_first_and_only_lasting_global_ones():
    """The first address is what HostInterface shows: IPv4 where there is one, else a global IPv6 address."""
    addresses = [
        address(3, "fd00::5/64"),
        address(3, "fd00::aaaa/64", flags=0x01),
        address(3, "fe80::1/64", 253),
        address(3, "10.0.1.5/24"),
        address(3, "10.0.1.6/24", flags=0x01),
        address(4, "fd01::5/64"),
    ]
    facts = NodeFacts([*BASE, link(3, "eth1"), link(4, "eth2")], [*BASE_ADDRESSES, *addresses], [default(2)])
    first, second = secondary_nics(facts)
    assert [str(a) for a in first.addresses] == ["10.0.1.5/24", "10.0.1.6/24", "fd00::5/64"]
    assert str(second.network) == "fd01::/64"


def test_a_nic_that_sits_in_a_pod_stays_and_one_that_came_back_is_shown_as_it_is():
    """What the journal holds fills in for what the kernel does not show."""
    held = {"eth1": Nic("eth1", 3, 1500), "eth2": Nic("eth2", 9, 9000)}
    facts = NodeFacts([*BASE, link(4, "eth2")], [*BASE_ADDRESSES, address(4, "10.0.2.5/24")], [default(2)], held=held)
    first, second = secondary_nics(facts)
    assert first == held["eth1"]
    assert (second.ifindex, second.mtu) == (4, 1500)


def test_a_nic_named_by_hand_is_shown_without_address_but_not_without_link():
    """A hand-written HostInterface adds NICs that have no address; it cannot add what is not there."""
    declared = {"eth1": (ip_interface("10.0.1.5/24"),), "eth9": ()}
    (nic,) = secondary_nics(NodeFacts([*BASE, link(3, "eth1")], BASE_ADDRESSES, [default(2)], declared=declared))
    assert (nic.ifname, nic.ifindex, str(nic.network)) == ("eth1", 3, "10.0.1.0/24")
    assert nic.own_addresses == ()


def test_only_what_is_on_the_link_for_good_is_its_own():
    """A lease and what a router advertised are shown, and not the NIC's own; nor is what a hand has written."""
    found = [address(3, "10.0.1.5/24", flags=0x80), address(3, "10.0.1.9/24"), address(3, "fd01::5/64", flags=0x100)]
    declared = {"eth1": (ip_interface("10.0.1.77/24"),)}
    for links in ([link(3, "eth1", carrier=False)], [link(3, "eth1", flags=0)]):
        facts = NodeFacts([*BASE, *links], [*BASE_ADDRESSES, *found], [default(2)], declared=declared)
        (nic,) = secondary_nics(facts)
        assert [str(each) for each in nic.addresses] == ["10.0.1.5/24", "10.0.1.9/24", "fd01::5/64"]
        assert nic.own_addresses == (ip_interface("10.0.1.5/24"),)
        assert (nic.up, nic.switched_on) == (False, links[0].up)


def test_a_nic_on_its_way_to_a_pod_or_back_is_told_as_it_was():
    """While it has our mark it is down, and may lack its addresses; also one that a hand has named."""
    held, declared = {"eth1": Nic("eth1", 3, 1500)}, {"eth1": (ip_interface("10.0.1.77/24"),)}
    marked = link(3, "eth1", flags=0, group=GROUPS[5], alias="multinic:eth1")
    facts = NodeFacts([*BASE, marked], BASE_ADDRESSES, [default(2)], held=held, declared=declared)
    assert secondary_nics(facts) == (held["eth1"],)


@pytest.mark.parametrize(
    ("group", "alias", "told"),
    [(7, "to the storage", (7, "to the storage")), (GROUPS[5], "x", (0, "")), (7, "multinic:eth1", (0, ""))],
)
def test_group_and_alias_are_the_owners_and_no_mark(group: int, alias: str, told: Any):
    """What is told comes back with the device; a mark that was left behind must not."""
    facts = NodeFacts(
        [*BASE, link(3, "eth1", group=group, alias=alias)],
        [*BASE_ADDRESSES, address(3, "10.0.1.5/24")],
        [default(2)],
    )
    (nic,) = secondary_nics(facts)
    assert (nic.group, nic.alias) == told


def test_what_is_known_of_the_hardware_is_joined_by_name():
    """Ids, place, speed and VFs come with the NIC, whose own driver counts and not its function's."""
    function = PciFunction("0000:8a:00.0", "15b3", "1019", "x", None, ("0000:80:01.0",), ("mlx5_0",))
    device = DeviceFacts(function, "mlx5_core", 1, "0000:8a:00.7", vfs_possible=8)
    facts = NodeFacts(
        [*BASE, link(3, "eth1", altnames=("enp138s0",))],
        [*BASE_ADDRESSES, address(3, "10.0.1.5/24")],
        [default(2)],
        hardware={"eth1": Hardware(device, 25_000, (Vf(0, "0000:8a:00.1"),))},
    )
    (nic,) = secondary_nics(facts)
    assert (nic.vendor, nic.product, nic.pci_address) == ("15b3", "1019", "0000:8a:00.0")
    assert (nic.driver, nic.numa_node, nic.speed, nic.altnames) == ("mlx5_core", 1, 25_000, ("enp138s0",))
    assert (nic.pci_path, nic.rdma_devices, nic.physical_function) == (("0000:80:01.0",), ("mlx5_0",), "0000:8a:00.7")
    assert (nic.vfs, nic.vfs_possible) == ((Vf(0, "0000:8a:00.1"),), 8)


def test_a_vf_with_an_address_is_a_nic_beside_its_physical_function():
    """Both are taken, whether or not they are in one network."""
    assert taken(link(3, "pf"), link(4, "vf"), addresses=[address(3, "10.0.1.5/24"), address(4, "10.0.1.6/24")]) == [
        "pf",
        "vf",
    ]
