"""The node's secondary NICs as the daemon sees them now, kept current by the kernel's announcements.

An announcement about links, addresses or default routes only says that something changed; links, addresses and
default routes are then read afresh and the rule of :mod:`multinic_daemon.discovery.nics` decides. Announcements that
come close together cause one reading. Nothing is read while nothing changes: that a NIC is as it was read last, which
the kernel announces for each pod link that is made on it or goes, says nothing new, unless it has VFs, whose settings
are announced just so. Hardware is looked at again when the kernel announces PCI functions or RDMA devices.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import trio

from multinic_core.errors import KernelError
from multinic_core.plan import IPAddress, IPInterface, Nic, NodeView
from multinic_daemon.discovery.hardware import HardwareReader
from multinic_daemon.discovery.nics import NodeFacts, is_default, node_uses, primary_nics, secondary_nics
from multinic_daemon.netlink import Conversation, Link, NetnsFile, open_netns
from multinic_daemon.netlink import events as ev
from multinic_daemon.netlink import requests as rq
from multinic_daemon.netlink.observed import decode_link, read_addresses, read_links, read_routes
from multinic_daemon.netlink.uevents import DeviceEvents
from multinic_daemon.netlink.wire import Message

log = logging.getLogger(__name__)

SETTLE_SECONDS = 0.05
"""Announcements within this time of the first cause one reading."""

_GROUPS = (ev.LINKS, ev.IPV4_ADDRESSES, ev.IPV6_ADDRESSES, ev.IPV4_ROUTES, ev.IPV6_ROUTES)
_ROUTE_MESSAGES = (rq.RTM_NEWROUTE, rq.RTM_DELROUTE)


@dataclass(frozen=True, slots=True)
class _Outside:
    """What others told us."""

    internal_addresses: frozenset[IPAddress] = frozenset()
    declared: Mapping[str, tuple[IPInterface, ...]] = field(default_factory=dict)


class Discovery:
    """The view of one node. ``view`` is complete once ``serve`` has started.

    Args:
        held: NICs that sit in pods now, by ifname; asked at each reading and by :meth:`refresh`.
        netns: path of the node's network namespace; None: the process's own.
        sysfs: where sysfs is mounted.
    """

    def __init__(
        self,
        node: str,
        *,
        held: Callable[[], Mapping[str, Nic]] = dict,
        netns: str | None = None,
        sysfs: Path = Path("/sys"),
    ) -> None:
        self._held = held
        self._netns = netns
        self._hardware = HardwareReader(sysfs)
        self._view = NodeView(node, MappingProxyType({}))
        self._outside = _Outside()
        self._last_primary: frozenset[str] = frozenset()
        self._links: dict[int, Link] = {}
        """ifindex to each link of the node as it was read last."""
        self._callbacks: list[Callable[[], None]] = []
        self._dirty = trio.Event()
        self._hurry = trio.Event()
        """Set when the reading that is due shall not wait for more announcements."""
        self._read_done = trio.Event()
        self._reading = False
        self._begun = self._ended = 0
        """Numbers of the last reading that was begun, and of the last one that came to its end."""

    def view(self) -> NodeView:
        """The node's secondary NICs; a new value whenever they change. No I/O."""
        return self._view

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` after each change of the view, in the trio thread. It must be quick and must not raise."""
        self._callbacks.append(changed)

    def refresh(self) -> None:
        """Read again soon: what ``held`` gives has changed."""
        self._dirty.set()

    async def renew(self) -> None:
        """Read everything again now, hardware included, so that the view shows all that was done before this call.

        For what is decided on it next, while ``serve`` runs. Callers at the same time share one reading.
        """
        number = self._begun + 1
        self._hardware.forget_devices()
        self._dirty.set()
        self._hurry.set()
        while self._ended < number:
            await self._read_done.wait()

    async def settled(self) -> None:
        """Wait until the view shows everything that was announced or set before this call."""
        while self._dirty.is_set() or self._reading:
            await self._read_done.wait()

    async def look(self) -> NodeView:
        """The view, read once, for callers that do not stay. Raises as :meth:`serve`."""
        self._dirty.set()
        while self._dirty.is_set():  # again, when links come and go meanwhile
            await self._read()
        return self._view

    def set_internal_addresses(self, addresses: frozenset[IPAddress]) -> None:
        """The InternalIPs of the Node object, which mark the primary NIC."""
        self._set_outside(replace(self._outside, internal_addresses=addresses))

    def set_declared(self, declared: Mapping[str, tuple[IPInterface, ...]]) -> None:
        """NICs of a hand-written HostInterface, by ifname, with the addresses written there."""
        self._set_outside(replace(self._outside, declared=dict(declared)))

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the view current; never returns. ``started()`` is called once it is complete.

        Raises:
            KernelError, ContainerGoneError: the kernel cannot be asked.
        """
        with (
            open_netns(self._netns) as netns,
            ev.Events(*_GROUPS, netns=netns) as events,
            DeviceEvents(netns) as device_events,
        ):
            # listening before reading, so that no change falls between
            self._dirty.set()
            await self._read()
            task_status.started()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, events)
                nursery.start_soon(self._listen_to_devices, device_events)
                while True:
                    await self._dirty.wait()
                    with trio.move_on_after(SETTLE_SECONDS):
                        await self._hurry.wait()
                    await self._read()

    async def _listen(self, events: ev.Events) -> None:
        while True:
            messages = await events.read()
            if messages is None:
                log.warning("netlink announcements lost, reading everything", extra={"node": self._view.name})
                self._hardware.forget_settings()
                self._dirty.set()
            elif True in {self._matters(message) for message in messages}:  # each is looked at: it may be about VFs
                self._dirty.set()

    async def _listen_to_devices(self, events: DeviceEvents) -> None:
        while True:
            await events.wait()
            self._hardware.forget_devices()
            self._dirty.set()

    async def _read(self) -> None:
        self._dirty, self._hurry, self._reading = trio.Event(), trio.Event(), True
        self._begun += 1
        try:
            await self._read_once()
            self._ended = self._begun
        except KernelError as error:
            if error.errno != errno.EINTR:
                raise
            # links come and go faster than they can be listed; more announcements are on their way, or this one is
            self._dirty.set()
            self._hurry.set()
        finally:
            self._reading = False
            self._read_done.set()
            self._read_done = trio.Event()

    async def _read_once(self) -> None:
        outside, last_primary, held = self._outside, self._last_primary, dict(self._held())

        def own(opened: NetnsFile) -> NetnsFile | None:
            return opened if self._netns else None

        def read() -> tuple[NodeFacts, tuple[Nic, ...]]:
            with open_netns(self._netns) as opened, Conversation(own(opened)) as kernel:
                links = read_links(kernel)
                facts = NodeFacts(
                    links=links,
                    addresses=read_addresses(kernel),
                    default_routes=[
                        route for route in read_routes(kernel, table=rq.RT_TABLE_MAIN) if is_default(route)
                    ],
                    internal_addresses=outside.internal_addresses,
                    held=held,
                    declared=outside.declared,
                    last_primary=last_primary,
                )
                # only what the rule took has hardware worth looking for
                names = {nic.ifname for nic in secondary_nics(facts)}
                facts = replace(
                    facts, hardware=self._hardware.read(links, names, kernel, opened if self._netns else None)
                )
            return facts, secondary_nics(facts)

        facts, nics = await trio.to_thread.run_sync(read)
        self._last_primary = primary_nics(facts)
        self._links = {link.ifindex: link for link in facts.links}
        by_name = MappingProxyType({nic.ifname: nic for nic in nics})
        view = NodeView(self._view.name, by_name, uses=node_uses(facts.links))
        if view != self._view:
            if _without_vfs(view) != _without_vfs(self._view):  # those come and go with pods
                log.info("NICs changed", extra={"node": view.name, "nics": list(view.nics)})
            self._view = view
            for changed in self._callbacks:
                changed()

    def _matters(self, message: Message) -> bool:
        """Whether an announcement can change the view: of routes, only default ones can."""
        if message.type in _ROUTE_MESSAGES:
            _, length, _, _, table, _, _, _, _ = rq.RTMSG.unpack_from(message.body)
            return bool(length == 0 and table == rq.RT_TABLE_MAIN)
        if message.type == rq.RTM_NEWLINK:
            link = decode_link(message.body)
            if self._hardware.has_vfs(link.ifindex):
                self._hardware.forget_settings()
                return True
            return link != self._links.get(link.ifindex)
        return True

    def _set_outside(self, outside: _Outside) -> None:
        if outside != self._outside:
            self._outside = outside
            self._dirty.set()


def _without_vfs(view: NodeView) -> list[Nic]:
    return [replace(nic, vfs=()) for nic in view.nics.values()]
