"""Moves devices from a pod's namespace to the node's: one that a record tells of, or all of a group without one."""

from __future__ import annotations

import errno
import logging

from multinic_core.devices import TakeDevice
from multinic_daemon.netlink import Conversation, Link, NetnsFile, open_netns
from multinic_daemon.netlink import devices as dv
from multinic_daemon.netlink import requests as rq
from multinic_daemon.netlink.observed import decode_link, read_links
from multinic_daemon.podlinks.devicelinks import subject_of
from multinic_daemon.podlinks.marks import marked_name

log = logging.getLogger(__name__)


def move_home(pod: Conversation, link: Link, step: TakeDevice, group: int, node_file: NetnsFile) -> None:
    """Move under its own name, or under another one when that is taken.

    Raises:
        KernelError: the kernel refused. A link that is gone from the pod is none.
    """
    subject = f"moving {subject_of(step)} back"
    (refusal,) = pod.ask([dv.move_link(link.ifindex, node_file, step.device, group, subject)])
    if refusal is None or refusal.errno == errno.ENODEV:
        return
    if refusal.errno != errno.EEXIST:
        raise refusal.error(subject)
    # the name that it has, or one of its further names, is taken on the node; or it has moved and kept that name
    pod.ask([dv.delete_altname(link.ifindex, altname, subject) for altname in step.altnames_before])
    (refusal,) = pod.ask([dv.move_link(link.ifindex, node_file, f"mn{group:x}.{link.ifindex}"[:15], group, subject)])
    if refusal is not None and refusal.errno != errno.ENODEV:
        raise refusal.error(subject)


def send_home(pod: Conversation, group: int, node_netns: str | None = None) -> int:
    """Bring devices of a group home of which no record tells, by the name that they are marked with; how many.

    Raises:
        KernelError: the kernel refused.
    """
    messages = pod.dump(rq.dump_links())
    found = [(link, dv.decode_alias(each.body)) for each in messages if (link := decode_link(each.body)).group == group]
    devices = [(link, marked_name(alias) or link.ifname) for link, alias in found if not link.link_kind]
    with open_netns(node_netns) as node_file, Conversation(node_file) as node:
        for link, name in devices:
            step = TakeDevice(link.ifname, name, name)
            move_home(pod, link, step, group, node_file)
        for link in read_links(node):
            if link.group == group and devices:
                node.do([dv.change_link(link.ifindex, f"taking the mark off {link.ifname!r}", group=0, alias="")])
                log.error("a device came back from its pod; what else it was like nobody knows: %s", link.ifname)
    return len(devices)
