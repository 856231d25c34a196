"""Read, change, replace; again when somebody else was faster.

What is written is the object as read with only the differences of the two models merged in, so fields that our models
do not know survive (inside lists they survive only where the list itself was not changed).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from multinic_core.errors import ApiError
from multinic_core.kube.objects import Json, difference, merge, parse
from multinic_core.model.base import KubeObject, Resource

M = TypeVar("M", bound=KubeObject)

CONFLICT_ATTEMPTS = 8
"""Reads and replaces before a conflict is given up."""


def is_conflict(error: BaseException) -> bool:
    """Whether the object changed between reading and writing."""
    return isinstance(error, ApiError) and error.status == 409 and error.api_reason in ("Conflict", "")


async def modify(
    resource: Resource[M],
    change: Callable[[M], M | None],
    read: Callable[[], Awaitable[Json]],
    replace: Callable[[Json], Awaitable[Json]],
) -> M:
    """The object after ``change``, as the API answered; unwritten when nothing differs.

    Raises:
        ApiError: reading or replacing failed, or the last of ``CONFLICT_ATTEMPTS`` was a conflict (status 409).
    """

    async def attempt() -> M:
        raw = await read()
        before = parse(resource, raw)
        after = change(before.model_copy(deep=True))
        patch = {} if after is None else difference(before.to_json(), after.to_json())
        return parse(resource, await replace(merge(raw, patch))) if patch else before

    retrying = AsyncRetrying(
        retry=retry_if_exception(is_conflict),
        stop=stop_after_attempt(CONFLICT_ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.01, max=0.5),
        sleep=trio.sleep,
        reraise=True,
    )
    return await retrying(attempt)
