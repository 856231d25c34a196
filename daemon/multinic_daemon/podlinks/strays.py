"""Devices that came home from a pod of which no record tells, as after a lost journal: they still carry a mark.

The kernel puts a device on the node when its pod's namespace ends, with link group and alias as they were. Whoever has
lost the record of it knows from the alias what the device was called, and that it is nobody's now.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Collection

from multinic_daemon.netlink import Conversation, Link, open_netns
from multinic_daemon.netlink import devices as dv
from multinic_daemon.netlink import requests as rq
from multinic_daemon.netlink.observed import decode_link
from multinic_daemon.podlinks.marks import GROUPS, marked_name

log = logging.getLogger(__name__)


def marked_groups(node_netns: str | None = None) -> set[int]:
    """The link groups of attachments that devices on the node are marked with.

    Args:
        node_netns: path of the node's namespace; None: that of the calling thread.
    """
    with open_netns(node_netns) as node_file, Conversation(node_file) as node:
        return {link.group for link, _ in _marked(node)}


def free_devices(groups: Collection[int], *, node_netns: str | None = None) -> int:
    """Give devices on the node their names back and take these marks off; how many there were. May be repeated.

    A name that is another link's by now is left to it.

    Raises:
        KernelError: the kernel refused to take a mark off.
    """
    freed = 0
    with open_netns(node_netns) as node_file, Conversation(node_file) as node:
        for link, name in _marked(node):
            if link.group not in groups:
                continue
            if link.ifname != name:
                subject = f"name {name!r} of device {link.ifname!r}"
                node.ask([dv.change_link(link.ifindex, subject, up=False)])
                (refusal,) = node.ask([dv.change_link(link.ifindex, subject, ifname=name)])
                if refusal is not None:
                    log.warning("a device keeps another name: %s", subject, extra={"cause": refusal.text})
            subject = f"taking the mark off device {link.ifname!r}"
            (refusal,) = node.ask([dv.change_link(link.ifindex, subject, group=0, alias="")])
            if refusal is not None and refusal.errno != errno.ENODEV:
                raise refusal.error(subject)
            freed += 1
            log.error("a device is back from a pod that nobody knows; what else it was like nobody knows: %s", name)
    return freed


def _marked(node: Conversation) -> list[tuple[Link, str]]:
    """Marked devices of the node with the names that they had."""
    found = [(decode_link(each.body), marked_name(dv.decode_alias(each.body))) for each in node.dump(rq.dump_links())]
    return [(link, name) for link, name in found if name and link.group in GROUPS]
