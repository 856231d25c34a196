"""Single requests under trio: in worker threads, bounded in time and number, repeated where that can help."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import trio
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from multinic_core.errors import ApiError
from multinic_core.kube.answers import refusal
from multinic_core.kube.client import Client, LineStream

T = TypeVar("T")

REQUESTS_AT_ONCE = 10
"""Threads for single requests; a further request waits for one of them."""
ATTEMPT_SECONDS = 60.0
"""A single attempt, however slowly its bytes drip."""
ATTEMPTS = 5
RETRY_SECONDS = 15.0
"""No attempt starts later than this after the first, so a Retry-After beyond it is an error at once."""
RETRY_STATUSES = frozenset({429, 500, 503})
"""Answers after which the same request may succeed. Source: Kubernetes API conventions, "HTTP Status codes"."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, with the words that name its object in errors."""

    method: str
    path: str
    subject: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = ""


class Caller:
    """Sends requests through one client; every wait of its methods is bounded and can be cancelled.

    A cancelled request is abandoned: its thread ends by itself within the client's timeouts, and a write may still
    reach the server.
    """

    def __init__(self, client: Client, writing: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        """``writing`` is held around each attempt of a request that writes, in its thread; it may raise to refuse."""
        self._client = client
        self._writing = writing
        self._requests = trio.CapacityLimiter(REQUESTS_AT_ONCE)
        self._streams = trio.CapacityLimiter(math.inf)

    async def once(self, request: Request, decode: Callable[[bytes], T]) -> T:
        """The decoded body of the answer; ``decode`` runs in the worker thread.

        Raises:
            ApiError: refused, or no answer within ``ATTEMPT_SECONDS``.
        """

        def send() -> T:
            with nullcontext() if request.method == "GET" else self._writing():
                answer = self._client.request(
                    request.method, request.path, request.query, request.body, request.content_type
                )
            if answer.status >= 400:
                raise refusal(request.subject, answer)
            return decode(answer.body)

        with trio.move_on_after(ATTEMPT_SECONDS):
            return await trio.to_thread.run_sync(send, abandon_on_cancel=True, limiter=self._requests)
        raise ApiError(f"{request.subject}: no complete answer within {ATTEMPT_SECONDS:g} s")

    async def call(self, request: Request, decode: Callable[[bytes], T]) -> T:
        """As ``once``, repeated after overload and, where the request may be repeated blindly, after a lost answer."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: _may_repeat(request, error)),
            stop=stop_after_attempt(ATTEMPTS) | stop_before_delay(RETRY_SECONDS),
            wait=_wait,
            sleep=trio.sleep,
            reraise=True,
        )
        return await retrying(self.once, request, decode)

    def lines(self, path: str, query: Mapping[str, str], silence_seconds: float) -> LineStream:
        return self._client.lines(path, query, silence_seconds)

    async def in_stream_thread(self, blocking: Callable[[], T]) -> T:
        """Run a call that may block for minutes; there is a thread for each, since there is one per store."""
        return await trio.to_thread.run_sync(blocking, abandon_on_cancel=True, limiter=self._streams)


def _may_repeat(request: Request, error: BaseException) -> bool:
    """A create whose answer was lost may have happened; anything else leads to the same end when done twice."""
    if not isinstance(error, ApiError):
        return False
    return error.status in RETRY_STATUSES or (error.status == 0 and request.method != "POST")


_backoff = wait_random_exponential(multiplier=0.1, max=3)


def _wait(state: RetryCallState) -> float:
    """Seconds: what the server asked for, and a random backoff on top so that clients do not return together."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.retry_after_seconds if isinstance(error, ApiError) else None
    return (asked or 0.0) + _backoff(state)
