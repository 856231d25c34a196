"""Several writes at once, but not too many."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import trio

from multinic_core.errors import ApiError

WRITES_AT_ONCE = 8


async def each(jobs: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Run all jobs, some at once.

    Raises:
        ApiError: the first of those that jobs raised, after all others have run.
    """
    limiter = trio.CapacityLimiter(WRITES_AT_ONCE)
    errors: list[ApiError] = []

    async def run(job: Callable[[], Awaitable[object]]) -> None:
        async with limiter:
            try:
                await job()
            except ApiError as error:
                errors.append(error)

    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(run, job)
    if errors:
        raise errors[0]
