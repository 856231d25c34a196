"""Which links lie on links of the node, wherever they are, whoever made them.

The kernel tells of a link what it lies on, and not what lies on it. So every network namespace is looked through, which
takes a millisecond for each: for rare occasions.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from multinic_core.errors import ContainerGoneError, KernelError
from multinic_daemon.netlink import Conversation, Link, NetnsFile, open_netns
from multinic_daemon.netlink.observed import read_links, read_netns_id
from multinic_daemon.podlinks.namespaces import find_namespaces


def children(parents: Collection[int], node_file: NetnsFile, links: Collection[Link]) -> Iterator[tuple[Link, str]]:
    """Each link on one of these, with words for where it is: the node's own first, others as they are found.

    Namespaces that may not be looked into are passed over.

    Args:
        parents: ifindexes in the node's namespace.
        links: of that namespace.

    Raises:
        KernelError: it cannot be told which namespaces there are.
    """
    yield from ((link, "on the node") for link in links if link.parent_ifindex in parents and _beside(link))
    own = os.fstat(node_file)
    for inode, (path, *_) in find_namespaces().paths.items():
        if inode != (own.st_dev, own.st_ino):
            yield from ((link, f"in {path!r}") for link in _elsewhere(path, parents, node_file))


def _beside(link: Link) -> bool:
    """Whether a link and its parent are in one namespace."""
    return link.parent_netns_id is None


def _elsewhere(path: str, parents: Collection[int], node_file: NetnsFile) -> list[Link]:
    try:
        with open_netns(path) as pod_file, Conversation(pod_file) as pod:
            links = [link for link in read_links(pod) if link.parent_ifindex in parents and not _beside(link)]
            node_id = read_netns_id(pod, node_file) if links else -1
    except (ContainerGoneError, KernelError):
        return []  # ended meanwhile, or not to be looked into
    return [link for link in links if link.parent_netns_id == node_id >= 0]
