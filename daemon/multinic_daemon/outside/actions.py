"""Actions of plugins, each in a worker thread with a time limit.

A thread cannot be ended. One that hangs is left alone: the call that waited for it fails, and its worker stays taken
until it does end, so that a network whose actions hang uses up its own share and nobody else's
(:mod:`multinic_daemon.engine.lanes`). What it may still do is not raced: another action for the same attachment waits
until it has ended, and so do those that take it back.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import trio
from outcome import Outcome

from multinic_core.errors import ActionError, DaemonUnavailableError, MultinicError

if TYPE_CHECKING:  # the engine has one of these, and so imports this module
    from multinic_daemon.engine.lanes import Held, Lane

T = TypeVar("T")

ACTION_SECONDS = 20.0
"""For one call of one action, and for an earlier one of the same attachment."""


class Actors:
    """The threads at work, by attachment. Used from one thread."""

    def __init__(self) -> None:
        self._at_work: dict[int, trio.Event] = {}

    async def run(
        self, lane: Lane, network: str, row: int, subject: str, talk: Callable[[], T], *, seconds: float | None = None
    ) -> T:
        """What the action returns.

        Args:
            row: id of the attachment's row.
            subject: as errors name it.

        Raises:
            DaemonUnavailableError: it did not end in time, or an earlier one has not ended; or no worker came free.
            MultinicError: as the action raises it.
            ActionError: it raised something else.
        """
        seconds = ACTION_SECONDS if seconds is None else seconds
        if (earlier := self._at_work.get(row)) is not None:
            with trio.move_on_after(seconds):
                await earlier.wait()
            if not earlier.is_set():
                raise DaemonUnavailableError(f"{subject}: an earlier action of this attachment has not ended yet")
        thread = _Thread(await lane.worker(network), self._at_work, row)
        try:
            with trio.fail_after(seconds):
                return await thread.run(talk)
        except trio.TooSlowError as error:
            raise DaemonUnavailableError(f"{subject}: did not end within {seconds:g} seconds") from error
        except MultinicError:
            raise
        except Exception as error:
            raise ActionError(f"{subject}: raised {error!r}") from error


class _Thread:
    """One action at work, from which its caller may walk away."""

    def __init__(self, held: Held, at_work: dict[int, trio.Event], row: int) -> None:
        self._held, self._at_work, self._row = held, at_work, row
        self._waiting: trio.lowlevel.Task | None = None

    async def run(self, talk: Callable[[], T]) -> T:
        token = trio.lowlevel.current_trio_token()

        def deliver(result: Outcome[T]) -> None:
            with suppress(trio.RunFinishedError):  # the daemon has stopped meanwhile
                token.run_sync_soon(self._ended, result)

        def walk_away(_: object) -> trio.lowlevel.Abort:
            self._waiting = None
            return trio.lowlevel.Abort.SUCCEEDED

        try:
            trio.lowlevel.start_thread_soon(talk, deliver)
        except RuntimeError:  # the machine has no more threads
            self._held.__exit__(None, None, None)
            raise
        self._waiting = trio.lowlevel.current_task()
        self._at_work[self._row] = trio.Event()
        result: T = await trio.lowlevel.wait_task_rescheduled(walk_away)
        return result

    def _ended(self, result: Outcome[T]) -> None:
        self._at_work.pop(self._row).set()
        self._held.__exit__(None, None, None)
        if self._waiting is not None:
            trio.lowlevel.reschedule(self._waiting, result)
