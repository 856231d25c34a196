"""Whole devices go into a pod.

A device is marked with the attachment's link group, and with its name on the node as its alias, before anything else
is changed. Both stay with it wherever it goes, so that :mod:`multinic_daemon.podlinks.giveback` finds it again.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from multinic_core.devices import TakeDevice
from multinic_core.errors import ConfigError, KernelError
from multinic_core.plan import Plan
from multinic_daemon import crashpoints
from multinic_daemon.discovery.pci import SYSFS
from multinic_daemon.discovery.sysfs import function_address
from multinic_daemon.netlink import Address, Conversation, Link, NetnsFile, Request
from multinic_daemon.netlink import devices as dv
from multinic_daemon.netlink.observed import read_addresses, read_links
from multinic_daemon.podlinks import vfs
from multinic_daemon.podlinks.devicelinks import set_mac_address, subject_of
from multinic_daemon.podlinks.make import AppliedLink
from multinic_daemon.podlinks.marks import GROUPS, mark_text

_PERMANENT = 0x80
"""Source: linux/if_addr.h, IFA_F_PERMANENT; an IPv6 address that a router advertised is not, and comes again."""
_MAC_WAY_OUT = "the device's driver takes no such address: ask for none, or for another one"
_ABSENT = "the device is not on the node: wait for it to return or choose another"


def take(
    plan: Plan, node: Conversation, pod: Conversation, pod_file: NetnsFile, group: int, sysfs: Path = SYSFS
) -> tuple[AppliedLink, ...]:
    """Set VFs up, and move the devices of a plan into the pod, down and without addresses.

    Returns:
        One entry for each device that has a netdev, in the plan's order.

    Raises:
        ConfigError: a name is taken in the pod, or a device is in use.
        KernelError: a device is not there, or the kernel refused; some may be in the pod, all of them marked.
    """
    steps, settings = plan.devices, plan.vfs
    moved = [step for step in steps if step.device]
    if not steps and not settings:
        return ()
    _require_free_names(moved, read_links(pod))
    found = _find_on_node(moved, read_links(node), group, sysfs)
    _refuse_used(moved, found, read_addresses(node))
    node.do([_mark(found[step.ifname], step, group) for step in moved])
    crashpoints.reached("devices.marked")
    # While nobody has said so for it, a VF may choose its own address; later only some drivers let it.
    changes = [(found[step.ifname].ifindex, step) for step in moved if step.mac_address]
    node.ask([dv.change_link(index, "", mac_address=step.mac_address) for index, step in changes])
    vfs.configure(node, settings)
    crashpoints.reached("devices.configured")
    node.do(
        [dv.move_link(found[s.ifname].ifindex, pod_file, s.ifname, group, f"moving {subject_of(s)}") for s in moved]
    )
    crashpoints.reached("devices.moved")
    return _set_up_inside(moved, pod, group)


def _find_on_node(steps: Sequence[TakeDevice], links: Sequence[Link], group: int, sysfs: Path) -> dict[str, Link]:
    """ifname in the pod to the link on the node.

    Raises:
        KernelError: one is not there.
        ConfigError: one is another attachment's, part of another link, or carries one.
    """
    found: dict[str, Link] = {}
    names = {link.ifindex: link.ifname for link in links}
    problems: list[str] = []
    for step in steps:
        link = next((each for each in links if each.ifname == step.device), None)
        if link is None or (step.pci_address and function_address(link, sysfs) != step.pci_address):
            link = next(
                (each for each in links if step.pci_address and function_address(each, sysfs) == step.pci_address), None
            )
        if link is None:
            raise KernelError(subject_of(step), errno.ENODEV, details=_ABSENT)
        if link.group in GROUPS and link.group != group:
            problems.append(
                f"{subject_of(step)} belongs to another attachment, link group {link.group:#x}; where no pod has it, as"
                f" after a lost journal: ip link set {link.ifname} group 0"
            )
        if link.master_ifindex:
            master = names.get(link.master_ifindex, str(link.master_ifindex))
            problems.append(f"{subject_of(step)} is part of link {master!r}, expected a device of its own")
        if upper := [each.ifname for each in links if _lies_on(each, link)]:
            problems.append(
                f"{subject_of(step)} carries the node's link {upper[0]!r}, expected one that nothing lies on"
            )
        found[step.ifname] = link
    if problems:
        raise ConfigError(*problems)
    return found


def _lies_on(upper: Link, link: Link) -> bool:
    """Whether a link of the same namespace is made on this one, as a VLAN link is."""
    return upper.parent_ifindex == link.ifindex != upper.ifindex and upper.parent_netns_id is None


def _refuse_used(steps: Sequence[TakeDevice], found: Mapping[str, Link], addresses: Sequence[Address]) -> None:
    """Refuse a device with an address of which the plan knows nothing: the node uses it, and would lose it.

    A lease is a use of a VF, too; a NIC that the node tells of as one may have it, and asks for it anew.
    """
    problems: list[str] = []
    for step in steps:
        own = [each for each in addresses if each.ifindex == found[step.ifname].ifindex and each.scope == 0]
        may_lease = step.device == step.parent
        lasting = [
            each.address for each in own if each.flags & _PERMANENT or (each.address.version == 4 and not may_lease)
        ]
        if unknown := [str(address) for address in lasting if address not in step.addresses_before]:
            problems.append(f"{subject_of(step)} is in use: the node has {', '.join(unknown)} on it")
    if problems:
        raise ConfigError(*problems)


def _require_free_names(steps: Sequence[TakeDevice], links: Collection[Link]) -> None:
    taken = {link.ifname for link in links}
    if problems := [
        f"interface {step.ifname!r} exists in the pod already, expected a free name"
        for step in steps
        if step.ifname in taken
    ]:
        raise ConfigError(*problems)


def _set_up_inside(steps: Sequence[TakeDevice], pod: Conversation, group: int) -> tuple[AppliedLink, ...]:
    """MTU and MAC address of what has arrived, where they are not as wanted."""
    for attempt in ("set", "look"):
        there = {link.ifname: link for link in read_links(pod) if link.group == group}
        if lost := [step for step in steps if step.ifname not in there]:
            raise KernelError(f"{subject_of(lost[0])} has not arrived in the pod", errno.ENODEV, details=_ABSENT)
        wanted = [(step, there[step.ifname]) for step in steps]
        mtus = [(step, link) for step, link in wanted if step.mtu and link.mtu != step.mtu]
        macs = [(step, link) for step, link in wanted if step.mac_address.lower() not in ("", link.mac_address)]
        if not mtus and not macs:
            return tuple(AppliedLink(step.ifname, link.ifindex, link.mac_address, link.mtu) for step, link in wanted)
        if attempt == "set":
            pod.do([dv.change_link(link.ifindex, _mtu_subject(step), mtu=step.mtu) for step, link in mtus])
            for step, link in macs:
                refusal = set_mac_address(pod, link, step.mac_address, _mac_subject(step))
                if refusal is not None:
                    raise refusal.error(_mac_subject(step), _MAC_WAY_OUT)
    subject = _mac_subject(macs[0][0]) if macs else _mtu_subject(mtus[0][0])
    raise KernelError(f"{subject}: its driver took it, and it is not so", errno.EADDRNOTAVAIL)


def _mark(link: Link, step: TakeDevice, group: int) -> Request:
    subject = f"marking {subject_of(step)}"
    return dv.change_link(link.ifindex, subject, group=group, alias=mark_text(step.device), up=False)


def _mac_subject(step: TakeDevice) -> str:
    return f"MAC address {step.mac_address} of {subject_of(step)}"


def _mtu_subject(step: TakeDevice) -> str:
    return f"mtu {step.mtu} of {subject_of(step)}"
