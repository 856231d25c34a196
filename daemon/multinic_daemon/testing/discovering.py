"""Discovery at work, and waiting for what it shows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from multinic_daemon.discovery.discovery import Discovery

SHOWN_WITHIN_SECONDS = 120.0
"""Discovery looks again for no other reason than an announcement, so that this is for busy machines alone."""


@asynccontextmanager
async def discovering(**arguments: Any) -> AsyncIterator[Discovery]:
    """Discovery of node ``n1``, whose first view is complete; it ends with the block."""
    found = Discovery("n1", **arguments)
    async with trio.open_nursery() as nursery:
        await nursery.start(found.serve)
        yield found
        nursery.cancel_scope.cancel()


async def shows(found: Discovery, condition: Callable[[Discovery], bool]) -> None:
    """Wait for a view that fulfils the condition.

    Raises:
        AssertionError: none came.
    """
    changed = trio.Event()

    def announce() -> None:
        nonlocal changed
        changed.set()
        changed = trio.Event()

    found.subscribe(announce)
    with trio.move_on_after(SHOWN_WITHIN_SECONDS):
        while not condition(found):
            await changed.wait()
    assert condition(found), dict(found.view().nics)
