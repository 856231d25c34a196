"""What the kernel has: links in every network namespace of the node, and the routing of the node's own."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress

from multinic_core.devices import VfSettings
from multinic_core.errors import ContainerGoneError, KernelError
from multinic_daemon.audit.sources.sandboxes import find_sandboxes
from multinic_daemon.audit.world import KernelSeen, NamespaceSeen
from multinic_daemon.hostroutes.desired import PROTOCOL, RoutingState, is_ours
from multinic_daemon.netlink import Conversation, Link, open_netns
from multinic_daemon.netlink.devices import read_vfs
from multinic_daemon.netlink.observed import (
    read_addresses,
    read_links,
    read_netns_id,
    read_routes,
    read_rules,
    read_settings,
)
from multinic_daemon.podlinks.compare import Observed
from multinic_daemon.podlinks.namespaces import find_namespaces


def observe_kernel(paths: Iterable[str]) -> KernelSeen:
    """Read the kernel; blocking, 1 ms for each namespace.

    Args:
        paths: of the network namespaces that the journal names.

    Raises:
        KernelError: this process may not look into other namespaces, or the kernel does not answer.
    """
    if os.geteuid():
        raise KernelError("audit: only root can look into the network namespaces of pods", errno.EPERM)
    sandboxes = find_sandboxes(paths)
    named = {sandbox.inode for sandbox in sandboxes.values()}
    namespaces: dict[int, NamespaceSeen] = {}
    found = find_namespaces(path for path, sandbox in sandboxes.items() if sandbox.inode is not None)
    for (_, inode), (where, *_) in found.paths.items():
        if (seen := _observe(inode, where)) and (inode in named or _has_links(seen)):
            namespaces[inode] = seen
    routing = observe_routing()
    return KernelSeen(namespaces, sandboxes, routing, observe_vfs(routing.links.values()), len(found.hidden))


def observe_vfs(links: Iterable[Link]) -> dict[int, dict[int, VfSettings]]:
    """ifindex to the VFs of each of these links of the caller's namespace that has some."""
    found: dict[int, dict[int, VfSettings]] = {}
    with Conversation() as node:
        for link in links:
            if link.bus != "pci":
                continue
            with suppress(KernelError):  # gone meanwhile, which is told of with its row
                found[link.ifindex] = read_vfs(node, link.ifindex)
    return {ifindex: vfs for ifindex, vfs in found.items() if vfs}


def observe_routing() -> RoutingState:
    """Rules, links and routes of the caller's namespace; rules first, as what is read later can only be newer."""
    with Conversation() as node:
        rules = read_rules(node)
        links = {link.ifname: link for link in read_links(node)}
        routes = read_routes(node, protocol=PROTOCOL)
        for table in sorted({rule.table for rule in rules if is_ours(rule)}):
            routes += [route for route in read_routes(node, table=table) if route.protocol != PROTOCOL]
    return RoutingState(links, routes, rules)


def _observe(inode: int, where: str) -> NamespaceSeen | None:
    """None when the namespace went meanwhile."""
    try:
        with open_netns(where) as pod_file, open_netns(None) as node_file, Conversation(pod_file) as pod:
            if os.fstat(pod_file).st_ino != inode:
                return None
            # links first: reading one is what gives its parent's namespace a number here
            links = tuple(read_links(pod))
            node_netns_id = read_netns_id(pod, node_file)
            addresses = tuple(read_addresses(pod))
            routes, rules, settings = tuple(read_routes(pod)), tuple(read_rules(pod)), read_settings(pod)
    except ContainerGoneError:
        return None
    return NamespaceSeen(inode, where, Observed(links, addresses, routes, rules, settings), node_netns_id)


def _has_links(seen: NamespaceSeen) -> bool:
    """Whether it can matter: the loopback alone is of nobody."""
    return any(not link.loopback for link in seen.observed.links)
