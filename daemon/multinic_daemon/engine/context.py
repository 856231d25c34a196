"""What every command of the engine works with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import trio

from multinic_core.errors import DaemonUnavailableError
from multinic_core.plan import NodeView, PodReference
from multinic_core.registry import Registry
from multinic_daemon.cluster import ClusterView
from multinic_daemon.engine.inputs import FactSource, Rates
from multinic_daemon.engine.lanes import Lane
from multinic_daemon.engine.leftovers import Leftovers
from multinic_daemon.gate import Gate
from multinic_daemon.journal.journal import Journal
from multinic_daemon.outside import Outside
from multinic_daemon.podlinks.kernel import PodKernel
from multinic_daemon.report.podevents import PodEvent

T = TypeVar("T")

MAKERS, REMOVERS = 16, 32
"""Kernel conversations at once; one network alone has half of each. Making is work, of which a few at once are as fast
as many; removing mostly waits for grace periods, which as many as wait share."""
CALLS = 1024
"""In progress at once in each lane, half of them for one network alone: more than pods on a node."""
OTHERS = 16
"""Executables and actions at once, and as many for undoing; one network alone has half of each."""
LOCK_SECONDS = 50.0
"""For another call at work on the same interface."""
REQUEST_SECONDS = 60.0
"""For one call, undoing not counted. Below what the socket server (80) and the executable (90) wait."""
UNDO_SECONDS = 15.0
"""For undoing one failed ADD, whatever else is cancelled."""


DeviceSource = Callable[[PodReference, Sequence[str]], Awaitable[tuple[tuple[str, ...], frozenset[str]]]]
"""Pod and names of resources to the ids of the pod's devices of these, and those of all other pods."""


class KeyedLocks:
    """One lock per key, kept only while somebody holds it or waits for it.

    Args:
        subject: what a key names, for messages, with ``{0}`` and ``{1}`` for its parts.
    """

    def __init__(self, subject: str = "interface {1!r} of container {0!r}") -> None:
        self._subject = subject
        self._locks: dict[tuple[str, str], tuple[trio.Lock, int]] = {}

    @asynccontextmanager
    async def __call__(self, key: tuple[str, str]) -> AsyncIterator[None]:
        lock, users = self._locks.get(key, (trio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            if lock.locked():
                with trio.move_on_after(LOCK_SECONDS) as waiting:
                    await lock.acquire()
                if waiting.cancelled_caught:
                    raise DaemonUnavailableError(
                        f"{self._subject.format(*key)}: another call has been at work on it for more than"
                        f" {LOCK_SECONDS:g} seconds; try again later"
                    )
            else:
                lock.acquire_nowait()  # without the turn of the event loop that acquire() takes
            try:
                yield
            finally:
                lock.release()
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)

    def busy(self, key: tuple[str, str]) -> bool:
        """Whether somebody holds the lock of this key."""
        return key in self._locks

    def __len__(self) -> int:
        return len(self._locks)


def no_route_problem(network: str) -> str:
    """For ``Engine.route_problem`` where nobody keeps host routes."""
    return ""


def make_outside(cni_bin: str = "") -> Outside:
    """A node's executables and actions.

    Args:
        cni_bin: folders of executables besides the runtime's ``CNI_PATH``, written as that is.
    """
    doing = Lane("run executables and actions", OTHERS, CALLS)
    return Outside(doing, Lane("undo what executables and actions did", OTHERS, CALLS), cni_bin)


@dataclass(slots=True)
class Engine:
    """One node's engine; one per journal."""

    registry: Registry
    journal: Journal
    kernel: PodKernel
    cluster: ClusterView
    view: Callable[[], NodeView]
    """The node's NICs as discovery last saw them; no I/O."""
    route_problem: Callable[[str], str] = no_route_problem
    """Network name to what is wrong with its host routes on this node, or ""."""
    gate: Gate = field(default_factory=Gate)
    """Closed as long as it is not known which addresses are held."""
    tombstones: Path | None = None
    """Where a DEL is kept that comes before that is known; None: it is refused."""
    facts: FactSource | None = None
    """Who tells of pods what strategies need; None: nobody."""
    rates: Callable[[], Rates] = dict
    """What the node's NICs carry now; no I/O."""
    device_source: DeviceSource | None = None
    """Who tells which devices of resources a pod, and which others, were given; None: nobody."""
    fresh: Callable[[], Awaitable[None]] | None = None
    """Reads the node's NICs and devices anew; None: ``view`` is always current."""
    devices_changed: Callable[[], None] = lambda: None
    """Told when devices are no longer held."""
    tell: Callable[[PodEvent], None] = lambda event: None
    """Has an Event written on a pod, soon and without waiting."""
    locks: KeyedLocks = field(default_factory=KeyedLocks)
    """By (container id, ifname)."""
    vfs: KeyedLocks = field(default_factory=lambda: KeyedLocks("VFs of NIC {0!r}"))
    """By (ifname, ""): changing the number of a NIC's VFs."""
    remade: set[str] = field(default_factory=set)
    """ifnames of NICs whose VFs are being replaced."""
    vlans: KeyedLocks = field(default_factory=lambda: KeyedLocks("VLAN {1} on link {0} of this node"))
    """By (index of the NIC, VLAN id): making pod links on a VLAN link, and removing it, take turns."""
    making: Lane = field(default_factory=lambda: Lane("make links", MAKERS, CALLS, prompt=True))
    """Of ADD and CHECK."""
    leftovers: Leftovers = field(default_factory=Leftovers)
    """Rows whose removal began and failed."""
    removing: Lane = field(default_factory=lambda: Lane("remove links", REMOVERS, CALLS))
    """Of DEL and GC, and of taking back what failed."""
    outside: Outside = field(default_factory=make_outside)
    """What executables and actions of plugins do."""

    def busy(self) -> str:
        """Who is in the kernel now, or waits for others, or ""."""
        lanes = (self.making, self.removing, self.outside.doing, self.outside.undoing)
        return "; ".join(filter(None, (lane.busy() for lane in lanes)))

    async def in_thread(self, talk: Callable[[], T], network: str = "", lane: Lane | None = None) -> T:
        """The result of a blocking talk with the kernel, by a worker of its network's share.

        Args:
            lane: None: that of removing.

        Raises:
            DaemonUnavailableError: no worker came free in time; nothing has been done.
        """
        with await (lane or self.removing).worker(network) as worker:
            return await worker.run(talk)
