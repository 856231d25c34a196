"""How a pod's network differs from its plan: a pure function of what was planned and what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from multinic_core.bandwidth import show
from multinic_core.devices import TakeDevice
from multinic_core.outside import RunPlugin
from multinic_core.plan import MAIN_TABLE, AddRoute, CreateLink, IPAddress, NextHop, Plan
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
    shapes: Mapping[int, int] = field(default_factory=dict)
    """ifindex to the rate in bit/s that it is held to."""

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
    for device in plan.devices:
        if not device.device:
            continue  # it has no netdev
        if (there := links.get(device.ifname)) is None:
            found.append(f"link {device.ifname!r} is missing, the device {device.device!r}")
        else:
            found += _device_differences(device, there)
    for plugged in plan.plugins:
        found += _plugged_differences(plugged, links.get(plugged.ifname), observed)
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
    for shaped in plan.shapes:
        if (there := links.get(shaped.ifname)) is None:
            continue
        rate = observed.shapes.get(there.ifindex, 0)
        if rate // 8 != shaped.rate // 8:  # the kernel counts bytes
            held_to = f"is held to {show(rate)}" if rate else "is held to no rate"
            found.append(f"link {shaped.ifname!r} {held_to}, expected {show(shaped.rate)}")
    for route in plan.routes:
        if any(ifname not in links for ifname in route.ifnames):
            continue
        wanted = {(links[hop.ifname].ifindex, hop.gateway) for hop in _next_hops(route)}
        same = (held for held in observed.routes if (held.dst, held.table) == (route.dst, route.table))
        if all(_held_hops(held) != wanted for held in same):
            table = f" in table {route.table}" if route.table != MAIN_TABLE else ""
            hops = (
                f"{f' via {hop.gateway}' if hop.gateway else ''} on link {hop.ifname!r}" for hop in _next_hops(route)
            )
            found.append(f"route {route.dst}{' and'.join(hops)}{table} is missing")
    held_rules = {(rule.source, rule.table, rule.priority) for rule in observed.rules if is_ours(rule)}
    for rule in plan.rules:
        if (rule.src, rule.table, rule.priority) not in held_rules:
            found.append(f"rule from {rule.src} lookup {rule.table} with priority {rule.priority} is missing")
    return found


def _plugged_differences(step: RunPlugin, link: Link | None, observed: Observed) -> Iterator[str]:
    """Of a link that an executable made: its addresses as it answered."""
    if link is None:
        yield f"link {step.ifname!r} is missing, which executable {step.config.get('type')!r} made"
        return
    held = {each.address for each in observed.addresses_of(link)}
    for ip in (step.result or {}).get("ips") or ():
        if _interface(ip.get("address")) not in held:
            yield f"link {step.ifname!r} lacks the address {ip.get('address')}"
    if not link.up:
        yield f"link {step.ifname!r} is down, expected up"


def _interface(text: str) -> IPv4Interface | IPv6Interface | None:
    """An address as an executable wrote it, in any spelling; None: it is none."""
    try:
        return ip_interface(text)
    except ValueError:
        return None


def _next_hops(route: AddRoute) -> tuple[NextHop, ...]:
    return NextHop(route.ifname, route.gateway), *route.others


def _held_hops(route: Route) -> set[tuple[int, IPAddress | None]]:
    gateways = route.gateways or (route.gateway,) * len(route.ifindexes)
    return set(zip(route.ifindexes, gateways, strict=True))


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
    yield from _given_differences(step, link, nic)
    attributes = link.attributes if step.attributes else {}
    for name, value in step.attributes.items():
        if attributes.get(name) != value:
            yield f"{subject} has {name} {attributes.get(name)}, expected {value}"


def _device_differences(step: TakeDevice, link: Link) -> Iterator[str]:
    if step.pci_address and link.bus == "pci" and link.bus_device != step.pci_address:
        yield f"link {step.ifname!r} is the device {link.bus_device}, expected {step.pci_address}"
    elif step.pci_address and link.link_kind:
        yield f"link {step.ifname!r} is of kind {link.link_kind!r}, expected the device {step.pci_address}"
    else:
        yield from _given_differences(step, link)


def _given_differences(step: CreateLink | TakeDevice, link: Link, nic: Link | None = None) -> Iterator[str]:
    """Of what every link has."""
    subject = f"link {step.ifname!r}"
    if step.mtu and link.mtu != step.mtu:
        why = f", as NIC {step.parent!r} has mtu {nic.mtu} now" if nic and link.mtu <= nic.mtu < step.mtu else ""
        yield f"{subject} has mtu {link.mtu}, expected {step.mtu}{why}"
    if step.mac_address and link.mac_address != step.mac_address.lower():
        yield f"{subject} has MAC address {link.mac_address}, expected {step.mac_address.lower()}"
    if not link.up:
        yield f"{subject} is down, expected up"
