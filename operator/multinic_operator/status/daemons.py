"""Which daemons are alive and what they report, from their Leases.

A Lease is renewed every few seconds, so nothing is parsed and nobody is told until a report's text changes or a
daemon falls silent or comes back. A daemon is silent when no renewal was seen for ``LEASE_SECONDS``; clocks of node and
operator are compared only for the first sight of a Lease.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import trio

from multinic_core.model import (
    LEASE_PREFIX,
    LEASE_SECONDS,
    NODE_LABEL,
    REPORT_ANNOTATION,
    DaemonReport,
    Lease,
    read_report,
)
from multinic_core.ports import Key
from multinic_operator.world import World

SWEEP_SECONDS = 5.0
AT_ONCE = 100
"""So many Leases are read before others get their turn."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """One node's daemon as its Lease shows it."""

    node: str
    alive: bool
    report: DaemonReport | None
    """None: it has reported nothing that can be read."""


@dataclass(slots=True)
class _Sight:
    daemon: Daemon
    text: str | None
    renew_time: str | None
    heard: float
    """trio time of the last renewal seen."""


def node_of(lease: Lease) -> str | None:
    """The node whose daemon holds this Lease, or None when it is no daemon's."""
    label = (lease.metadata.labels or {}).get(NODE_LABEL)
    if label:
        return label
    return lease.name.removeprefix(LEASE_PREFIX) if lease.name.startswith(LEASE_PREFIX) else None


def _age_seconds(lease: Lease, now: datetime) -> float:
    try:
        renewed = datetime.fromisoformat(lease.spec.renew_time or "")
        return max(0.0, (now - renewed).total_seconds())
    except (ValueError, TypeError):
        return float("inf")


class Daemons:
    """All daemons of the cluster."""

    def __init__(self, world: World, changed: Callable[[set[str] | None], None]) -> None:
        """``changed`` gets the networks whose reports changed, or None when a daemon came or went."""
        self._world = world
        self._changed = changed
        self._sights: dict[str, _Sight] = {}
        self._daemons: dict[str, Daemon] = {}
        self._nodes: dict[str, str] = {}
        """Lease name to node."""

    def view(self) -> Mapping[str, Daemon]:
        """Node to its daemon, for every daemon that ever held a Lease that is still there."""
        return self._daemons

    def problems(self) -> Mapping[str, str]:
        """Node to what its daemon says is wrong with the node itself, of daemons that are alive."""
        return {
            node: sight.daemon.report.error
            for node, sight in self._sights.items()
            if sight.daemon.alive and sight.daemon.report is not None and sight.daemon.report.error
        }

    def observe(self, key: Key) -> None:
        """Take in the Lease of this key as the store shows it."""
        lease = self._world.leases.get(key.name, key.namespace)
        if lease is None:
            node = self._nodes.pop(key.name, None)
            if node is not None and self._sights.pop(node, None) is not None:
                del self._daemons[node]
                self._changed(None)
            return
        if (node := node_of(lease)) is None:
            return
        self._nodes[key.name] = node
        now, text, renew_time = (
            trio.current_time(),
            (lease.metadata.annotations or {}).get(REPORT_ANNOTATION),
            lease.spec.renew_time,
        )
        sight = self._sights.get(node)
        if sight is None:
            age = _age_seconds(lease, self._world.now())
            daemon = Daemon(node, age < LEASE_SECONDS, read_report(lease))
            self._sights[node] = _Sight(daemon, text, renew_time, now - age)
            self._daemons[node] = daemon
            self._changed(None)
            return
        if renew_time != sight.renew_time:
            sight.renew_time, sight.heard = renew_time, now
        before = sight.daemon
        if text != sight.text:
            sight.text, sight.daemon = text, replace(before, report=read_report(lease))
            self._daemons[node] = sight.daemon
            self._changed(_differing(before.report, sight.daemon.report))
        self._judge(sight)

    def sweep(self) -> None:
        """Notice who has fallen silent since."""
        for sight in list(self._sights.values()):
            self._judge(sight)

    def _judge(self, sight: _Sight) -> None:
        alive = trio.current_time() - sight.heard < LEASE_SECONDS
        if alive != sight.daemon.alive:
            sight.daemon = self._daemons[sight.daemon.node] = replace(sight.daemon, alive=alive)
            self._changed(None)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take in Leases as they change and sweep at intervals; never returns."""
        for count, lease in enumerate(self._world.leases.list(), 1):
            self.observe(Key(lease.namespace, lease.name))
            if count % AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        self._world.leases.subscribe(self.observe)
        task_status.started()
        while True:
            await trio.sleep(SWEEP_SECONDS)
            self.sweep()


def _differing(before: DaemonReport | None, now: DaemonReport | None) -> set[str]:
    old, new = (before.routes if before else {}), (now.routes if now else {})
    return {name for name in {*old, *new} if old.get(name) != new.get(name)}
