"""What every network namespace of the node holds: the kernel's word on who has which address.

Each namespace is read once; of processes with more rights than ours the addresses are read as text. Either all of them
were read or nothing is said, because an address that is not seen counts as evidence.

Routes and rules that we make in a pod carry our protocol number, so it is certain whose they are.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_network

from multinic_core.errors import ContainerGoneError
from multinic_core.plan import AddRoute, AddRule, NextHop
from multinic_daemon.hostroutes.desired import PROTOCOL, is_ours
from multinic_daemon.netlink import Conversation, Link, NetnsFile, open_netns
from multinic_daemon.netlink import requests as rq
from multinic_daemon.netlink.observed import (
    read_addresses,
    read_links,
    read_netns_id,
    read_routes,
    read_rules,
    read_settings,
)
from multinic_daemon.podlinks.compare import Observed
from multinic_daemon.podlinks.hidden import read_hidden
from multinic_daemon.podlinks.kernel import Parent, Sandbox, SandboxLink
from multinic_daemon.podlinks.namespaces import Inode, find_namespaces, own_namespace
from multinic_daemon.podlinks.vlans import vlans_by_index


def survey() -> tuple[Sandbox, ...]:
    """Every namespace but the calling thread's own, sorted by path.

    Raises:
        KernelError: one of them cannot be looked into.
    """
    there, own = find_namespaces(), own_namespace()
    with open_netns(None) as node:
        vlans = vlans_by_index()
        read = (_read(inode, paths, node, vlans) for inode, paths in there.paths.items() if inode != own)
        found = [sandbox for sandbox in read if sandbox is not None]
    found += [sandbox for process in there.hidden if (sandbox := read_hidden(process)) is not None]
    return tuple(sorted(found, key=lambda sandbox: sandbox.path))


def remove_foreign(netns: str, ifnames: Collection[str]) -> int:
    """Remove links by name; how many there were. A namespace that is gone has none.

    Raises:
        KernelError: the kernel refused; some may still be there.
    """
    try:
        with open_netns(netns) as pod_file, Conversation(pod_file) as pod:
            links = [link for link in read_links(pod) if link.ifname in ifnames and link.link_kind]
            asked = [rq.delete_link(link.ifindex, f"removing link {link.ifname!r}") for link in links]
            for request, refusal in zip(asked, pod.ask(asked), strict=True):
                if refusal is not None and refusal.errno != errno.ENODEV:
                    raise refusal.error(request.subject)
            return len(links)
    except ContainerGoneError:
        return 0


def _read(inode: Inode, paths: Iterable[str], node: NetnsFile, vlans: Mapping[int, Parent]) -> Sandbox | None:
    """The namespace by the first path that still leads to it; None when none does."""
    for path in paths:
        try:
            with open_netns(path) as pod_file:
                opened = os.fstat(pod_file)
                if (opened.st_dev, opened.st_ino) != inode:
                    continue
                with Conversation(pod_file) as pod:
                    seen, node_id = _observe(pod, node)
        except ContainerGoneError:
            continue  # ended meanwhile
        return Sandbox(path, inode, tuple(_link(link, seen, node_id, vlans) for link in seen.links))
    return None


def _observe(pod: Conversation, node: NetnsFile) -> tuple[Observed, int]:
    """What a namespace has, its loopback left out, and the number by which it knows the node's."""
    links = tuple(link for link in read_links(pod) if not link.loopback)
    if not links:
        return Observed((), (), ()), -1
    node_id = read_netns_id(pod, node)  # after the links: reading one is what gives its parent's namespace a number
    addresses = tuple(read_addresses(pod))
    if not any(link.group for link in links):
        return Observed(links, addresses, ()), node_id
    routes = tuple(read_routes(pod, protocol=PROTOCOL))
    return Observed(links, addresses, routes, tuple(read_rules(pod)), read_settings(pod)), node_id


def _link(link: Link, seen: Observed, node_id: int, vlans: Mapping[int, Parent]) -> SandboxLink:
    on_node = node_id >= 0 and link.parent_netns_id == node_id
    parent = Parent(link.parent_ifindex)
    if on_node:
        parent = vlans.get(link.parent_ifindex, parent)
    addresses = tuple(each.address for each in seen.addresses_of(link) if not each.address.ip.is_link_local)
    found = SandboxLink(
        ifname=link.ifname,
        group=link.group,
        link_kind=link.link_kind,
        mtu=link.mtu,
        mac_address=link.mac_address,
        parent_ifindex=parent.ifindex,
        vlan=parent.vlan,
        on_node=on_node,
        attributes={},
        addresses=addresses,
    )
    if not link.group:
        return found  # nobody asks more about links that are not ours
    return replace(
        found,
        attributes=link.attributes,
        routes=tuple(_routes(link, seen)),
        rules=tuple(_rules(found, seen)),
        settings=seen.settings.get(link.ifindex, {}),
    )


def _routes(link: Link, seen: Observed) -> Iterator[AddRoute]:
    """Each with the link that it goes through first."""
    names = {other.ifindex: other.ifname for other in seen.links}
    for route in seen.routes:
        if route.protocol == PROTOCOL and route.type == rq.RTN_UNICAST and route.ifindexes[:1] == (link.ifindex,):
            if not route.gateways:
                yield AddRoute(route.dst, link.ifname, route.gateway, route.table)
            elif names.keys() >= set(route.ifindexes):
                hops = [NextHop(names[i], via) for i, via in zip(route.ifindexes, route.gateways, strict=True)]
                yield AddRoute(route.dst, link.ifname, hops[0].gateway, route.table, tuple(hops[1:]))


def _rules(link: SandboxLink, seen: Observed) -> Iterator[AddRule]:
    own = {ip_network(each.ip) for each in link.addresses}
    for rule in seen.rules:
        if is_ours(rule) and rule.source in own:
            yield AddRule(rule.source, rule.table, rule.priority)
