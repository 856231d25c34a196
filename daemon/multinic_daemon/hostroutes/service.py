"""Keeps this node's host routes: for every L3 network the table, the rule and the routes that its CIDR object asks for.

Level-triggered: a changed object, or an announcement of the kernel about one of our routes, rules or NICs, only says
that it is time to look. An announcement, a start, a network that comes or goes and time passing end in a comparison,
which reads all there is and mends the difference; so a deleted route, a flapping NIC and a restart end the same way. In
between, the few routes that a changed object asks for are made on top of what the last comparison left: one node
among thousands costs its own routes. Routes outlive the daemon; a start removes nothing before the first complete list
of CIDR objects has arrived, and where nodes are not listed there, of HostInterfaces.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol

import trio

from multinic_core.errors import KernelError
from multinic_core.model import RouteReport
from multinic_core.ports import Kubernetes
from multinic_daemon.hostroutes.desired import PROTOCOL, NetworkRoutes
from multinic_daemon.hostroutes.keeper import Deltas, RouteKeeper
from multinic_daemon.hostroutes.tables import IPROUTE2
from multinic_daemon.hostroutes.wishes import Step, Wishes
from multinic_daemon.netlink import events as ev
from multinic_daemon.netlink import open_netns
from multinic_daemon.netlink import requests as rq
from multinic_daemon.netlink.observed import Link, decode_address, decode_link, decode_route
from multinic_daemon.netlink.wire import Message

log = logging.getLogger(__name__)

SETTLE_SECONDS = 0.1
"""Events within this time of the first cause one comparison."""
RETRY_SECONDS = 30.0
"""While something fails it is tried again so often, for causes that announce nothing."""
COMPARE_SECONDS = 600.0
"""At the latest after so long everything is compared: about a second of work for 40,000 routes."""
PROBLEMS_IN_MESSAGE = 3

_GROUPS = (ev.LINKS, ev.IPV4_ADDRESSES, ev.IPV6_ADDRESSES, ev.IPV4_ROUTES, ev.IPV6_ROUTES, ev.IPV4_RULES, ev.IPV6_RULES)

Report = Callable[[str, RouteReport | None], None]
"""Called with a network and how its routes stand; None when it has none on this node (any more)."""


class Keeper(Protocol):
    """What brings routes to where they are wanted: :class:`RouteKeeper` for a kernel; its methods may block."""

    tables: dict[str, int]
    ifindexes: frozenset[int]
    links: dict[str, Link]

    @property
    def port(self) -> int: ...

    def reconcile(self, wishes: Collection[NetworkRoutes], unknown: Collection[str] = ()) -> dict[str, list[str]]: ...

    def follow(self, deltas: Deltas) -> dict[str, list[str]] | None: ...


async def serve_routes(
    node: str,
    kubernetes: Kubernetes,
    report: Report,
    *,
    span: Callable[[int], None] = lambda nodes: None,
    netns: str | None = None,
    iproute2: Path | None = IPROUTE2,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep the host routes; never returns. ``started()`` is called at once, before the API has been reached.

    Args:
        report: called in the trio thread, only with what changed.
        span: called with how many nodes the networks span.
        netns: path of the node's network namespace; None: the process's own.
        iproute2: iproute2's configuration folder; None: tables are not named.

    Raises:
        KernelError, ContainerGoneError: the kernel's announcements cannot be heard.
    """
    keeper = RouteKeeper(netns=netns, iproute2=iproute2)
    try:
        with open_netns(netns) as file, ev.Events(*_GROUPS, netns=file if netns else None) as events:
            await serve_wishes(node, kubernetes, report, keeper, span=span, events=events, task_status=task_status)
    finally:
        keeper.close()


async def serve_wishes(
    node: str,
    kubernetes: Kubernetes,
    report: Report,
    keeper: Keeper,
    *,
    span: Callable[[int], None] = lambda nodes: None,
    events: ev.Events | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """As ``serve_routes``, with whatever keeps the routes.

    Args:
        events: the announcements of the kernel that they are kept in; None: nobody else touches them.
    """
    async with trio.open_nursery() as nursery:
        service = _Service(node, kubernetes, report, keeper, nursery, span)
        task_status.started()
        if events is not None:
            nursery.start_soon(service.listen, events)
        await service.run()


class _Service:
    def __init__(
        self,
        node: str,
        kubernetes: Kubernetes,
        report: Report,
        keeper: Keeper,
        nursery: trio.Nursery,
        span: Callable[[int], None],
    ) -> None:
        self._node = node
        self._report = report
        self._keeper = keeper
        self._nursery = nursery
        self._span = span
        self._dirty = trio.Event()
        self._wishes = Wishes(node, kubernetes, self.wake)
        self._reported: dict[str, RouteReport] = {}
        self._problems: dict[str, list[str]] = {}
        """Network to what of its routes is not as it should be, in the kernel's words."""
        self._ifnames: frozenset[str] = frozenset()
        self._disturbed = True
        """Whether what the last comparison left is known to have changed since, or there was none."""
        self._compared = float("-inf")
        """When it was, in seconds of trio's clock."""
        self._awaiting = False

    def wake(self) -> None:
        self._dirty.set()

    async def listen(self, events: ev.Events) -> None:
        while True:
            messages = await events.read()
            if messages is None or any(self._matters(message) for message in messages):
                self._disturbed = True
                self._dirty.set()

    async def run(self) -> None:
        await self._wishes.wait_synced()
        while True:
            self._dirty = trio.Event()
            healthy = await self._reconcile()
            with trio.move_on_after(COMPARE_SECONDS if healthy else RETRY_SECONDS) as waiting:
                await self._dirty.wait()
            self._disturbed |= waiting.cancelled_caught
            await trio.sleep(SETTLE_SECONDS)

    async def _reconcile(self) -> bool:
        """Whether all is as it should be."""
        await self._wishes.refresh()
        if self._wishes.awaited and not self._awaiting:
            self._awaiting = True
            self._nursery.start_soon(self._wishes.serve_hosts)
        step = self._wishes.take()
        self._ifnames = self._wishes.ifnames
        self._span(self._wishes.nodes)
        self._disturbed |= trio.current_time() >= self._compared + COMPARE_SECONDS
        try:
            if not await self._follow(step):
                await self._compare(step)
        except KernelError as error:
            log.warning("host routes not compared, will retry", extra={"node": self._node, "error": str(error)})
            self._disturbed = True
            self._problems = {network: [str(error)] for network in step.cidrs}
        self._tell(_reports(step, self._problems, self._wishes.problems(), self._reported))
        return not self._disturbed and not self._problems

    async def _follow(self, step: Step) -> bool:
        """Do what has changed, and no more; whether that is enough."""
        if self._disturbed or step.deltas is None:
            return False
        if not step.deltas:
            return True
        problems = await trio.to_thread.run_sync(self._keeper.follow, step.deltas)
        for network, found in (problems or {}).items():
            self._problems[network] = [*dict.fromkeys([*self._problems.get(network, []), *found])]
        return problems is not None

    async def _compare(self, step: Step) -> None:
        whole, unknown = self._wishes.whole(), step.unknown.keys() - step.cidrs.keys()
        self._disturbed = False
        self._compared = trio.current_time()
        self._problems = await trio.to_thread.run_sync(
            lambda: self._keeper.reconcile([sort() for sort in whole], unknown)
        )

    def _tell(self, reports: Mapping[str, RouteReport]) -> None:
        before, self._reported = self._reported, dict(reports)
        for network in sorted(before.keys() | reports.keys()):
            if before.get(network) != reports.get(network):
                self._report(network, reports.get(network))

    def _matters(self, message: Message) -> bool:
        """Whether the kernel speaks of our routes, our rules or their NICs, and we are not the cause."""
        if message.port and message.port == self._keeper.port:
            return False
        if message.type == rq.RTM_NEWLINK:
            return self._link_differs(decode_link(message.body))
        if message.type == rq.RTM_DELLINK:
            link = decode_link(message.body)
            return link.ifname in self._ifnames or link.ifindex in self._keeper.ifindexes
        if message.type in (rq.RTM_NEWADDR, rq.RTM_DELADDR):
            return decode_address(message.body).ifindex in self._keeper.ifindexes
        if message.type in (rq.RTM_NEWROUTE, rq.RTM_DELROUTE):
            # a foreign route in our table may have taken the place of ours, or just left it
            route = decode_route(message.body)
            return route.protocol == PROTOCOL or route.table in self._keeper.tables.values()
        return message.type in (rq.RTM_NEWRULE, rq.RTM_DELRULE)

    def _link_differs(self, link: Link) -> bool:
        """Whether a NIC of ours has changed since the last comparison; pods' links make NICs announce much else."""
        if link.ifname not in self._ifnames and link.ifindex not in self._keeper.ifindexes:
            return False
        seen = self._keeper.links.get(link.ifname)
        return seen is None or (seen.ifindex, seen.up) != (link.ifindex, link.up)


def _reports(
    step: Step,
    problems: Mapping[str, Collection[str]],
    said: Mapping[str, Collection[str]],
    before: Mapping[str, RouteReport],
) -> dict[str, RouteReport]:
    """How each network of this node stands; the same for however many nodes, as long as all is well.

    Args:
        problems: of the kernel's routes.
        said: of what is wanted.
    """
    reports: dict[str, RouteReport] = {}
    for name, cidr in step.cidrs.items():
        found = [*dict.fromkeys((*said.get(name, ()), *problems.get(name, ())))]
        reports[name] = RouteReport(
            status="Failed" if found else "Success",
            resource_version=cidr.metadata.resource_version or "",
            generation=cidr.metadata.generation,
            message=_message(found),
        )
    for name, reason in step.unknown.items():
        if name in before:  # it is one of this node's: its routes stay as they were
            failed = {"status": "Failed", "message": reason}
            reports[name] = before[name].model_copy(update=failed if reason else None)
    return reports


def _message(problems: list[str]) -> str:
    shown = "; ".join(problems[:PROBLEMS_IN_MESSAGE])
    more = len(problems) - PROBLEMS_IN_MESSAGE
    return f"{shown}; and {more} more" if more > 0 else shown
