"""Devices of pods come back to the node as they were.

A device is found by its PCI address and by the marks that it got when it was taken: in the pod, in a namespace that
somebody moved it to, or on the node, where the kernel puts it under a name of its own choice when the pod's namespace
ends. The mark is taken off last, so all of this may be broken off and repeated.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from multinic_core.devices import TakeDevice
from multinic_core.errors import ContainerGoneError, KernelError
from multinic_core.plan import Plan
from multinic_daemon import crashpoints
from multinic_daemon.discovery.pci import SYSFS
from multinic_daemon.discovery.sysfs import function_address
from multinic_daemon.netlink import Conversation, Link, NetnsFile, open_netns
from multinic_daemon.netlink import devices as dv
from multinic_daemon.netlink import requests as rq
from multinic_daemon.netlink.observed import read_links
from multinic_daemon.podlinks import vfs
from multinic_daemon.podlinks.devicelinks import match, set_mac_address, subject_of
from multinic_daemon.podlinks.drivers import has_netdev, rebind
from multinic_daemon.podlinks.marks import GROUPS
from multinic_daemon.podlinks.namespaces import find_namespaces
from multinic_daemon.podlinks.sendhome import move_home

log = logging.getLogger(__name__)

RETURN_SECONDS = 10.0
"""How long a device may take to come back when its namespace ends: the kernel ends them one after the other."""
UNSEEN_SECONDS = 1.0
"""The same of one without a place in sysfs, which may just as well be gone for good."""
PAUSE_SECONDS = 0.05
_FINE = frozenset({errno.EEXIST})


def give_back(plan: Plan, netns: str, group: int, *, node_netns: str | None = None, sysfs: Path = SYSFS) -> int:
    """Bring the devices of a plan back to the node as they were, and their VFs' settings; may be repeated.

    Returns:
        How many devices were found away from the node.

    Raises:
        KernelError: the kernel refused, or a device that exists has not come back in time; the others are back.
    """
    if not plan.devices and not plan.vfs:
        return 0
    with ExitStack() as stack:
        node_file = stack.enter_context(open_netns(node_netns))
        node = stack.enter_context(Conversation(node_file if node_netns else None))
        failures: list[KernelError] = []
        for step in plan.devices:
            with _put_off(failures):
                rebind(step, sysfs)
        search = _Search([step for step in plan.devices if step.device], group, node_file, sysfs)
        search.bring_home(netns, node)
        crashpoints.reached("devices.returned")
        with _put_off(failures):
            vfs.restore(node, plan.vfs)
        home = match(search.steps, [(link, function_address(link, sysfs)) for link in read_links(node)], group)
        for step in search.steps:
            if (link := home.get(step.ifname)) is not None:
                _restore(node, step, link, group)
        if failures:
            raise failures[0]
        return search.away


@contextmanager
def _put_off(failures: list[KernelError]) -> Iterator[None]:
    """Keep a refusal for later: it is one device's, and the others come back all the same."""
    try:
        yield
    except KernelError as error:
        failures.append(error)


@dataclass(slots=True)
class _Search:
    """Brings the devices of one attachment to the node."""

    steps: Sequence[TakeDevice]
    group: int
    node_file: NetnsFile
    sysfs: Path
    away: int = 0
    """How many were somewhere else."""
    strangers: set[str] = field(default_factory=set)
    """PCI addresses of devices that another attachment, or another's pod, has by now."""

    def bring_home(self, netns: str, node: Conversation) -> None:
        """Move them, from wherever they are.

        Raises:
            KernelError: the kernel refused, or one that exists has not come back in time from a namespace that is gone.
        """
        begun, everywhere = time.monotonic(), False
        while True:
            there = self._from(netns)
            missing = self._missing(read_links(node))
            if missing and not everywhere:
                everywhere = True
                self._from_anywhere()
                missing = self._missing(read_links(node))
            waited = time.monotonic() - begun
            coming = [] if there else [step for step in missing if self._may_come(step, waited)]
            if not coming:
                for step in missing:
                    log.warning("a device of a pod is nowhere: %s", subject_of(step))
                return
            if waited > RETURN_SECONDS:
                names = ", ".join(map(subject_of, coming))
                raise KernelError(f"not back on the node after {waited:.0f} seconds: {names}", errno.ENODEV)
            time.sleep(PAUSE_SECONDS)  # the kernel ends namespaces in its own time, and announces it to those inside

    def _missing(self, links: Sequence[Link]) -> list[TakeDevice]:
        home = self._match(links)
        return [s for s in self.steps if s.ifname not in home and (s.pci_address or None) not in self.strangers]

    def _may_come(self, step: TakeDevice, waited: float) -> bool:
        if step.pci_address:
            return has_netdev(step.pci_address, self.sysfs)
        return waited < UNSEEN_SECONDS

    def _match(self, links: Sequence[Link], *, certain: bool = False) -> dict[str, Link]:
        known = [(link, function_address(link, self.sysfs)) for link in links]
        self.strangers |= {
            pci for link, pci in known if pci and link.group != self.group and (certain or link.group in GROUPS)
        }
        return match(self.steps, known, self.group, certain=certain)

    def _from(self, netns: str, *, certain: bool = False) -> bool:
        """Move what is in this namespace; whether there is such a namespace."""
        try:
            with open_netns(netns) as pod_file, Conversation(pod_file) as pod:
                found = self._match(read_links(pod), certain=certain)
                for step in self.steps:
                    if (link := found.get(step.ifname)) is not None:
                        move_home(pod, link, step, self.group, self.node_file)
                self.away += len(found)
                return True
        except ContainerGoneError:
            return False

    def _from_anywhere(self) -> None:
        """The same for every namespace of the machine that a path leads to."""
        own = os.fstat(self.node_file)
        for inode, paths in find_namespaces().paths.items():
            if inode != (own.st_dev, own.st_ino):
                with suppress(KernelError):  # what may not be entered cannot be taken from
                    self._from(paths[0], certain=True)


def _restore(node: Conversation, step: TakeDevice, link: Link, group: int) -> None:
    """Make the link on the node what it was; what cannot be is said, as a pod must not stay for it."""
    if link.group != group and link.ifname == step.device:
        return  # never taken, or in order already: whoever changed it since had a reason
    what = subject_of(step)
    asked = [dv.change_link(link.ifindex, f"setting {what} down", up=False)]
    if step.mtu_before and link.mtu != step.mtu_before:
        asked.append(dv.change_link(link.ifindex, f"mtu {step.mtu_before} of {what}", mtu=step.mtu_before))
    if link.ifname != step.device:
        asked.append(dv.change_link(link.ifindex, f"name {step.device!r} of {what}", ifname=step.device))
    answers = node.ask(asked)
    if step.mac_address_before and link.mac_address != step.mac_address_before.lower():
        subject = f"MAC address {step.mac_address_before} of {what}"
        asked.append(dv.change_link(link.ifindex, subject))
        answers.append(set_mac_address(node, link, step.mac_address_before, subject))
    needed = len(asked)
    asked += [dv.add_altname(link.ifindex, name, f"name {name!r} of {what}") for name in step.altnames_before]
    if step.up_before:
        asked.append(dv.change_link(link.ifindex, f"setting {what} up", up=True))
    asked += [rq.add_address(link.ifindex, each, f"address {each} of {what}") for each in step.addresses_before]
    answers += node.ask(asked[needed:])
    crashpoints.reached("devices.restored")
    for position, (request, refusal) in enumerate(zip(asked, answers, strict=True)):
        if refusal is not None and (position < needed or refusal.errno not in _FINE) and refusal.errno != errno.ENODEV:
            fields = {"device": step.device, "pci_address": step.pci_address, "cause": refusal.text}
            log.error("a device came back from its pod, but not as it was: %s", request.subject, extra=fields)
    mark = dv.change_link(link.ifindex, f"taking the mark off {what}", group=step.group_before, alias=step.alias_before)
    (refusal,) = node.ask([mark])
    if refusal is not None and refusal.errno != errno.ENODEV:
        raise refusal.error(f"taking the mark off {what}")
