"""Failures on demand: a test asks that the next N matching requests fail, hang, or that watches break.

Rules are tried in the order they were added; the first that matches and still has uses left takes the request.
Nothing here is active unless a test adds a rule.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from .errors import ApiError
from .http import Answer, Hang, Request, Response

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass(slots=True)
class Fault:
    """One rule. ``left`` counts down as requests are hit; ``hits`` counts up."""

    method: re.Pattern[str]
    path: re.Pattern[str]
    left: int
    make: Callable[[Request], Answer | ApiError]
    hits: int = 0
    after: bool = False
    """True: the request is carried out first and only its answer is replaced, as when an answer gets lost."""
    released: trio.Event = field(default_factory=trio.Event)

    def cancel(self) -> None:
        """Use this rule no more, and let go of requests it holds."""
        self.left = 0
        self.released.set()


class Faults:
    """The rules of one server."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []
        self._droppers: list[Callable[[str, bool], int]] = []

    def fail(
        self,
        status: int,
        *,
        method: str = ".*",
        path: str = ".*",
        count: int = 1,
        retry_after: int | None = None,
        reason: str | None = None,
        message: str = "injected fault",
        after: bool = False,
    ) -> Fault:
        """Answer the next ``count`` requests with ``status``.

        Args:
            status: HTTP status, also ``code`` in the body.
            method, path: regular expressions; the method must match wholly, the path (query included) anywhere.
            retry_after: seconds for a ``Retry-After`` header.
            after: carry the request out and lose only its answer.
        """
        headers = [("Retry-After", str(retry_after))] if retry_after is not None else []
        details = {"retryAfterSeconds": retry_after} if retry_after is not None else {}
        word = _REASONS.get(status, "InternalError") if reason is None else reason
        error = ApiError(status, word, message, details=details, headers=headers)
        return self._add(method, path, count, lambda _: error, after=after)

    def hang(self, *, method: str = ".*", path: str = ".*", count: int = 1) -> Fault:
        """Leave the next ``count`` requests without an answer until the rule is cancelled."""
        fault = self._add(method, path, count, lambda _: Hang(fault.released))
        return fault

    def answer(self, body: bytes, *, status: int = 200, method: str = ".*", path: str = ".*", count: int = 1) -> Fault:
        """Answer the next ``count`` requests with these very bytes (garbage, say)."""
        return self._add(method, path, count, lambda _: Response(status, body))

    def drop_watches(self, *, path: str = ".*", orderly: bool = False) -> int:
        """End every watch open now whose path matches; returns how many.

        Args:
            orderly: end the answer properly, as on a timeout; otherwise the connection is cut.
        """
        return sum(drop(path, orderly) for drop in self._droppers)

    def clear(self) -> None:
        """Forget all rules and let go of every held request."""
        for rule in self.rules:
            rule.cancel()
        self.rules.clear()

    def on_drop(self, dropper: Callable[[str, bool], int]) -> None:
        """Called by the server: how to drop its watches."""
        self._droppers.append(dropper)

    def take(self, request: Request) -> Fault | None:
        """The rule that takes this request, counted down; None for normal service."""
        if not self.rules:
            return None
        target = request.path + "?" + "&".join(f"{k}={v}" for k, v in request.query.items())
        for rule in self.rules:
            if rule.left > 0 and rule.method.fullmatch(request.method) and rule.path.search(target):
                rule.left -= 1
                rule.hits += 1
                return rule
        return None

    def _add(
        self,
        method: str,
        path: str,
        count: int,
        make: Callable[[Request], Answer | ApiError],
        *,
        after: bool = False,
    ) -> Fault:
        fault = Fault(re.compile(method, re.IGNORECASE), re.compile(path), count, make, after=after)
        self.rules.append(fault)
        return fault
