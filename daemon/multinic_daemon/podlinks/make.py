"""Makes the links of a plan inside a pod and knows them without looking.

Each link gets its index from here, and its MAC address too where its kind takes one. So what comes next, addresses and
the answer, needs nothing that the kernel chose: reading the links back costs a fifth of making them. They are read only
for kinds whose MAC address is the kernel's to say. Where something of a link's turns out to be taken, nothing of the
attempt stays, and the next one reads first what there is and leaves the choice of indexes to the kernel.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from multinic_core.errors import ConfigError, KernelError
from multinic_core.plan import CreateLink
from multinic_daemon.netlink import Conversation, Link, NetnsFile, Refusal, Request
from multinic_daemon.netlink import requests as rq
from multinic_daemon.netlink.kinds import takes_mac_address
from multinic_daemon.netlink.observed import read_links

FIRST_INDEX = 1 << 20
"""Indexes from here on are ours in a pod: far above what the kernel counts up to on a node, as kernels before 6.15
look for an index there."""
MOST_LINKS = 64
"""Of one attachment with indexes from here."""
_ATTACHMENTS = 1 << 16
"""After so many on a node the same indexes come again; two attachments of one pod are never so far apart."""
_FREE, _OWN = 0xFC_FF_FF_FF_FF_FF, 0x02_00_00_00_00_00
"""Bits of a MAC address that may be anything, and the one that makes it nobody's."""
_TAKEN = (errno.EEXIST, errno.EBUSY)
"""A name or an index is; EBUSY also says that a NIC is used in another way."""

_WAY_OUT: Mapping[int, str] = {
    errno.EBUSY: "ipvlan and macvlan links cannot share a NIC, and a passthru link shares it with nobody:"
    " use one kind per NIC or another NIC",
    errno.ENODEV: "the NIC is gone from the node: wait for it to return or choose another",
    errno.EOPNOTSUPP: "load the kernel module of this kind of link on the node, or use another main plugin",
    errno.EPERM: "run the daemon as root with CAP_NET_ADMIN",
    errno.EINVAL: "the kernel accepts no such combination of settings: check mode, flags and mtu of the network",
    errno.ERANGE: "check the mtu of the network against that of the NIC",
    errno.EADDRINUSE: "another link on the same NIC has this address: release it or choose another",
    errno.ENETUNREACH: "a route's gateway must lie in the network of one of the link's addresses",
    errno.EACCES: "enable IPv6 in the pod (net.ipv6.conf.all.disable_ipv6=0) or use IPv4 only",
}


@dataclass(frozen=True, slots=True)
class AppliedLink:
    """One pod link as the kernel made it."""

    ifname: str
    """As planned; the link may still have another name, see :class:`Made`."""
    ifindex: int
    """Inside the pod."""
    mac_address: str
    mtu: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Made:
    """The links of a plan, down and without addresses."""

    links: tuple[AppliedLink, ...]
    """In the plan's order."""
    misnamed: frozenset[str] = frozenset()
    """Names wanted, of links that have another one until they are brought up."""


class TakenError(Exception):
    """A name, an index or a NIC is taken; nothing of the attempt is left."""


def make_numbered(
    node: Conversation, pod: Conversation, steps: Sequence[CreateLink], pod_file: NetnsFile, group: int
) -> Made:
    """Make the links with indexes and MAC addresses chosen here.

    Raises:
        TakenError: ``make_read`` may do better.
        ConfigError: a link's attribute is unknown.
        KernelError: the kernel refused a link; others may have been made.
    """
    if len(steps) > MOST_LINKS:
        raise TakenError
    first = FIRST_INDEX + group % _ATTACHMENTS * MOST_LINKS
    wanted = tuple(
        AppliedLink(step.ifname, first + position, _mac_address(step), step.mtu) for position, step in enumerate(steps)
    )
    asked = [_create(step, link, pod_file, group) for step, link in zip(steps, wanted, strict=True)]
    answers = node.ask(asked)
    if any(refusal is not None and refusal.errno in _TAKEN for refusal in answers):
        made = [link for link, refusal in zip(wanted, answers, strict=True) if refusal is None]
        # one by one, as somebody else's link might have our group
        pod.do([rq.delete_link(link.ifindex, f"taking back link {link.ifname!r}") for link in made])
        raise TakenError
    _raise_first(asked, answers)
    if all(link.mac_address and link.mtu for link in wanted):
        return Made(wanted)
    return Made(_find(pod, {link.ifname: link.ifname for link in wanted}, group))


def make_read(
    node: Conversation, pod: Conversation, steps: Sequence[CreateLink], pod_file: NetnsFile, group: int
) -> Made:
    """Make the links with indexes of the kernel's choice, and under other names where one is taken on the node.

    Raises:
        ConfigError: a link's attribute is unknown.
        KernelError: the kernel refused a link; others may have been made.
    """
    asked = [_create(step, None, pod_file, group) for step in steps]
    answers = node.ask(asked)
    # before Linux 6.15 the name must be free on the node as well, though the link is made elsewhere
    renames = {
        f"mn{group:x}.{position}": step.ifname
        for position, (step, refusal) in enumerate(zip(steps, answers, strict=True))
        if refusal is not None and refusal.errno == errno.EEXIST
    }
    if renames:
        by_name = {step.ifname: step for step in steps}
        again = [
            _create(by_name[wanted], None, pod_file, group, ifname=temporary) for temporary, wanted in renames.items()
        ]
        second = iter(node.ask(again))
        answers = [next(second) if a is not None and a.errno == errno.EEXIST else a for a in answers]
    _raise_first(asked, answers)
    names = {step.ifname: step.ifname for step in steps} | {wanted: name for name, wanted in renames.items()}
    return Made(_find(pod, names, group), frozenset(renames.values()))


def check_free(steps: Sequence[CreateLink], netns: str, group: int, links: Sequence[Link]) -> None:
    """Refuse what the pod has no room for; the kernel's own refusal would name no interface.

    Args:
        links: all of the pod, which is at ``netns``.

    Raises:
        ConfigError: names are taken.
        KernelError: the group is.
    """
    taken = {link.ifname for link in links}
    problems = [
        f"interface {step.ifname!r} exists in the pod already, expected a free name"
        for step in steps
        if step.ifname in taken
    ]
    if problems:
        raise ConfigError(*problems)
    if grouped := [link.ifname for link in links if link.group == group]:
        raise KernelError(f"link group {group} is in use in {netns!r} by {grouped}", errno.EEXIST)


def _raise_first(asked: Sequence[Request], answers: Sequence[Refusal | None]) -> None:
    """Raise KernelError for the first refused request, if there is one."""
    for request, refusal in zip(asked, answers, strict=True):
        if refusal is not None:
            raise explained(refusal, request.subject)


def explained(refusal: Refusal, subject: str) -> KernelError:
    """The error of a refusal, with the way out where there is a known one."""
    return refusal.error(subject, _WAY_OUT.get(refusal.errno, ""))


def _mac_address(step: CreateLink) -> str:
    """The planned one, else a random one where the kind of link takes one, else ""."""
    if step.mac_address:
        return step.mac_address.lower()
    if not takes_mac_address(step.link_kind, step.attributes):
        return ""
    # locally administered and of one receiver, as the kernel's own random ones are
    return (int.from_bytes(os.urandom(6), "big") & _FREE | _OWN).to_bytes(6, "big").hex(":")


def _create(step: CreateLink, numbered: AppliedLink | None, pod: NetnsFile, group: int, *, ifname: str = "") -> Request:
    return rq.create_link(
        ifname or step.ifname,
        step.link_kind,
        step.parent_ifindex,
        pod,
        group,
        ifindex=numbered.ifindex if numbered else 0,
        mtu=step.mtu,
        mac_address=numbered.mac_address if numbered else step.mac_address,
        attributes=step.attributes,
        subject=f"{step.link_kind} link {step.ifname!r} on NIC {step.parent!r}",
    )


def _find(pod: Conversation, names: Mapping[str, str], group: int) -> tuple[AppliedLink, ...]:
    """What was made, as the pod has it. ``names``: the name wanted to that which it has now, in the plan's order."""
    there = {link.ifname: link for link in read_links(pod) if link.group == group}
    return tuple(
        AppliedLink(wanted, there[name].ifindex, there[name].mac_address, there[name].mtu)
        for wanted, name in names.items()
    )
