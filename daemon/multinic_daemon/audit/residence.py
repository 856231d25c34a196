"""In which network namespaces something of an attachment lives. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from multinic_core.plan import IPAddress
from multinic_daemon.audit.world import NamespaceSeen, Row, World
from multinic_daemon.journal.journal import GROUP_BASE, GROUP_COUNT
from multinic_daemon.netlink import Link


def ours(namespace: NamespaceSeen) -> Iterator[Link]:
    """Links of a namespace that this node's daemon can have made: of our groups, and on a NIC of this node."""
    for link in namespace.observed.links:
        if GROUP_BASE <= link.group < GROUP_BASE + GROUP_COUNT and _on_node(link, namespace):
            yield link


def _on_node(link: Link, namespace: NamespaceSeen) -> bool:
    """Whether its parent or peer, if it has one, is a link of this node's own namespace."""
    # the kernel leaves out the namespace where the two links share one
    parent_netns_id = -1 if link.parent_netns_id is None else link.parent_netns_id
    return not link.parent_ifindex or parent_netns_id == namespace.node_netns_id


class Residence:
    """In which namespaces something of a row lives: a link of its group, or an address of its on a NIC of this node.

    Adopted links have no group, and those that another plugin made for our addresses have none either.
    """

    def __init__(self, world: World) -> None:
        self._groups: dict[int, set[int]] = defaultdict(set)
        self._addresses: dict[IPAddress, set[int]] = defaultdict(set)
        for inode, namespace in world.kernel.namespaces.items():
            for link in ours(namespace):
                self._groups[link.group].add(inode)
            near = {link.ifindex for link in namespace.observed.links if _on_node(link, namespace)}
            for address in namespace.observed.addresses:
                if address.ifindex in near:
                    self._addresses[address.address.ip].add(inode)

    def of(self, row: Row) -> set[int]:
        """Inodes of the namespaces."""
        held = (self._addresses.get(allocation.address.ip, set()) for allocation in row.allocations)
        return self._groups.get(row.record.group, set()).union(*held)
