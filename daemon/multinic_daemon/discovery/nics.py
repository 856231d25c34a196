"""Which links of a node are its secondary NICs: one pure rule.

A link is taken when its kind is one that leads out of the node, it is not excluded, and it can carry traffic:

===========================================  =======================================================================
link                                         taken
===========================================  =======================================================================
physical, also virtio and VFs ("")           yes
``bond``, ``team``                           yes; its members are not
``vlan``, ``ipoib``                          yes, on any parent; but not a VLAN link that we made for pods
``veth``                                     with an address on a network of its own (not /32 or /128): how nested
                                             nodes get their NICs. A pod's peer has no such address
``macvlan``, ``macvtap``, ``ipvlan``         only when the parent is in another namespace: then the node itself lives
                                             in a container and this is its NIC. Otherwise it is a pod-like link
loopback; any other kind                     no: bridge, vxlan, geneve, gre, ipip, sit, wireguard, tun, dummy, ifb,
                                             vrf, … carry overlays or nothing
===========================================  =======================================================================

Excluded are:

* the primary NIC: it has the node's InternalIP, or the default route (IPv4's; IPv6's where IPv4 has none; the lowest
  metric counts, as clouds give every NIC a default route). While there is no default route, as during a flap of the
  primary NIC, the last primary stays excluded: an index given to it by mistake would be given for ever;
* every link on the primary NIC's network, since clouds hang more NICs there for their own pod network;
* links enslaved to a bridge, bond or team (to a VRF is no exclusion: the link keeps its addresses and routes).

It carries traffic when it is administratively up and has a global address. Without a carrier it stays, with ``up``
False: a pulled cable is no reason to recompute routes on every node. IPv4 addresses come before IPv6 ones; temporary
IPv6 addresses and those found to be duplicates do not count. Links are keyed by name, so two in one network are two.
A VF with a link and an address on the node is a NIC of its own, whether or not its physical function is one too:
whoever gave it the address has a use for it here. All VFs are also told with their physical function.

Two more are shown whatever the rule says: NICs that the journal knows to sit in a pod, which are gone from here and
come back; and NICs that a hand-written HostInterface names, as long as the link exists, which may lack addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from multinic_core.parents import use_of_parent
from multinic_core.plan import IPAddress, IPInterface, Nic
from multinic_daemon.discovery.hardware import NO_HARDWARE, Hardware
from multinic_daemon.netlink.observed import Address, Link, Route
from multinic_daemon.podlinks.kernel import Parent
from multinic_daemon.podlinks.marks import GROUPS, without_mark
from multinic_daemon.podlinks.vlans import made_for_pods, vlan_links

_LEADING_OUT = frozenset({"", "bond", "team", "vlan", "ipoib", "veth"})
_POD_LIKE = frozenset({"macvlan", "macvtap", "ipvlan", "ipvtap"})
_CARRYING = frozenset({1, 32})
"""ARPHRD_ETHER and ARPHRD_INFINIBAND. Source: linux/if_arp.h."""
_MAIN_TABLE = 254
_UNICAST = 1
_GLOBAL = 0
_TEMPORARY = 0x01
_DUPLICATE = 0x08
_PERMANENT = 0x80
"""IFA_F_TEMPORARY (the bit means "secondary" for IPv4), IFA_F_DADFAILED and IFA_F_PERMANENT. Source:
linux/if_addr.h."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """Everything the rule looks at."""

    links: Sequence[Link]
    addresses: Sequence[Address]
    default_routes: Sequence[Route]
    hardware: Mapping[str, Hardware] = field(default_factory=dict)
    """By ifname."""
    internal_addresses: frozenset[IPAddress] = frozenset()
    """InternalIPs of the Node object."""
    held: Mapping[str, Nic] = field(default_factory=dict)
    """NICs that sit in pods, by ifname."""
    declared: Mapping[str, tuple[IPInterface, ...]] = field(default_factory=dict)
    """NICs named by hand, with the addresses written there."""
    last_primary: frozenset[str] = frozenset()
    """Primary NICs when there last was a default route."""


def is_default(route: Route) -> bool:
    """Whether the route can make a link the primary one."""
    return route.dst.prefixlen == 0 and route.table == _MAIN_TABLE and route.type == _UNICAST


def primary_nics(facts: NodeFacts) -> frozenset[str]:
    """ifnames of the links that hold the default route or an InternalIP."""
    names = {link.ifindex: link.ifname for link in facts.links}
    found = {
        names[address.ifindex]
        for address in facts.addresses
        if address.address.ip in facts.internal_addresses and address.ifindex in names
    }
    routes = [route for route in facts.default_routes if is_default(route)]
    routes = [route for route in routes if route.dst.version == 4] or routes
    if not routes:
        return frozenset(found) | facts.last_primary
    lowest = min(route.priority for route in routes)
    hops = {ifindex for route in routes if route.priority == lowest for ifindex in route.ifindexes}
    return frozenset(found | {names[ifindex] for ifindex in hops if ifindex in names})


def secondary_nics(facts: NodeFacts) -> tuple[Nic, ...]:
    """The secondary NICs, sorted by ifname."""
    addresses: dict[int, list[IPInterface]] = {}
    lasting: dict[int, list[IPInterface]] = {}
    for address in sorted(facts.addresses, key=lambda found: found.address.version):  # stable: the kernel's order
        if _counts(address):
            addresses.setdefault(address.ifindex, []).append(address.address)
            if address.flags & _PERMANENT:
                lasting.setdefault(address.ifindex, []).append(address.address)
    primary = primary_nics(facts)
    primary_networks = {
        address.network
        for link in facts.links
        if link.ifname in primary
        for address in addresses.get(link.ifindex, ())
        if address.network.prefixlen < address.max_prefixlen
    }
    kinds = {link.ifindex: link.link_kind for link in facts.links}
    found = dict(facts.held)
    for link in facts.links:
        own = tuple(addresses.get(link.ifindex, ()))
        if link.ifname in found and link.group in GROUPS:
            continue  # on its way to a pod or back, down and without addresses
        if link.ifname in facts.declared:
            shown = own or facts.declared[link.ifname]
            found[link.ifname] = _nic(link, shown, tuple(lasting.get(link.ifindex, ())), facts.hardware)
        elif (
            _leads_out(link, own)
            and link.ifname not in primary
            and primary_networks.isdisjoint(address.network for address in own)
            and kinds.get(link.master_ifindex, "vrf") == "vrf"
            and link.up
            and own
        ):
            found[link.ifname] = _nic(link, own, tuple(lasting.get(link.ifindex, ())), facts.hardware)
    return tuple(found[name] for name in sorted(found))


def node_uses(links: Sequence[Link]) -> dict[tuple[int, int], dict[str, str]]:
    """How links of the node use its other links; what ``NodeView.uses`` is."""
    vlans = {link.ifindex: parent for parent, link in vlan_links(links).items()}
    found: dict[tuple[int, int], dict[str, str]] = {}
    for link in links:
        # only here, as reading what a link of another kind is made with takes long
        if link.link_kind in _POD_LIKE and link.parent_netns_id is None:
            use, own = use_of_parent(link.link_kind, link.attributes), Parent(link.parent_ifindex)
            for parent in {own, vlans.get(link.parent_ifindex, own)}:  # a VLAN link may be a NIC itself
                found.setdefault(parent, {}).setdefault(use, link.ifname)
    return found


def _counts(address: Address) -> bool:
    if address.scope != _GLOBAL:
        return False
    return address.address.version == 4 or not address.flags & (_TEMPORARY | _DUPLICATE)


def _leads_out(link: Link, own: Iterable[IPInterface]) -> bool:
    if link.loopback or link.hardware not in _CARRYING or made_for_pods(link):
        return False
    if link.link_kind in _POD_LIKE:
        return link.parent_netns_id is not None
    if link.link_kind == "veth":
        return any(address.network.prefixlen < address.max_prefixlen for address in own)
    return link.link_kind in _LEADING_OUT


def _nic(
    link: Link, addresses: tuple[IPInterface, ...], own: tuple[IPInterface, ...], hardware: Mapping[str, Hardware]
) -> Nic:
    behind = hardware.get(link.ifname, NO_HARDWARE)
    device, function = behind.device, behind.device.function
    group, alias = without_mark(link.group, link.alias)
    return Nic(
        ifname=link.ifname,
        ifindex=link.ifindex,
        mtu=link.mtu,
        mac_address=link.mac_address,
        link_kind=link.link_kind,
        up=link.up and link.carrier,
        addresses=addresses,
        vendor=function.vendor,
        product=function.product,
        pci_address=function.address,
        altnames=link.altnames,
        driver=device.driver,
        speed=behind.speed,
        numa_node=device.numa_node,
        pci_path=function.path,
        rdma_devices=function.rdma_devices,
        physical_function=device.physical_function,
        vfs=behind.vfs,
        vfs_possible=device.vfs_possible,
        own_addresses=own,
        switched_on=link.up,
        alias=alias,
        group=group,
    )
