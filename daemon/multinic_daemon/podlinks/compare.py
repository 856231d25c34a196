"""How a pod's network differs from its plan: a pure function of what was planned and what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from multinic_core.plan import MAIN_TABLE, CreateLink, Plan
from multinic_daemon.hostroutes.desired import is_ours
from multinic_daemon.netlink.observed import Address, Link, Route, Rule
from multinic_daemon.podlinks.kernel import Parent, parent_of
from multinic_daemon.podlinks.vlans import vlan_differences, vlan_links


@dataclass(frozen=True, slots=True)
class Observed:
    """What one network namespace has."""

    links: tuple[Link, ...]
    addresses: tuple[Address, ...]
    routes: tuple[Route, ...]
    """Of all tables that are compared."""
    rules: tuple[Rule, ...] = ()
    settings: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    """ifindex to the link's settings, by name."""

    def group_of(self, group: int) -> tuple[Link, ...]:
        """The links of one attachment."""
        return tuple(link for link in self.links if link.group == group)

    def addresses_of(self, link: Link) -> tuple[Address, ...]:
        return tuple(address for address in self.addresses if address.ifindex == link.ifindex)


def compare(plan: Plan, observed: Observed, node_netns_id: int, node_links: Iterable[Link] = ()) -> list[str]:
    """One sentence per difference: links with all their settings, then addresses, settings, routes and rules.

    Args:
        node_netns_id: the number by which the pod's namespace knows the node's; -1 when the two are one or strangers.
        node_links: of the node, among them the VLAN links that pod links lie on; without, NICs are not looked at.
    """
    links = {link.ifname: link for link in observed.links}
    nics = {link.ifindex: link for link in node_links}
    vlans = vlan_links(nics.values())
    found = list(vlan_differences(plan.links, vlans))
    for step in plan.links:
        if (link := links.get(step.ifname)) is None:
            found.append(f"link {step.ifname!r} is missing")
        else:
            found += _link_differences(step, link, node_netns_id, _parent(step, vlans), nics.get(step.parent_ifindex))
    for address in plan.addresses:
        there = links.get(address.ifname)
        if there is None:
            continue  # said above
        if all(held.address != address.address for held in observed.addresses_of(there)):
            found.append(f"link {address.ifname!r} lacks the address {address.address}")
    for sysctl in plan.sysctls:
        if (there := links.get(sysctl.ifname)) is None:
            continue
        value = observed.settings.get(there.ifindex, {}).get(sysctl.name)
        if str(value) != sysctl.value:
            found.append(f"link {sysctl.ifname!r} has {sysctl.name} {value}, expected {sysctl.value}")
    for route in plan.routes:
        there = links.get(route.ifname)
        if there is None:
            continue
        wanted = (route.dst, route.gateway, (there.ifindex,), route.table)
        if all((held.dst, held.gateway, held.ifindexes, held.table) != wanted for held in observed.routes):
            via = f" via {route.gateway}" if route.gateway else ""
            table = f" in table {route.table}" if route.table != MAIN_TABLE else ""
            found.append(f"route {route.dst}{via} on link {route.ifname!r}{table} is missing")
    held_rules = {(rule.source, rule.table, rule.priority) for rule in observed.rules if is_ours(rule)}
    for rule in plan.rules:
        if (rule.src, rule.table, rule.priority) not in held_rules:
            found.append(f"rule from {rule.src} lookup {rule.table} with priority {rule.priority} is missing")
    return found


def _parent(step: CreateLink, vlans: Mapping[Parent, Link]) -> int:
    """ifindex of what a link lies on; 0 where that is missing."""
    if not step.vlan:
        return step.parent_ifindex
    return vlans[parent_of(step)].ifindex if parent_of(step) in vlans else 0


def _link_differences(step: CreateLink, link: Link, node_netns_id: int, parent: int, nic: Link | None) -> Iterator[str]:
    subject = f"link {step.ifname!r}"
    if link.link_kind != step.link_kind:
        yield f"{subject} is of kind {link.link_kind or 'physical'!r}, expected {step.link_kind!r}"
        return  # its other settings mean nothing
    # the kernel leaves out the namespace where parent and link share one
    parent_netns_id = -1 if link.parent_netns_id is None else link.parent_netns_id
    if parent and (link.parent_ifindex, parent_netns_id) != (parent, node_netns_id):
        on = f"VLAN {step.vlan} of NIC {step.parent!r}" if step.vlan else f"NIC {step.parent!r}"
        yield (
            f"{subject} has link {link.parent_ifindex} of namespace {parent_netns_id} as its parent,"
            f" expected {on}, link {parent} of namespace {node_netns_id}"
        )
    if step.mtu and link.mtu != step.mtu:
        why = f", as NIC {step.parent!r} has mtu {nic.mtu} now" if nic and link.mtu <= nic.mtu < step.mtu else ""
        yield f"{subject} has mtu {link.mtu}, expected {step.mtu}{why}"
    if step.mac_address and link.mac_address != step.mac_address.lower():
        yield f"{subject} has MAC address {link.mac_address}, expected {step.mac_address.lower()}"
    if not link.up:
        yield f"{subject} is down, expected up"
    attributes = link.attributes if step.attributes else {}
    for name, value in step.attributes.items():
        if attributes.get(name) != value:
            yield f"{subject} has {name} {attributes.get(name)}, expected {value}"
