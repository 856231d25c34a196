"""Who may work now: so many calls and so many workers, shared out so that no network can take all.

What a call does in the kernel may take milliseconds, or never end because a driver or a delegate hangs. Nobody can tell
beforehand, so the rule needs no knowledge: *a network may hold no more than it leaves free*. Of 16 workers one network
alone gets 8; when those hang, the next gets 4 of the 8 that are left, then 2 and so on, and whoever comes
next still finds one. Within a network first come is first served; between networks each is served in turn.

Calls that make and calls that remove have a lane each. Removing waits for the kernel's grace periods, some 25 ms
without using a processor; in one lane a drained node's removals would stand before new pods, or the reverse.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

import trio
from outcome import Outcome, Value

from multinic_core.errors import DaemonUnavailableError

T = TypeVar("T")

WAIT_SECONDS = 40.0
"""For a worker. Below what a whole call may take, so that the answer says what was waited for."""
PROMPT_SECONDS = 0.01
"""How long the loop may be held up for a call that is alone: more than making 16 links takes, as a rule. Another call
that comes meanwhile loses little, as the kernel makes links one at a time."""


class Held:
    """A worker that is taken until the end of a ``with`` block."""

    __slots__ = ("_lane", "network", "since", "waited")

    def __init__(self, lane: Lane, network: str, waited: bool) -> None:
        self._lane = lane
        self.network = network
        self.since = trio.current_time()
        self.waited = waited
        """Whether others had their turns between asking and getting it."""

    def __enter__(self) -> Held:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lane._give_back(self)

    async def run(self, talk: Callable[[], T]) -> T:
        """The result of a blocking talk with the kernel, which goes on to its end even when this is cancelled.

        Does what ``trio.to_thread.run_sync`` does, in half the time: without a turn of the event loop, without naming
        the thread, and without a way for it to call back. A call that is alone in a prompt lane holds the loop up for a
        moment, so that the loop is not woken, and the talk not delayed, by what the kernel announces meanwhile.
        """
        task, token = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()
        results: list[Outcome[T]] = []
        done = threading.Lock()
        done.acquire()
        asleep = False

        def deliver(result: Outcome[T]) -> None:
            results.append(result)
            done.release()
            token.run_sync_soon(wake)

        def wake() -> None:
            if asleep:
                trio.lowlevel.reschedule(task)

        trio.lowlevel.start_thread_soon(talk, deliver)
        if not (self._lane.prompt and self._lane.alone and done.acquire(timeout=PROMPT_SECONDS)):
            asleep = True
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        return results[0].unwrap()


class Call:
    """A place among the calls in progress, held until the end of an ``async with`` block, which waits for nothing."""

    __slots__ = ("_counts", "_network")

    def __init__(self, counts: dict[str, int], network: str) -> None:
        self._counts, self._network = counts, network
        counts[network] = counts.get(network, 0) + 1

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._counts[self._network] -= 1
        if not self._counts[self._network]:
            del self._counts[self._network]


class Lane:
    """Calls of one kind and the workers for them. Used from one thread.

    Args:
        name: what its workers do, for messages.
        workers: how many may be in the kernel at once, of all networks.
        calls: how many may be in progress, most of them waiting; more are refused at once.
        prompt: whether the work nearly always ends within ``PROMPT_SECONDS``.
    """

    def __init__(self, name: str, workers: int, calls: int, *, prompt: bool = False) -> None:
        self.name, self.workers, self.calls, self.prompt = name, workers, calls, prompt
        self._calls: dict[str, int] = {}
        self._held: dict[str, set[Held]] = {}
        self._free = workers
        self._queues: dict[str, deque[trio.lowlevel.Task]] = {}
        """Network to who waits for it, the first in turn first; no empty ones."""

    def enter(self, network: str) -> Call:
        """Begin a call.

        Raises:
            DaemonUnavailableError: too many are in progress.
        """
        own, free = self._calls.get(network, 0), self.calls - sum(self._calls.values())
        if own >= free:
            raise DaemonUnavailableError(
                f"network {network!r}: {own} calls to {self.name} are in progress and {free} more are kept free for"
                f" other networks, expected fewer at once; try again later{self._behind()}"
            )
        return Call(self._calls, network)

    async def worker(self, network: str) -> Held:
        """Take a worker: at once and without a turn of the event loop when there is one, else after waiting in line.

        Raises:
            DaemonUnavailableError: none came free in time; says which networks hold them.
        """
        if self._may_have(network) and not self._queues.get(network):
            return self._take(network, waited=False)
        task = trio.lowlevel.current_task()
        queue = self._queues.setdefault(network, deque())
        queue.append(task)
        begun = trio.current_time()

        def leave(_: object) -> trio.lowlevel.Abort:
            queue.remove(task)
            if not queue:
                del self._queues[network]
            return trio.lowlevel.Abort.SUCCEEDED

        with trio.move_on_after(WAIT_SECONDS):
            held: Held = await trio.lowlevel.wait_task_rescheduled(leave)
            return held
        raise DaemonUnavailableError(
            f"network {network!r}: no worker to {self.name} came free within"
            f" {trio.current_time() - begun:.0f} seconds; try again later{self._behind()}"
        )

    def busy(self) -> str:
        """Which networks hold workers, how many and for how long at most; "" when none does."""
        now = trio.current_time()
        return ", ".join(
            f"network {network!r} holds {len(held)} of {self.workers} workers to {self.name},"
            f" one for {now - min(each.since for each in held):.0f} seconds"
            for network, held in self._held.items()
        )

    @property
    def alone(self) -> bool:
        """Whether at most one call is in progress."""
        return sum(self._calls.values()) <= 1

    @property
    def idle(self) -> bool:
        """Whether nobody holds or waits for anything."""
        return self._free == self.workers and not self._queues and not self._calls

    def _behind(self) -> str:
        found = self.busy()
        return f" ({found})" if found else ""

    def _may_have(self, network: str) -> bool:
        return len(self._held.get(network, ())) < self._free

    def _take(self, network: str, *, waited: bool) -> Held:
        held = Held(self, network, waited)
        self._held.setdefault(network, set()).add(held)
        self._free -= 1
        return held

    def _give_back(self, held: Held) -> None:
        own = self._held[held.network]
        own.remove(held)
        if not own:
            del self._held[held.network]
        self._free += 1
        while (network := next(filter(self._may_have, self._queues), None)) is not None:
            queue = self._queues.pop(network)
            task = queue.popleft()
            if queue:
                self._queues[network] = queue  # behind the other networks
            trio.lowlevel.reschedule(task, Value(self._take(network, waited=True)))
