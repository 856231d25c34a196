"""What this daemon has to tell the operator, gathered from its parts; :mod:`multinic_daemon.lease` carries it there."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import trio

from multinic_core.model import DaemonReport, RouteReport

DISTRIBUTION = "multinic-daemon"
WRITES_PER_SECOND = 200
"""What the daemons of a cluster may cost the API server together when all of them have something new to say."""


def own_version() -> str:
    """Version of this distribution, "" when it runs from a bare source tree."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return ""


class Reporter:
    """The report as it stands; whoever watches ``changed`` hears of each difference."""

    def __init__(self) -> None:
        self._version = own_version()
        self._routes: dict[str, RouteReport] = {}
        self._nodes = 0
        self._changed = trio.Event()

    def set_route(self, network: str, report: RouteReport | None) -> None:
        """How one network's host routes stand; None: it has none (any more)."""
        before = dict(self._routes)
        if report is None:
            self._routes.pop(network, None)
        else:
            self._routes[network] = report
        if self._routes != before:
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
        return DaemonReport(version=self._version, routes={name: self._routes[name] for name in sorted(self._routes)})

    @property
    def changed(self) -> trio.Event:
        """Set at the next difference; ask again after it."""
        return self._changed
