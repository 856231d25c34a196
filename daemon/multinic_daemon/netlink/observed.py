"""What the kernel has, as frozen values: links, addresses, routes and rules, decoded from its messages."""

from __future__ import annotations

import errno
from ipaddress import ip_address, ip_interface, ip_network
from typing import NamedTuple

from multinic_core.errors import KernelError
from multinic_core.plan import IPAddress, IPInterface, IPNetwork
from multinic_daemon.netlink import devices as dv
from multinic_daemon.netlink import requests as rq
from multinic_daemon.netlink import wire
from multinic_daemon.netlink.conversation import Conversation
from multinic_daemon.netlink.kinds import decode_attributes
from multinic_daemon.netlink.netns import NetnsFile

_IFLA_MASTER = 10
_IFLA_CARRIER = 33
_IFLA_LINK_NETNSID = 37
_IFLA_PARENT_DEV_NAME = 56
_IFLA_PARENT_DEV_BUS_NAME = 57
_IFA_FLAGS = 8
_NETNSA_NSID = 1
_IFF_LOOPBACK = 0x8


class Link(NamedTuple):
    """One link of a namespace."""

    ifindex: int
    ifname: str
    hardware: int
    """ARPHRD_*: 1 is Ethernet."""
    flags: int
    """IFF_* bits."""
    mtu: int
    mac_address: str
    link_kind: str
    """``IFLA_INFO_KIND``; "" for physical NICs and the loopback."""
    info_data: bytes
    """``IFLA_INFO_DATA`` as received; see :attr:`attributes`."""
    parent_ifindex: int
    """``IFLA_LINK``: the parent, or the peer of a veth; 0 for none."""
    parent_netns_id: int | None
    """``IFLA_LINK_NETNSID``: the namespace of ``parent_ifindex``; None: this link's own."""
    master_ifindex: int
    """The bridge, bond or VRF that the link is enslaved to; 0 for none."""
    group: int
    carrier: bool
    bus: str
    """Bus of the hardware device, such as ``pci`` or ``virtio``; "" for a link made of software."""
    bus_device: str
    """Name of the hardware device on its bus, such as ``0000:8a:00.0``."""
    altnames: tuple[str, ...] = ()
    """In the kernel's order."""
    alias: str = ""
    """``IFLA_IFALIAS``."""

    @property
    def up(self) -> bool:
        """Administratively up."""
        return bool(self.flags & rq.IFF_UP)

    @property
    def loopback(self) -> bool:
        return bool(self.flags & _IFF_LOOPBACK)

    @property
    def attributes(self) -> dict[str, int]:
        """The whole numbers of ``IFLA_INFO_DATA`` by the kernel's attribute names."""
        return decode_attributes(self.link_kind, self.info_data)


class Address(NamedTuple):
    """One address of a link."""

    ifindex: int
    address: IPInterface
    scope: int
    """0 is global, 253 link."""
    flags: int
    """IFA_F_* bits."""


class Route(NamedTuple):
    """One route. Of several next hops ``ifindexes`` has all, and ``gateway`` is None."""

    dst: IPNetwork
    gateway: IPAddress | None
    ifindexes: tuple[int, ...]
    """Links it leaves through; empty for a blackhole and its like."""
    table: int
    protocol: int
    priority: int
    type: int
    """RTN_*; 1 is unicast."""
    gateways: tuple[IPAddress | None, ...] = ()
    """Of several next hops, in the order of ``ifindexes``; else empty."""


class Rule(NamedTuple):
    """One policy rule, as far as ours can differ."""

    family: int
    source: IPNetwork | None
    """None: from all."""
    table: int
    priority: int
    protocol: int
    plain: bool
    """Nothing but a source selects it, and its action is to look up the table."""


def decode_link(body: bytes) -> Link:
    _, hardware, ifindex, flags, _ = rq.IFINFO.unpack_from(body)
    found = wire.attributes(body, rq.IFINFO.size)
    info = wire.attributes(found[rq.IFLA_LINKINFO]) if rq.IFLA_LINKINFO in found else {}

    def number(attribute: int) -> int:
        return wire.u32(found[attribute]) if attribute in found else 0

    def text(attribute: int) -> str:
        return wire.text(found[attribute]) if attribute in found else ""

    return Link(
        ifindex=ifindex,
        ifname=text(rq.IFLA_IFNAME),
        hardware=hardware,
        flags=flags,
        mtu=number(rq.IFLA_MTU),
        mac_address=found.get(rq.IFLA_ADDRESS, b"").hex(":"),
        link_kind=wire.text(info[rq.IFLA_INFO_KIND]) if rq.IFLA_INFO_KIND in info else "",
        info_data=info.get(rq.IFLA_INFO_DATA, b""),
        parent_ifindex=number(rq.IFLA_LINK),
        parent_netns_id=wire.i32(found[_IFLA_LINK_NETNSID]) if _IFLA_LINK_NETNSID in found else None,
        master_ifindex=number(_IFLA_MASTER),
        group=number(rq.IFLA_GROUP),
        carrier=found.get(_IFLA_CARRIER, b"\0") != b"\0",
        bus=text(_IFLA_PARENT_DEV_BUS_NAME),
        bus_device=text(_IFLA_PARENT_DEV_NAME),
        altnames=_altnames(found[dv.IFLA_PROP_LIST]) if dv.IFLA_PROP_LIST in found else (),
        alias=text(dv.IFLA_IFALIAS),
    )


def _altnames(properties: bytes) -> tuple[str, ...]:
    return tuple(wire.text(each) for each in wire.repeated(properties, dv.IFLA_ALT_IFNAME))


def decode_address(body: bytes) -> Address:
    _, prefix_length, flags, scope, ifindex = rq.IFADDR.unpack_from(body)
    found = wire.attributes(body, rq.IFADDR.size)
    # on a point-to-point link IFA_ADDRESS is the other end
    packed = found.get(rq.IFA_LOCAL) or found[rq.IFA_ADDRESS]
    if _IFA_FLAGS in found:
        flags = wire.u32(found[_IFA_FLAGS])
    return Address(ifindex, ip_interface((packed, prefix_length)), scope, flags)


def decode_route(body: bytes) -> Route:
    family, length, _, _, table, protocol, _, type_, _ = rq.RTMSG.unpack_from(body)
    found = wire.attributes(body, rq.RTMSG.size)
    dst = found.get(rq.RTA_DST, b"\0" * (4 if family == rq.AF_INET else 16))
    hops = [] if rq.RTA_OIF in found else _next_hops(found.get(rq.RTA_MULTIPATH, b""))
    return Route(
        dst=ip_network((dst, length)),
        gateway=ip_address(found[rq.RTA_GATEWAY]) if rq.RTA_GATEWAY in found else None,
        ifindexes=(wire.u32(found[rq.RTA_OIF]),) if rq.RTA_OIF in found else tuple(ifindex for ifindex, _ in hops),
        table=wire.u32(found[rq.RTA_TABLE]) if rq.RTA_TABLE in found else table,
        protocol=protocol,
        priority=wire.u32(found[rq.RTA_PRIORITY]) if rq.RTA_PRIORITY in found else 0,
        type=type_,
        gateways=tuple(gateway for _, gateway in hops),
    )


def _next_hops(data: bytes) -> list[rq.Hop]:
    hops: list[rq.Hop] = []
    offset = 0
    while len(data) - offset >= rq.RTNEXTHOP.size:
        length, _, _, ifindex = rq.RTNEXTHOP.unpack_from(data, offset)
        if length < rq.RTNEXTHOP.size:
            break
        via = wire.attributes(data[: offset + length], offset + rq.RTNEXTHOP.size).get(rq.RTA_GATEWAY)
        hops.append((ifindex, None if via is None else ip_address(via)))
        offset += (length + 3) & ~3
    return hops


_PLAIN_RULE = {
    rq.FRA_SRC,
    rq.FRA_TABLE,
    rq.FRA_PRIORITY,
    rq.FRA_PROTOCOL,
    13,  # FRA_SUPPRESS_IFGROUP and
    14,  # FRA_SUPPRESS_PREFIXLEN are always sent, -1 when unset
}


def decode_rule(body: bytes) -> Rule:
    family, dst_length, src_length, tos, table, _, _, action, flags = rq.RTMSG.unpack_from(body)
    found = wire.attributes(body, rq.RTMSG.size)
    source = found.get(rq.FRA_SRC)
    plain = (
        action == rq.FR_ACT_TO_TBL
        and not (dst_length or tos or flags)
        and found.keys() <= _PLAIN_RULE
        and all(wire.i32(found[key]) == -1 for key in (13, 14) if key in found)
    )
    return Rule(
        family=family,
        source=ip_network((source, src_length)) if source is not None else None,
        table=wire.u32(found[rq.FRA_TABLE]) if rq.FRA_TABLE in found else table,
        priority=wire.u32(found[rq.FRA_PRIORITY]) if rq.FRA_PRIORITY in found else 0,
        protocol=found[rq.FRA_PROTOCOL][0] if rq.FRA_PROTOCOL in found else 0,
        plain=plain,
    )


def read_links(kernel: Conversation) -> list[Link]:
    """All links of the namespace, in the kernel's order."""
    return [decode_link(message.body) for message in kernel.dump(rq.dump_links()) if message.type == rq.RTM_NEWLINK]


def decode_settings(body: bytes) -> dict[str, int]:
    """What ``requests.IPV4_CONF`` names of a link, by name; empty for a link without IPv4."""
    families = wire.attributes(body, rq.IFINFO.size).get(rq.IFLA_AF_SPEC, b"")
    ipv4 = wire.attributes(families).get(rq.AF_INET, b"")
    values = wire.attributes(ipv4).get(rq.IFLA_INET_CONF, b"")
    # one array, in which the first setting has number 1
    return {name: wire.i32(values[4 * n - 4 :]) for name, n in rq.IPV4_CONF.items() if len(values) >= 4 * n}


def read_settings(kernel: Conversation) -> dict[int, dict[str, int]]:
    """ifindex to the settings of each link, by name."""
    found = kernel.dump(rq.dump_links())
    return {
        rq.IFINFO.unpack_from(message.body)[2]: decode_settings(message.body)
        for message in found
        if message.type == rq.RTM_NEWLINK
    }


def read_addresses(kernel: Conversation) -> list[Address]:
    """All addresses of the namespace, per link in the kernel's order."""
    found = kernel.dump(rq.dump_addresses())
    return [decode_address(message.body) for message in found if message.type == rq.RTM_NEWADDR]


def read_routes(kernel: Conversation, *, table: int = 0, protocol: int = 0) -> list[Route]:
    """Routes of both families, of this table and protocol when they are not 0."""
    found: list[Route] = []
    for family in (rq.AF_INET, rq.AF_INET6):
        try:
            messages = kernel.dump(rq.dump_routes(family, table=table, protocol=protocol))
        except KernelError as error:
            # no such table, or a kernel without this family
            if error.errno in (errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
                continue
            raise
        found += [decode_route(message.body) for message in messages if message.type == rq.RTM_NEWROUTE]
    # a kernel without strict checking ignores the filter
    return [r for r in found if table in (0, r.table) and protocol in (0, r.protocol)]


def read_rules(kernel: Conversation) -> list[Rule]:
    """Policy rules of both families."""
    found: list[Rule] = []
    for family in (rq.AF_INET, rq.AF_INET6):
        try:
            messages = kernel.dump(rq.dump_rules(family))
        except KernelError as error:
            if error.errno in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
                continue
            raise
        found += [decode_rule(message.body) for message in messages if message.type == rq.RTM_NEWRULE]
    return found


def read_netns_id(kernel: Conversation, netns: NetnsFile) -> int:
    """The number by which the conversation's namespace knows ``netns``; -1 when it does not."""
    message = kernel.get(rq.get_netns_id(netns))
    found = wire.attributes(message.body, 4)
    return wire.i32(found[_NETNSA_NSID]) if _NETNSA_NSID in found else -1
