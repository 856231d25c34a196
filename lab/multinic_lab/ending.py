"""Ending as one should when told to: a signal cancels what runs, so that all that was opened is closed and removed."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")

SIGNALS = (signal.SIGTERM, signal.SIGHUP)
"""Beside SIGINT, which Python itself makes an exception of."""


def run_to_end(main: Callable[[], Awaitable[T]]) -> T:
    """What ``main`` gives.

    Raises:
        SystemExit: a signal came and ``main`` has been cancelled; 128 + number, as shells say it.
    """
    told: list[int] = []

    async def listen(scope: trio.CancelScope) -> None:
        with trio.open_signal_receiver(*SIGNALS) as signals:
            listening.set()
            async for number in signals:
                told.append(number)
                scope.cancel()

    listening = trio.Event()

    async def whole() -> list[T]:
        with trio.CancelScope() as scope:
            trio.lowlevel.spawn_system_task(listen, scope)
            await listening.wait()
            return [await main()]
        return []

    found = trio.run(whole)
    if not found:
        raise SystemExit(128 + told[0])
    return found[0]
