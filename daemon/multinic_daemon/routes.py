"""Keeps this node's host routes: for every L3 network the table, the rule and the routes that its CIDR object asks for.

Level-triggered: a changed CIDR object, or an announcement of the kernel about one of our routes, rules or NICs, only
says that it is time to compare. Comparing reads what is there and mends the difference, so a deleted route, a flapping
NIC and a restart all end the same way. Routes outlive the daemon; a start removes nothing before the first complete
list of CIDR objects has arrived.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import trio

from multinic_core.errors import KernelError
from multinic_core.model import CIDR, CIDRS, RouteReport
from multinic_core.ports import Key, Kubernetes, Store
from multinic_daemon.hostroutes import PROTOCOL, NetworkRoutes, network_routes
from multinic_daemon.netlink import events as ev
from multinic_daemon.netlink import open_netns
from multinic_daemon.netlink import requests as rq
from multinic_daemon.netlink.observed import decode_address, decode_link, decode_route
from multinic_daemon.netlink.wire import Message
from multinic_daemon.routekeeper import RouteKeeper
from multinic_daemon.tables import IPROUTE2

log = logging.getLogger(__name__)

SETTLE_SECONDS = 0.1
"""Events within this time of the first cause one comparison."""
RETRY_SECONDS = 30.0
"""While something fails it is tried again so often, for causes that announce nothing."""
PROBLEMS_IN_MESSAGE = 3

_GROUPS = (ev.LINKS, ev.IPV4_ADDRESSES, ev.IPV6_ADDRESSES, ev.IPV4_ROUTES, ev.IPV6_ROUTES, ev.IPV4_RULES, ev.IPV6_RULES)

Report = Callable[[str, RouteReport | None], None]
"""Called with a network and how its routes stand; None when it has none on this node (any more)."""


async def serve_routes(
    node: str,
    kubernetes: Kubernetes,
    report: Report,
    *,
    netns: str | None = None,
    iproute2: Path | None = IPROUTE2,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep the host routes; never returns. ``started()`` is called at once, before the API has been reached.

    Args:
        report: called in the trio thread, only with what changed.
        netns: path of the node's network namespace; None: the process's own.
        iproute2: iproute2's configuration folder; None: tables are not named.

    Raises:
        KernelError, ContainerGoneError: the kernel's announcements cannot be heard.
    """
    keeper = RouteKeeper(netns=netns, iproute2=iproute2)
    store = kubernetes.store(CIDRS)
    try:
        with open_netns(netns) as file, ev.Events(*_GROUPS, netns=file if netns else None) as events:
            service = _Service(node, store, report, keeper)
            store.subscribe(service.wake)
            task_status.started()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(service.listen, events)
                await store.wait_synced()
                await service.run()
    finally:
        keeper.close()


class _Service:
    def __init__(self, node: str, store: Store[CIDR], report: Report, keeper: RouteKeeper) -> None:
        self._node = node
        self._store = store
        self._report = report
        self._keeper = keeper
        self._reported: dict[str, RouteReport] = {}
        self._dirty = trio.Event()
        self._ifnames: frozenset[str] = frozenset()

    def wake(self, _key: Key | None = None) -> None:
        self._dirty.set()

    async def listen(self, events: ev.Events) -> None:
        while True:
            messages = await events.read()
            if messages is None or any(self._matters(message) for message in messages):
                self._dirty.set()

    async def run(self) -> None:
        while True:
            self._dirty = trio.Event()
            healthy = await self._reconcile()
            with trio.move_on_after(float("inf") if healthy else RETRY_SECONDS):
                await self._dirty.wait()
            await trio.sleep(SETTLE_SECONDS)

    async def _reconcile(self) -> bool:
        """Whether all is as it should be."""
        cidrs = self._store.list()
        invalid = {key.name: reason for key, reason in self._store.invalid.items()}
        wishes = [wish for cidr in cidrs if (wish := network_routes(cidr, self._node)) is not None]
        self._ifnames = frozenset(route.ifname for wish in wishes for route in wish.routes)
        problems: Mapping[str, list[str]]
        try:
            problems = await trio.to_thread.run_sync(partial(self._keeper.reconcile, wishes, invalid))
        except KernelError as error:
            log.warning("host routes not compared, will retry", extra={"node": self._node, "error": str(error)})
            problems = {wish.network: [str(error)] for wish in wishes}
        self._tell(_reports(cidrs, wishes, problems, invalid, self._reported))
        return not problems

    def _tell(self, reports: Mapping[str, RouteReport]) -> None:
        before, self._reported = self._reported, dict(reports)
        for network in sorted(before.keys() | reports.keys()):
            if before.get(network) != reports.get(network):
                self._report(network, reports.get(network))

    def _matters(self, message: Message) -> bool:
        """Whether the kernel speaks of our routes, our rules or their NICs, and we are not the cause."""
        if message.port and message.port == self._keeper.port:
            return False
        if message.type in (rq.RTM_NEWLINK, rq.RTM_DELLINK):
            link = decode_link(message.body)
            return link.ifname in self._ifnames or link.ifindex in self._keeper.ifindexes
        if message.type in (rq.RTM_NEWADDR, rq.RTM_DELADDR):
            return decode_address(message.body).ifindex in self._keeper.ifindexes
        if message.type in (rq.RTM_NEWROUTE, rq.RTM_DELROUTE):
            # a foreign route in our table may have taken the place of ours, or just left it
            route = decode_route(message.body)
            return route.protocol == PROTOCOL or route.table in self._keeper.tables.values()
        return message.type in (rq.RTM_NEWRULE, rq.RTM_DELRULE)


def _reports(
    cidrs: Iterable[CIDR],
    wishes: Iterable[NetworkRoutes],
    problems: Mapping[str, list[str]],
    invalid: Mapping[str, str],
    before: Mapping[str, RouteReport],
) -> dict[str, RouteReport]:
    """How each network of this node stands."""
    wanted = {wish.network for wish in wishes}
    reports = {
        cidr.name: RouteReport(
            status="Failed" if cidr.name in problems else "Success",
            resource_version=cidr.metadata.resource_version or "",
            generation=cidr.metadata.generation,
            message=_message(problems.get(cidr.name, [])),
        )
        for cidr in cidrs
        if cidr.name in wanted
    }
    for network, reason in invalid.items():
        if network in before:  # it is one of this node's: its routes stay as they were
            reports[network] = before[network].model_copy(
                update={"status": "Failed", "message": f"CIDR does not fit its schema: {reason}"}
            )
    return reports


def _message(problems: list[str]) -> str:
    shown = "; ".join(problems[:PROBLEMS_IN_MESSAGE])
    more = len(problems) - PROBLEMS_IN_MESSAGE
    return f"{shown}; and {more} more" if more > 0 else shown
