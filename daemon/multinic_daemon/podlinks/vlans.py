"""VLAN links of the node on which pod links lie.

One is made when the first attachment needs it and removed when the last has left; who needs it the journal knows
(:mod:`multinic_daemon.engine.parents`). Those that we made carry a link group of their own, by which a daemon that has
lost its journal knows them as well. One that somebody else made is used as it is, and never changed or removed: the
kernel allows only one of an id on a NIC, whatever its name.

All functions block and are called through ``trio.to_thread``.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from multinic_core.errors import KernelError
from multinic_core.plan import CreateLink
from multinic_daemon import crashpoints
from multinic_daemon.netlink import Conversation, Link, Refusal, open_netns, wire
from multinic_daemon.netlink import requests as rq
from multinic_daemon.netlink.devices import change_link
from multinic_daemon.netlink.observed import read_links
from multinic_daemon.podlinks.children import children
from multinic_daemon.podlinks.kernel import Parent, parent_of

VLAN_GROUP = 0x4CF00000
"""``IFLA_GROUP`` of the VLAN links that we made, below those of links in pods."""
NAME_BYTES = 15
"""Source: linux/if.h, IFNAMSIZ less the closing zero."""
_VLAN_PROTOCOL = 5
_802_1Q = b"\x81\x00"
"""Source: linux/if_link.h, IFLA_VLAN_PROTOCOL; linux/if_ether.h, ETH_P_8021Q, in network byte order."""


def vlan_name(nic: str, vlan: int) -> str:
    """``eth1.100``; where that is too long, the beginning of the NIC's name and four digits for all of it."""
    name = f"{nic}.{vlan}"
    return name if len(name.encode()) <= NAME_BYTES else _other_name(nic, vlan)


def _other_name(nic: str, vlan: int) -> str:
    digits = hashlib.sha256(nic.encode()).hexdigest()[:4]
    return f"{nic.encode()[:5].decode(errors='ignore')}~{digits}.{vlan}"


def vlan_links(links: Iterable[Link]) -> dict[Parent, Link]:
    """The VLAN links among those of a namespace whose NIC is there, too."""
    return {
        Parent(link.parent_ifindex, vlan): link
        for link in links
        if link.link_kind == "vlan" and link.parent_netns_id is None and (vlan := _vlan_id(link))
    }


def _vlan_id(link: Link) -> int:
    """0 for one of another protocol than 802.1Q."""
    protocol = wire.attributes(link.info_data).get(_VLAN_PROTOCOL, _802_1Q)
    return link.attributes.get("IFLA_VLAN_ID", 0) if protocol[:2] == _802_1Q else 0


def made_for_pods(link: Link) -> bool:
    """Whether it is a VLAN link that we made, and no NIC of the node."""
    return link.link_kind == "vlan" and link.group == VLAN_GROUP


def on_vlans(node: Conversation, steps: Sequence[CreateLink]) -> Sequence[CreateLink]:
    """The same links with the VLAN links on which they shall lie as parents, made where they are missing.

    Raises:
        KernelError: one cannot be made, or somebody else's is down or has too small an MTU. What was made stays, for
            the attachment's removal to take away.
    """
    wanted = {parent_of(step): step for step in steps if step.vlan}
    if not wanted:
        return steps
    there = vlan_links(read_links(node))
    if missing := {parent: step for parent, step in wanted.items() if parent not in there}:
        _make(node, missing)
        crashpoints.reached("vlan.made")
        there = vlan_links(read_links(node))
    for parent, step in wanted.items():
        _require_usable(node, parent, step, there, max(each.mtu for each in steps if parent_of(each) == parent))
    return tuple(replace(step, parent_ifindex=there[parent_of(step)].ifindex) if step.vlan else step for step in steps)


def _make(node: Conversation, missing: Mapping[Parent, CreateLink]) -> None:
    names = {parent: vlan_name(step.parent, step.vlan) for parent, step in missing.items()}
    refused = _ask(node, missing, names)
    taken = {parent: missing[parent] for parent, refusal in refused if refusal.errno == errno.EEXIST}
    # made meanwhile by somebody else, or the name is another link's
    if taken and (still := {p: step for p, step in taken.items() if p not in vlan_links(read_links(node))}):
        refused = [each for each in refused if each[0] not in still]
        refused += _ask(node, still, {parent: _other_name(step.parent, step.vlan) for parent, step in still.items()})
    for parent, refusal in refused:
        if refusal.errno != errno.EEXIST or parent not in vlan_links(read_links(node)):
            step = missing[parent]
            raise refusal.error(_subject(step), _WAY_OUT.get(refusal.errno, ""))


def _ask(
    node: Conversation, missing: Mapping[Parent, CreateLink], names: Mapping[Parent, str]
) -> list[tuple[Parent, Refusal]]:
    asked = [
        rq.create_vlan(names[parent], parent.ifindex, parent.vlan, VLAN_GROUP, _subject(step))
        for parent, step in missing.items()
    ]
    answers = zip(missing, node.ask(asked), strict=True)
    return [(parent, refusal) for parent, refusal in answers if refusal is not None]


def _subject(step: CreateLink) -> str:
    return f"VLAN link of id {step.vlan} on NIC {step.parent!r}"


_WAY_OUT: Mapping[int, str] = {
    errno.EEXIST: "two names for it are taken by other links of the node: rename one of them",
    errno.EOPNOTSUPP: "load the kernel module 8021q on the node, or use a NIC that can have VLANs",
    errno.ENODEV: "the NIC is gone from the node: wait for it to return or choose another",
    errno.EINVAL: "the NIC is gone from the node: wait for it to return or choose another",
    errno.ENETDOWN: "set the NIC up",
    errno.EPERM: "run the daemon as root with CAP_NET_ADMIN",
}


def _require_usable(
    node: Conversation, parent: Parent, step: CreateLink, there: Mapping[Parent, Link], mtu: int
) -> None:
    """Up and large enough: ours is made so, somebody else's has to be."""
    link = there.get(parent)
    if link is None:
        raise KernelError(f"{_subject(step)}: gone again", errno.ENODEV, details=_WAY_OUT[errno.ENODEV])
    if link.up and link.mtu >= mtu:
        return
    if made_for_pods(link):
        node.do([change_link(link.ifindex, _subject(step), up=True, mtu=mtu if link.mtu < mtu else 0)])
        return
    subject = f"VLAN link {link.ifname!r}, which is not ours, of id {step.vlan} on NIC {step.parent!r}"
    if not link.up:
        raise KernelError(f"{subject}: found down, expected up", errno.ENETDOWN, details="set it up, or remove it")
    raise KernelError(
        f"{subject}: found MTU {link.mtu}, expected at least {mtu} bytes",
        errno.ERANGE,
        details="raise it, remove the link, or set a smaller plugin.args.mtu",
    )


def read_vlans(node_netns: str | None = None) -> dict[Parent, str]:
    """The VLAN links that we made, each with its name.

    Args:
        node_netns: path of the namespace that holds the NICs; None: that of the calling thread.
    """
    return {parent: link.ifname for parent, link in _read(node_netns).items() if made_for_pods(link)}


def vlans_by_index() -> dict[int, Parent]:
    """The VLAN links that we made in the calling thread's namespace: ifindex to NIC and id."""
    return {link.ifindex: parent for parent, link in _read(None).items() if made_for_pods(link)}


def remove_vlan(parent: Parent, *, node_netns: str | None = None) -> bool:
    """Remove the VLAN link of an id on a NIC if we made it and nothing lies on it; whether it was removed.

    Links on it that our journal does not know are those of another one, of pods without a daemon, or somebody else's.
    The kernel would delete them with it. May be repeated.

    Raises:
        KernelError: the kernel refused.
    """
    with open_netns(node_netns) as node_file, Conversation(node_file) as node:
        links = read_links(node)
        link = vlan_links(links).get(parent)
        if link is None or not made_for_pods(link) or any(children({link.ifindex}, node_file, links)):
            return False
        request = rq.delete_link(link.ifindex, f"removing VLAN link {link.ifname!r}")
        (refusal,) = node.ask([request])
        if refusal is not None and refusal.errno != errno.ENODEV:
            raise refusal.error(request.subject)
        return True


def _read(node_netns: str | None) -> dict[Parent, Link]:
    with open_netns(node_netns) as node_file, Conversation(node_file) as node:
        return vlan_links(read_links(node))


def vlan_differences(links: Sequence[CreateLink], there: Mapping[Parent, Link]) -> Iterator[str]:
    """One sentence for each VLAN link that is missing or down."""
    for parent, step in {parent_of(step): step for step in links if step.vlan}.items():
        link = there.get(parent)
        if link is None:
            yield f"VLAN link of id {step.vlan} on NIC {step.parent!r} is missing"
        elif not link.up:
            yield f"VLAN link {link.ifname!r} is down, expected up"
