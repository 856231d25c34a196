"""Planning child links: what every main plugin does that puts a virtual link on a parent NIC.

A pod with several links needs settings that a host with one NIC does not. Strict reverse-path filtering drops what
arrives on one link from a sender that the main table reaches over another, and a link answers ARP for the addresses of
all others, so that the neighbours learn the wrong NIC. With source routing each link has a table of its own besides,
so that what leaves from its address leaves through it, also where two links are in one network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from ipaddress import ip_network

from multinic_core.errors import ConfigError
from multinic_core.plan import (
    AddAddress,
    AddRoute,
    AddRule,
    AttachmentRequest,
    CreateLink,
    LinkRequest,
    Nic,
    NodeView,
    Plan,
    SetSysctl,
    ShapeLink,
    Step,
)

MIN_MTU = 68
"""Bytes. Source: RFC 791, the smallest MTU that IPv4 allows."""
SOURCE_RULE_PRIORITY = 32765
"""Just before the main table's rule, 32766."""
FIRST_TABLE = 1000
TABLES = 100
"""Of one attachment."""
MOST_NUMBERS = 10_000_000
"""Higher numbers come round again, as a table id has 32 bits."""

LOOSE_FILTER = {"rp_filter": "2"}
"""Accept what any link could answer. Source: RFC 3704, 2.4, and the kernel's ip-sysctl document, as those below."""
OWN_ARP = {"arp_announce": "2", "arp_ignore": "1"}
"""Ask only in the name of this link's own addresses, and answer only for them."""


def plan_child_links(
    request: AttachmentRequest,
    node: NodeView,
    link_kind: str,
    *,
    mtu: int | None = None,
    vlan: int | None = None,
    attributes: Mapping[str, int],
    source_routing: bool = False,
    rate_limit: bool = False,
    arp: bool = True,
    mac_of_parent: str = "",
) -> Plan:
    """One link of ``link_kind`` per requested link, on its parent, with its addresses; of several, with settings.

    Args:
        mtu: bytes; None takes each parent's.
        vlan: put each link on the VLAN link of this id on its parent; None puts it on the parent itself.
        attributes: ``IFLA_INFO_DATA`` by the kernel's attribute name.
        source_routing: give each link a routing table and, for each of its addresses, a rule that leads there.
        rate_limit: hold each link to what the attachment policy promised on its NIC.
        arp: these links ask and answer ARP.
        mac_of_parent: why these links have the MAC address of their parent and no other; "" when they have their own.

    Raises:
        ConfigError: a parent that this node does not have, an MTU that its parent does not carry, or a MAC address that
            a link cannot have; all at once.
    """
    settings = (*LOOSE_FILTER.items(), *(OWN_ARP.items() if arp else ())) if len(request.links) > 1 else ()
    steps: list[Step] = []
    problems: list[str] = []
    for position, link in enumerate(request.links):
        parent = node.nics.get(link.parent)
        if parent is None:
            problems.append(
                f"{link_kind} {link.ifname!r}: no NIC {link.parent!r} on {node.name!r}, found {sorted(node.nics)!r}"
            )
            continue
        if mtu is not None and not MIN_MTU <= mtu <= parent.mtu:
            problems.append(
                f"plugin.mtu: found {mtu}, expected {MIN_MTU} to {parent.mtu} bytes, the MTU of {parent.ifname!r}"
            )
            continue
        if link.mac_address and (problem := _mac_problem(link, parent, mac_of_parent)):
            problems.append(problem)
            continue
        steps.append(
            CreateLink(
                link.ifname,
                link_kind,
                parent.ifname,
                parent.ifindex,
                mtu or parent.mtu,
                dict(attributes),
                link.mac_address,
                vlan or 0,
            )
        )
        steps.extend(AddAddress(link.ifname, address) for address in link.addresses)
        steps.extend(_set_all(link.ifname, settings))
        if rate_limit and link.rate:
            steps.append(ShapeLink(link.ifname, link.rate))
        if source_routing:
            steps.extend(_source_routing(link, source_table(request.ifname, position)))
    if source_routing and len(request.links) > TABLES:
        problems.append(f"plugin.sourceRouting: found {len(request.links)} links, expected at most {TABLES}")
    if problems:
        raise ConfigError(*problems)
    return Plan(tuple(steps))


def _mac_problem(link: LinkRequest, parent: Nic, mac_of_parent: str) -> str:
    subject = f"link {link.ifname!r}: found MAC address {link.mac_address!r} asked for"
    if mac_of_parent:
        return f"{subject}, expected none: {mac_of_parent}"
    if link.mac_address == parent.mac_address:
        return f"{subject}, which is that of NIC {parent.ifname!r} itself, expected another one"
    return ""


@lru_cache(maxsize=1024)
def _set_all(ifname: str, settings: tuple[tuple[str, str], ...]) -> tuple[SetSysctl, ...]:
    """Kept, as links of all pods have the same names and settings."""
    return tuple(SetSysctl(f"net/ipv4/conf/{ifname}/{name}", value) for name, value in settings)


def source_table(ifname: str, position: int) -> int:
    """The routing table of one link: 1000, and 100 for the number that the attachment's name ends with.

    Such as 1100 for ``net1-0``, 1101 for ``net1-1`` and 1200 for ``net2-0``.

    Args:
        ifname: ``CNI_IFNAME``, such as ``net1``; without a number it counts as 0.
        position: of the link in the attachment, below 100.
    """
    digits = ifname[len(ifname.rstrip("0123456789")) :]
    return FIRST_TABLE + TABLES * (int(digits or 0) % MOST_NUMBERS) + position


def _source_routing(link: LinkRequest, table: int) -> Iterator[Step]:
    for network in dict.fromkeys(address.network for address in link.addresses):
        yield AddRoute(network, link.ifname, table=table)
    for address in link.addresses:
        yield AddRule(ip_network(address.ip), table, SOURCE_RULE_PRIORITY)
