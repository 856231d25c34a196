"""What this daemon tells the operator, gathered from its parts; :mod:`~multinic_daemon.report.lease` carries it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import trio

from multinic_core.model import RENEW_SECONDS, DaemonReport, RouteReport

DISTRIBUTION = "multinic-daemon"
WRITES_PER_SECOND = 200
"""What the daemons of a cluster may cost the API server together when all of them have something new to say."""


def own_version() -> str:
    """Version of this distribution, "" when it runs from a bare source tree."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return ""


LASTING_SECONDS = 10.0
"""What is wrong at two looks so far apart is reported."""
YOUNG_SECONDS = float(RENEW_SECONDS)
"""While routes are so young, which CIDR they follow is news; later, when nodes join or leave, it can wait for the next
renewal, or each node that joins would make all others write."""


class Reporter:
    """The report as it stands; whoever watches ``changed`` hears of what cannot wait for the next renewal."""

    def __init__(self) -> None:
        self._version = own_version()
        self._routes: dict[str, RouteReport] = {}
        self._since: dict[str, float] = {}
        """Network to the trio time since which its routes stand as they do, but for the CIDR that they follow."""
        self._error = ""
        self._nodes = 0
        self._changed = trio.Event()

    def set_route(self, network: str, report: RouteReport | None) -> None:
        """How one network's host routes stand; None: it has none (any more)."""
        before = self._routes.pop(network, None)
        if report is not None:
            self._routes[network] = report
        if report == before:
            return
        now = trio.current_time()
        if before is None or report is None or (before.status, before.message) != (report.status, report.message):
            self._since[network] = now
        if now - self._since[network] < YOUNG_SECONDS:
            self._changed.set()
            self._changed = trio.Event()

    def set_error(self, text: str) -> None:
        """What keeps the node from serving pods; "" when nothing does."""
        if text != self._error:
            self._error = text
            self._changed.set()
            self._changed = trio.Event()

    def set_nodes(self, count: int) -> None:
        """How many nodes may have something new to say for the same cause."""
        self._nodes = count

    @property
    def spread_seconds(self) -> float:
        """Within this time, at a moment of its own, each node says what is new: 0.5 s for 100 nodes, 25 for 5,000."""
        return self._nodes / WRITES_PER_SECOND

    def route_problem(self, network: str) -> str:
        """What is wrong with a network's host routes, or ""."""
        report = self._routes.get(network)
        return (report.message or "failed") if report is not None and report.status == "Failed" else ""

    def report(self) -> DaemonReport:
        routes = {name: self._routes[name] for name in sorted(self._routes)}
        return DaemonReport(version=self._version, error=self._error, routes=routes)

    @property
    def changed(self) -> trio.Event:
        """Set at the next difference; ask again after it."""
        return self._changed


async def serve_errors(
    reporter: Reporter, reason: Callable[[], str], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Report why the node cannot serve pods when that lasts, as at a start it ordinarily does not; never returns.

    Args:
        reason: gives what it is now, or "".
    """
    task_status.started()
    before = ""
    while True:
        await trio.sleep(LASTING_SECONDS)
        now = reason()
        reporter.set_error(now if before else "")
        before = now
