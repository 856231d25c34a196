"""Work queues: a set of keys that are due, and one worker that reconciles them one after another.

A key stands in the queue at most once, at the earliest time asked for. A reconcile that fails is tried again with
exponential backoff, per key, up to a limit; it never ends the process.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from multinic_core.errors import ApiError, MultinicError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """How patiently keys are worked on, in seconds."""

    first_retry: float = 0.2
    """Pause after a first failure; doubled with each further one."""
    last_retry: float = 60.0
    """Longest such pause."""
    resync: float = 600.0
    """Everything is looked at afresh so often, told or not."""
    limit: float = math.inf
    """Of one reconcile."""


Reconcile = Callable[[str], Awaitable[float | None]]
"""Moves the world toward the spec of one key; gives the seconds after which to look again, or None."""


class Queue:
    """Keys with the time at which each is due."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._order: list[tuple[float, int, str]] = []
        self._added = 0
        self._earlier = trio.Event()

    def __len__(self) -> int:
        return len(self._due)

    def add(self, key: str, after_seconds: float = 0.0) -> None:
        """Have this key come up after so many seconds, or earlier when it stands there already."""
        due = trio.current_time() + after_seconds
        if self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        self._added += 1
        heapq.heappush(self._order, (due, self._added, key))
        self._earlier.set()

    async def get(self) -> str:
        """Take the key that is due first; waits until one is."""
        while True:
            due = self._next_due()
            if due <= trio.current_time():
                _, _, key = heapq.heappop(self._order)
                del self._due[key]
                await trio.lowlevel.checkpoint()
                return key
            if self._earlier.is_set():  # else another worker waits for it already, and so do we
                self._earlier = trio.Event()
            with trio.move_on_at(due):
                await self._earlier.wait()

    def _next_due(self) -> float:
        while self._order:
            due, _, key = self._order[0]
            if self._due.get(key) == due:
                return due
            heapq.heappop(self._order)  # the key was taken, or asked for earlier
        return float("inf")


@dataclass(slots=True)
class Controller:
    """One queue and the reconcile that its keys go through."""

    name: str
    """For the log, such as ``networks``."""
    reconcile: Reconcile
    queue: Queue = field(default_factory=Queue)
    workers: int = 1
    """So many keys are reconciled at once; never the same key twice at a time."""
    timing: Timing = field(default_factory=Timing)
    _failures: dict[str, int] = field(default_factory=dict)
    _busy: dict[str, bool] = field(default_factory=dict)
    """Keys under work, with whether they have come up again meanwhile."""

    async def step(self) -> None:
        """Take one key and reconcile it."""
        key = await self.queue.get()
        if key in self._busy:
            self._busy[key] = True
            return
        self._busy[key] = False
        try:
            await self._work(key)
        finally:
            if self._busy.pop(key):
                self.queue.add(key)

    async def _work(self, key: str) -> None:
        try:
            with trio.fail_after(self.timing.limit):
                requeue_after = await self.reconcile(key)
        except (MultinicError, trio.TooSlowError) as error:
            self._retry(key, error)
        except Exception as error:
            logger.exception("reconcile broke", extra={"controller": self.name, "key": key})
            self._retry(key, error)
        else:
            self._failures.pop(key, None)
            if requeue_after is not None:
                self.queue.add(key, requeue_after)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Reconcile what comes up; never returns."""
        async with trio.open_nursery() as nursery:
            for _ in range(self.workers):
                nursery.start_soon(self._serve_one)
            task_status.started()

    async def _serve_one(self) -> None:
        while True:
            await self.step()

    def _retry(self, key: str, error: Exception) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(self.timing.first_retry * 2 ** min(failures, 16), self.timing.last_retry)
        if isinstance(error, ApiError) and error.retry_after_seconds:
            delay = max(delay, error.retry_after_seconds)
        logger.warning(
            "reconcile failed, will retry",
            extra={
                "controller": self.name,
                "key": key,
                "failures": failures + 1,
                "retry_in_seconds": round(delay, 1),
                "error": str(error) or f"not done within {self.timing.limit:g} s",
            },
        )
        self.queue.add(key, delay)
