"""What every command of the engine works with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import trio
from outcome import Outcome

from multinic_core.plan import NodeView
from multinic_core.registry import Registry
from multinic_daemon.cluster import ClusterView
from multinic_daemon.journal import Journal
from multinic_daemon.kernel import PodKernel

T = TypeVar("T")

KERNEL_THREADS = 16
"""Kernel conversations at once. Removals mostly wait for a grace period, so more than there are processors."""
REQUEST_SECONDS = 60.0
"""For one call, undoing not counted. Below what the socket server (80) and the executable (90) wait."""
UNDO_SECONDS = 15.0
"""For undoing one failed ADD, whatever else is cancelled."""


class KeyedLocks:
    """One lock per key, kept only while somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[tuple[str, str], tuple[trio.Lock, int]] = {}

    @asynccontextmanager
    async def __call__(self, key: tuple[str, str]) -> AsyncIterator[None]:
        lock, users = self._locks.get(key, (trio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            if lock.locked():
                await lock.acquire()
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
    locks: KeyedLocks = field(default_factory=KeyedLocks)
    """By (container id, ifname)."""
    limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(KERNEL_THREADS))

    async def in_thread(self, talk: Callable[[], T]) -> T:
        """The result of a blocking talk with the kernel, which goes on to its end even when this is cancelled.

        Does what ``trio.to_thread.run_sync`` does with this limiter, in half the time: without a turn of the event
        loop, without naming the thread, and without a way for it to call back.
        """
        task, token = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()
        results: list[Outcome[T]] = []

        def deliver(result: Outcome[T]) -> None:
            results.append(result)
            token.run_sync_soon(trio.lowlevel.reschedule, task)

        try:
            self.limiter.acquire_nowait()
        except trio.WouldBlock:
            await self.limiter.acquire()
        try:
            trio.lowlevel.start_thread_soon(talk, deliver)
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        finally:
            self.limiter.release()
        return results[0].unwrap()
