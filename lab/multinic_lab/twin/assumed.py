"""What nodes outside of the sample report of their host routes: made, as soon as what they follow from is there.

That is what a daemon says when all goes well, at the moment at which it could begin to make them.
"""

from __future__ import annotations

from collections.abc import Collection

import trio
from multinic_daemon.hostroutes.compact import own_nics
from multinic_daemon.hostroutes.desired import is_routed
from multinic_daemon.report.report import Reporter

from multinic_core.model import CIDR, CIDRS, HOST_INTERFACES, RouteReport
from multinic_core.ports import Key, Kubernetes
from multinic_core.rows import Rows

AT_ONCE = 50
"""So many nodes are looked at before others get their turn."""


class AssumedRoutes:
    """The reports of all such nodes of one process."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._cidrs = kubernetes.store(CIDRS)
        self._hosts = kubernetes.store(HOST_INTERFACES)
        self._reporters: dict[str, Reporter] = {}
        self._nodes: set[str] = set()
        """All nodes of the cluster that are known here."""
        self._routed: dict[str, _Routed] = {}
        """Network to its CIDR, where nodes have host routes."""
        self._dirty: dict[str, None] = {}
        """Nodes to look at."""
        self._woken = trio.Event()
        self._cidrs.subscribe(self._cidr_changed)
        self._hosts.subscribe(self._host_changed)

    def add(self, node: str, reporter: Reporter) -> None:
        self._reporters[node] = reporter
        self._look_at([node])

    def _cidr_changed(self, key: Key) -> None:
        cidr = self._cidrs.get(key.name)
        self._routed.pop(key.name, None)
        if cidr is not None and is_routed(cidr):
            self._routed[key.name] = _Routed(cidr)
        self._look_at(self._reporters)

    def _host_changed(self, key: Key) -> None:
        if self._hosts.get(key.name) is None:
            self._nodes.discard(key.name)
        else:
            self._nodes.add(key.name)
        if key.name in self._reporters:
            self._look_at([key.name])

    def _look_at(self, nodes: Collection[str]) -> None:
        self._dirty |= dict.fromkeys(nodes)
        self._woken.set()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the reports; never returns."""
        task_status.started()
        await self._hosts.wait_synced()
        while True:
            self._woken = trio.Event()
            for number, node in enumerate(list(self._dirty), 1):
                del self._dirty[node]
                self._report(node)
                if number % AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
            await self._woken.wait()

    def _report(self, node: str) -> None:
        reporter, own = self._reporters[node], self._hosts.get(node)
        reporter.set_nodes(len(self._nodes))
        for name, routed in self._routed.items():
            if node in routed.listed or (routed.rows is not None and own and own_nics(routed.rows, own)):
                reporter.set_route(name, routed.report)


class _Routed:
    """A CIDR with what is the same for all nodes."""

    def __init__(self, cidr: CIDR) -> None:
        self.listed = {row.host_name for entry in cidr.spec.cidr for row in entry.hosts}
        self.rows = Rows(cidr.name, cidr.spec) if cidr.spec.compact else None
        version = cidr.metadata.resource_version or ""
        self.report = RouteReport(status="Success", resource_version=version, generation=cidr.metadata.generation)
