"""What is in the way when the kernel refuses a link on a NIC: links that are not ours, so no journal knows them.

The kernel says no more than that the NIC is busy, or that the settings do not go. Looking for the reason takes a
millisecond for each network namespace, so it is done only then. A bridge or bond that the NIC belongs to and links of
the node itself are looked for first.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence

from multinic_core.errors import ContainerGoneError, KernelError
from multinic_core.parents import go_together, use_of_parent
from multinic_core.plan import CreateLink
from multinic_daemon.netlink import Conversation, Link, NetnsFile, open_netns
from multinic_daemon.netlink.observed import read_links, read_netns_id
from multinic_daemon.podlinks.kernel import parent_of
from multinic_daemon.podlinks.namespaces import find_namespaces
from multinic_daemon.podlinks.vlans import vlan_links

BY_OTHERS = frozenset({errno.EBUSY, errno.EINVAL})
"""How the kernel refuses a link that does not go together with others."""


def in_the_way(steps: Sequence[CreateLink], node_netns: str | None = None) -> str:
    """What on the parents of these links does not go together with them, one phrase for each; "" when nothing is seen.

    Args:
        node_netns: path of the namespace that holds the NICs; None: that of the calling thread.
    """
    try:
        with open_netns(node_netns) as node_file:
            return "; ".join(_look(steps, node_file))
    except (KernelError, ContainerGoneError):
        return ""  # the refusal itself is told all the same


def _look(steps: Sequence[CreateLink], node_file: NetnsFile) -> list[str]:
    with Conversation(node_file) as node:
        links = read_links(node)
    vlans = vlan_links(links)
    wanted = {vlans[parent_of(s)].ifindex if parent_of(s) in vlans else s.parent_ifindex: s for s in steps}
    names = {link.ifindex: link.ifname for link in links}
    found = [
        f"NIC {link.ifname!r} belongs to {names.get(link.master_ifindex, link.master_ifindex)!r}"
        for link in links
        if link.ifindex in wanted and link.master_ifindex and names.get(link.master_ifindex)
    ]
    found += _others((link for link in links if link.parent_netns_id is None), wanted, "on the node")
    own = os.fstat(node_file)
    for inode, (path, *_) in find_namespaces().paths.items():
        if found:
            break
        if inode != (own.st_dev, own.st_ino):
            found += _elsewhere(path, wanted, node_file)
    return found


def _elsewhere(path: str, wanted: Mapping[int, CreateLink], node_file: NetnsFile) -> list[str]:
    try:
        with open_netns(path) as pod_file, Conversation(pod_file) as pod:
            links = [link for link in read_links(pod) if link.parent_ifindex in wanted]
            node_id = read_netns_id(pod, node_file) if links else -1
    except (ContainerGoneError, KernelError):
        return []  # ended meanwhile, or not to be looked into
    return list(_others((link for link in links if link.parent_netns_id == node_id >= 0), wanted, f"in {path!r}"))


def _others(links: Iterator[Link], wanted: Mapping[int, CreateLink], where: str) -> Iterator[str]:
    for link in links:
        step = wanted.get(link.parent_ifindex)
        if step is None:
            continue
        use = use_of_parent(link.link_kind, link.attributes)
        if not go_together(use, use_of_parent(step.link_kind, step.attributes)):
            yield f"NIC {step.parent!r} is used by link {link.ifname!r} {where} ({use})"
