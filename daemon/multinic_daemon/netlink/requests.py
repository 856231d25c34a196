"""The requests we make, from plain values to :class:`Request`. Source: linux/rtnetlink.h, if_link.h, fib_rules.h."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from types import MappingProxyType

from multinic_core.plan import IPAddress, IPInterface, IPNetwork
from multinic_daemon.netlink import wire
from multinic_daemon.netlink.conversation import Request
from multinic_daemon.netlink.kinds import encode_attributes
from multinic_daemon.netlink.netns import NetnsFile

AF_UNSPEC = 0
AF_INET = 2
AF_INET6 = 10

RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22
RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTM_GETROUTE = 26
RTM_NEWRULE = 32
RTM_DELRULE = 33
RTM_GETRULE = 34
RTM_GETNSID = 90

IFINFO = struct.Struct("=BxHiII")
"""family, device type, index, flags, change mask"""
IFADDR = struct.Struct("=BBBBi")
"""family, prefix length, flags, scope, link index"""
_IPV4_ADDRESS, _IPV6_ADDRESS = struct.Struct("=BBBBiHH4sHH4s"), struct.Struct("=BBBBiHH16sHH16s")
"""The same, then the two attributes that every address has; as one, since each NIC of each pod has one."""
_PLACE = struct.Struct("=HHIHHIHHI")
"""The three attributes of four bytes that every link of a pod is made with."""
RTMSG = struct.Struct("=BBBBBBBBI")
"""family, dst length, src length, tos, table, protocol, scope, type, flags"""

IFLA_ADDRESS = 1
IFLA_IFNAME = 3
IFLA_MTU = 4
IFLA_LINK = 5
IFLA_LINKINFO = 18
IFLA_AF_SPEC = 26
IFLA_GROUP = 27
IFLA_NET_NS_FD = 28
IFLA_EXT_MASK = 29
IFLA_INFO_KIND = 1
IFLA_INFO_DATA = 2
IFLA_INET_CONF = 1
RTEXT_FILTER_SKIP_STATS = 8

IPV4_CONF = {"rp_filter": 8, "arp_announce": 18, "arp_ignore": 19}
"""``net.ipv4.conf.LINK.NAME`` to the kernel's number. Source: linux/ip.h, IPV4_DEVCONF_*."""

IFF_UP = 1

IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_BROADCAST = 4
IFA_F_NODAD = 0x02

RT_TABLE_MAIN = 254
RT_SCOPE_UNIVERSE = 0
RT_SCOPE_LINK = 253
RTN_UNICAST = 1
RTPROT_BOOT = 3

RTA_DST = 1
RTA_OIF = 4
RTA_GATEWAY = 5
RTA_PRIORITY = 6
RTA_MULTIPATH = 9
RTA_TABLE = 15

RTNEXTHOP = struct.Struct("=HBBi")
"""length, flags, weight less one, link index"""

FR_ACT_TO_TBL = 1
FRA_SRC = 2
FRA_PRIORITY = 6
FRA_TABLE = 15
FRA_PROTOCOL = 21

NETNSA_FD = 3


Hop = tuple[int, IPAddress | None]
"""A next hop: link index and gateway."""


def family_of(address: IPAddress | IPInterface | IPNetwork) -> int:
    return AF_INET if address.version == 4 else AF_INET6


def create_link(
    ifname: str,
    link_kind: str,
    parent_ifindex: int,
    netns: NetnsFile,
    group: int,
    *,
    ifindex: int = 0,
    mtu: int = 0,
    mac_address: str = "",
    attributes: Mapping[str, int],
    subject: str,
) -> Request:
    """Make a link straight inside another namespace, on a parent in that of the conversation.

    Args:
        ifindex: that the link shall have there; 0 leaves it to the kernel.

    Raises:
        ConfigError: an attribute that the kind does not have.
    """
    body = IFINFO.pack(AF_UNSPEC, 0, ifindex, 0, 0) + wire.attribute_text(IFLA_IFNAME, ifname)
    body += _PLACE.pack(8, IFLA_LINK, parent_ifindex, 8, IFLA_NET_NS_FD, netns, 8, IFLA_GROUP, group)
    body += _encode_info(link_kind, tuple(attributes.items()))
    if mtu:
        body += wire.attribute_u32(IFLA_MTU, mtu)
    if mac_address:
        body += wire.attribute(IFLA_ADDRESS, bytes.fromhex(mac_address.replace(":", "")))
    # exclusive, or a link of this name would be changed instead
    return Request(RTM_NEWLINK, wire.NLM_F_CREATE | wire.NLM_F_EXCL, body, subject)


@lru_cache(maxsize=64)
def _encode_info(link_kind: str, attributes: tuple[tuple[str, int], ...]) -> bytes:
    """Kept, as all links of a network have the same."""
    info = wire.attribute_text(IFLA_INFO_KIND, link_kind)
    if attributes:
        info += wire.attribute(IFLA_INFO_DATA, encode_attributes(link_kind, dict(attributes)))
    return wire.attribute(IFLA_LINKINFO, info)


def create_vlan(ifname: str, parent_ifindex: int, vlan: int, group: int, subject: str) -> Request:
    """Make a VLAN link beside its parent and set it up; its MTU is that of the parent.

    EEXIST when the parent has one of this id, or the name is taken.
    """
    info = wire.attribute_text(IFLA_INFO_KIND, "vlan")
    info += wire.attribute(IFLA_INFO_DATA, encode_attributes("vlan", {"IFLA_VLAN_ID": vlan}))
    body = (
        IFINFO.pack(AF_UNSPEC, 0, 0, IFF_UP, IFF_UP)
        + wire.attribute_text(IFLA_IFNAME, ifname)
        + wire.attribute_u32(IFLA_LINK, parent_ifindex)
        + wire.attribute_u32(IFLA_GROUP, group)
        + wire.attribute(IFLA_LINKINFO, info)
    )
    return Request(RTM_NEWLINK, wire.NLM_F_CREATE | wire.NLM_F_EXCL, body, subject)


def set_up(
    ifindex: int, *, ifname: str = "", settings: Mapping[str, int] = MappingProxyType({}), subject: str
) -> Request:
    """Bring a link up, rename it where a name is given, and give it the settings of ``IPV4_CONF``."""
    body = IFINFO.pack(AF_UNSPEC, 0, ifindex, IFF_UP, IFF_UP)
    if ifname:
        body += wire.attribute_text(IFLA_IFNAME, ifname)
    if settings:
        # spares opening the files below /proc/sys from inside the pod, which a container may not write to either
        body += _encode_settings(tuple(settings.items()))
    return Request(RTM_NEWLINK, 0, body, subject)


@lru_cache(maxsize=64)
def _encode_settings(settings: tuple[tuple[str, int], ...]) -> bytes:
    """Kept, as all links of all pods have the same few."""
    values = b"".join(wire.attribute_u32(IPV4_CONF[name], value) for name, value in settings)
    return wire.attribute(IFLA_AF_SPEC, wire.attribute(AF_INET, wire.attribute(IFLA_INET_CONF, values)))


def delete_link(ifindex: int, subject: str) -> Request:
    """Delete one link."""
    return Request(RTM_DELLINK, 0, IFINFO.pack(AF_UNSPEC, 0, ifindex, 0, 0), subject)


def delete_group(group: int, subject: str) -> Request:
    """Delete all links of a group at the price of one. ENODEV when there are none."""
    body = IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + wire.attribute_u32(IFLA_GROUP, group)
    return Request(RTM_DELLINK, 0, body, subject)


def add_address(ifindex: int, address: IPInterface, subject: str) -> Request:
    """Add an address. IPv6 without duplicate detection, so that it can be used at once; IPv4 with its broadcast."""
    packed, length = address.packed, address.network.prefixlen
    both = 4 + len(packed), IFA_LOCAL, packed, 4 + len(packed), IFA_ADDRESS, packed
    if address.version == 6:
        # IPAM promises that nobody else has it, and a tentative address would fail the pod's first connections
        body = _IPV6_ADDRESS.pack(AF_INET6, length, IFA_F_NODAD, RT_SCOPE_UNIVERSE, ifindex, *both)
    else:
        body = _IPV4_ADDRESS.pack(AF_INET, length, 0, RT_SCOPE_UNIVERSE, ifindex, *both)
        if length <= 30:
            hosts = (1 << 32 - length) - 1
            body += wire.attribute(IFA_BROADCAST, (int(address) | hosts).to_bytes(4, "big"))
    return Request(RTM_NEWADDR, wire.NLM_F_CREATE | wire.NLM_F_EXCL, body, subject)


def _route_body(
    dst: IPNetwork,
    ifindex: int,
    gateway: IPAddress | None,
    table: int,
    protocol: int,
    priority: int,
    others: Sequence[Hop] = (),
) -> bytes:
    scope = RT_SCOPE_LINK if gateway is None and dst.version == 4 else RT_SCOPE_UNIVERSE
    body = RTMSG.pack(family_of(dst), dst.prefixlen, 0, 0, table if table < 256 else 0, protocol, scope, RTN_UNICAST, 0)
    if dst.prefixlen:
        body += wire.attribute(RTA_DST, dst.network_address.packed)
    if others:
        body += wire.attribute(RTA_MULTIPATH, b"".join(map(_next_hop, ((ifindex, gateway), *others))))
    else:
        if gateway is not None:
            body += wire.attribute(RTA_GATEWAY, gateway.packed)
        if ifindex:
            body += wire.attribute_u32(RTA_OIF, ifindex)
    if priority:
        body += wire.attribute_u32(RTA_PRIORITY, priority)
    return body + wire.attribute_u32(RTA_TABLE, table)


def _next_hop(hop: Hop) -> bytes:
    ifindex, gateway = hop
    via = b"" if gateway is None else wire.attribute(RTA_GATEWAY, gateway.packed)
    return RTNEXTHOP.pack(RTNEXTHOP.size + len(via), 0, 0, ifindex) + via


def add_route(
    dst: IPNetwork,
    ifindex: int,
    gateway: IPAddress | None,
    subject: str,
    *,
    table: int = RT_TABLE_MAIN,
    protocol: int = RTPROT_BOOT,
    replace: bool = False,
    others: Sequence[Hop] = (),
) -> Request:
    """Add a route; EEXIST when there is one to this ``dst`` in the table, unless ``replace``.

    Args:
        others: next hops after the first, each of the same weight.
    """
    flags = wire.NLM_F_CREATE | (wire.NLM_F_REPLACE if replace else wire.NLM_F_EXCL)
    return Request(RTM_NEWROUTE, flags, _route_body(dst, ifindex, gateway, table, protocol, 0, others), subject)


def delete_route(
    dst: IPNetwork, ifindex: int, gateway: IPAddress | None, subject: str, *, table: int, protocol: int, priority: int
) -> Request:
    """Delete exactly this route. ESRCH when it is gone."""
    return Request(RTM_DELROUTE, 0, _route_body(dst, ifindex, gateway, table, protocol, priority), subject)


def _rule_body(source: IPNetwork, table: int, priority: int, protocol: int) -> bytes:
    return (
        RTMSG.pack(family_of(source), 0, source.prefixlen, 0, table if table < 256 else 0, 0, 0, FR_ACT_TO_TBL, 0)
        + wire.attribute(FRA_SRC, source.network_address.packed)
        + wire.attribute_u32(FRA_TABLE, table)
        + wire.attribute_u32(FRA_PRIORITY, priority)
        + wire.attribute(FRA_PROTOCOL, bytes([protocol]))
    )


def add_rule(source: IPNetwork, table: int, priority: int, protocol: int, subject: str) -> Request:
    """``from source lookup table``. EEXIST when there is exactly this one already."""
    body = _rule_body(source, table, priority, protocol)
    return Request(RTM_NEWRULE, wire.NLM_F_CREATE | wire.NLM_F_EXCL, body, subject)


def delete_rule(source: IPNetwork, table: int, priority: int, protocol: int, subject: str) -> Request:
    """Delete exactly this rule. ENOENT when it is gone."""
    return Request(RTM_DELRULE, 0, _rule_body(source, table, priority, protocol), subject)


def dump_links() -> Request:
    body = IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + wire.attribute_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    return Request(RTM_GETLINK, 0, body, "list of links")


def dump_addresses(family: int = AF_UNSPEC) -> Request:
    return Request(RTM_GETADDR, 0, IFADDR.pack(family, 0, 0, 0, 0), "list of addresses")


def dump_routes(family: int, *, table: int = 0, protocol: int = 0) -> Request:
    """Routes of one family; 0 for any table or protocol. A table that was never used answers ENOENT."""
    body = RTMSG.pack(family, 0, 0, 0, table if table < 256 else 0, protocol, 0, 0, 0)
    if table:
        body += wire.attribute_u32(RTA_TABLE, table)
    return Request(RTM_GETROUTE, 0, body, "list of routes")


def dump_rules(family: int) -> Request:
    return Request(RTM_GETRULE, 0, RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0), "list of rules")


def get_netns_id(netns: NetnsFile) -> Request:
    """The number by which the conversation's namespace knows another one."""
    # struct rtgenmsg is one byte, padded
    return Request(RTM_GETNSID, 0, b"\0\0\0\0" + wire.attribute_u32(NETNSA_FD, netns), "network namespace id")


def parse_address(packed: bytes) -> IPAddress:
    return ip_address(packed)
