"""Planning child links: what every main plugin does that puts a virtual link on a parent NIC."""

from __future__ import annotations

from collections.abc import Mapping

from multinic_core.errors import ConfigError
from multinic_core.plan import AddAddress, AttachmentRequest, CreateLink, NodeView, Plan, Step

MIN_MTU = 68
"""Bytes. Source: RFC 791, the smallest MTU that IPv4 allows."""


def plan_child_links(
    request: AttachmentRequest,
    node: NodeView,
    link_kind: str,
    *,
    mtu: int | None = None,
    attributes: Mapping[str, int],
) -> Plan:
    """One link of ``link_kind`` per requested link, on its parent, with its addresses.

    Args:
        mtu: bytes; None takes each parent's.
        attributes: ``IFLA_INFO_DATA`` by the kernel's attribute name.

    Raises:
        ConfigError: a parent that this node does not have, or an MTU that its parent does not carry; all at once.
    """
    steps: list[Step] = []
    problems: list[str] = []
    for link in request.links:
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
        steps.append(
            CreateLink(link.ifname, link_kind, parent.ifname, parent.ifindex, mtu or parent.mtu, dict(attributes))
        )
        steps.extend(AddAddress(link.ifname, address) for address in link.addresses)
    if problems:
        raise ConfigError(*problems)
    return Plan(tuple(steps))
