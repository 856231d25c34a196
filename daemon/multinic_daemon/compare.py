"""How a pod's network differs from its plan: a pure function of what was planned and what is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from multinic_core.plan import CreateLink, Plan
from multinic_daemon.netlink.observed import Address, Link, Route


@dataclass(frozen=True, slots=True)
class Observed:
    """What one network namespace has."""

    links: tuple[Link, ...]
    addresses: tuple[Address, ...]
    routes: tuple[Route, ...]
    """Of the main table."""

    def group_of(self, group: int) -> tuple[Link, ...]:
        """The links of one attachment."""
        return tuple(link for link in self.links if link.group == group)

    def addresses_of(self, link: Link) -> tuple[Address, ...]:
        return tuple(address for address in self.addresses if address.ifindex == link.ifindex)


def compare(plan: Plan, observed: Observed, node_netns_id: int) -> list[str]:
    """One sentence per difference: links with all their settings, then addresses, then routes.

    Args:
        node_netns_id: the number by which the pod's namespace knows the node's; -1 when the two are one or strangers.
    """
    links = {link.ifname: link for link in observed.links}
    found: list[str] = []
    for step in plan.links:
        if (link := links.get(step.ifname)) is None:
            found.append(f"link {step.ifname!r} is missing")
        else:
            found += _link_differences(step, link, node_netns_id)
    for address in plan.addresses:
        there = links.get(address.ifname)
        if there is None:
            continue  # said above
        if all(held.address != address.address for held in observed.addresses_of(there)):
            found.append(f"link {address.ifname!r} lacks the address {address.address}")
    for route in plan.routes:
        there = links.get(route.ifname)
        if there is None:
            continue
        wanted = (route.dst, route.gateway, (there.ifindex,))
        if all((held.dst, held.gateway, held.ifindexes) != wanted for held in observed.routes):
            via = f" via {route.gateway}" if route.gateway else ""
            found.append(f"route {route.dst}{via} on link {route.ifname!r} is missing")
    return found


def _link_differences(step: CreateLink, link: Link, node_netns_id: int) -> Iterator[str]:
    subject = f"link {step.ifname!r}"
    if link.link_kind != step.link_kind:
        yield f"{subject} is of kind {link.link_kind or 'physical'!r}, expected {step.link_kind!r}"
        return  # its other settings mean nothing
    # the kernel leaves out the namespace where parent and link share one
    parent_netns_id = -1 if link.parent_netns_id is None else link.parent_netns_id
    if (link.parent_ifindex, parent_netns_id) != (step.parent_ifindex, node_netns_id):
        yield (
            f"{subject} has link {link.parent_ifindex} of namespace {parent_netns_id} as its parent,"
            f" expected NIC {step.parent!r}, link {step.parent_ifindex} of namespace {node_netns_id}"
        )
    if step.mtu and link.mtu != step.mtu:
        yield f"{subject} has mtu {link.mtu}, expected {step.mtu}"
    if step.mac_address and link.mac_address != step.mac_address.lower():
        yield f"{subject} has MAC address {link.mac_address}, expected {step.mac_address.lower()}"
    if not link.up:
        yield f"{subject} is down, expected up"
    attributes = link.attributes if step.attributes else {}
    for name, value in step.attributes.items():
        if attributes.get(name) != value:
            yield f"{subject} has {name} {attributes.get(name)}, expected {value}"
