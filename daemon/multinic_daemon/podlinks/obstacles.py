"""What is in the way when the kernel refuses a link on a NIC: links that are not ours, so no journal knows them.

The kernel says no more than that the NIC is busy, or that the settings do not go. Then it is looked for: first a bridge
or bond that the NIC belongs to, then links on it that do not go together with the one that was refused.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain

from multinic_core.errors import ContainerGoneError, KernelError
from multinic_core.parents import go_together, use_of_parent
from multinic_core.plan import CreateLink
from multinic_daemon.netlink import Conversation, Link, NetnsFile, open_netns
from multinic_daemon.netlink.observed import read_links
from multinic_daemon.podlinks.children import children
from multinic_daemon.podlinks.kernel import parent_of
from multinic_daemon.podlinks.vlans import vlan_links

BY_OTHERS = frozenset({errno.EBUSY, errno.EINVAL})
"""How the kernel refuses a link that does not go together with others."""


def in_the_way(steps: Sequence[CreateLink], node_netns: str | None = None) -> str:
    """One thing on the parents of these links that does not go together with them; "" when nothing is seen.

    Args:
        node_netns: path of the namespace that holds the NICs; None: that of the calling thread.
    """
    try:
        with open_netns(node_netns) as node_file:
            with Conversation(node_file) as node:
                links = read_links(node)
            vlans = vlan_links(links)
            wanted = {vlans[parent_of(s)].ifindex if parent_of(s) in vlans else s.parent_ifindex: s for s in steps}
            return next(chain(_masters(links, wanted), _others(links, wanted, node_file)), "")
    except (KernelError, ContainerGoneError):
        return ""  # the refusal itself is told all the same


def _masters(links: Collection[Link], wanted: Mapping[int, CreateLink]) -> Iterator[str]:
    names = {link.ifindex: link.ifname for link in links}
    for link in links:
        if link.ifindex in wanted and (master := names.get(link.master_ifindex)):
            yield f"NIC {link.ifname!r} belongs to {master!r}"


def _others(links: Collection[Link], wanted: Mapping[int, CreateLink], node_file: NetnsFile) -> Iterator[str]:
    for link, where in children(wanted, node_file, links):
        step = wanted[link.parent_ifindex]
        use = use_of_parent(link.link_kind, link.attributes)
        if not go_together(use, use_of_parent(step.link_kind, step.attributes)):
            yield f"NIC {step.parent!r} is used by link {link.ifname!r} {where} ({use})"
