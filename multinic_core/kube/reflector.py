"""Keeps one store current: list, then watch from there, for ever.

The watch starts at the version of the list and asks for bookmarks, so after a broken connection it goes on where it
was. Only when the server no longer knows that version (410 Gone) is everything listed again, and then the store
announces the differences alone. A list that is older than what was seen already, as a server that lags behind may give,
is not taken, or objects would seem to be gone that are not. What is in the store stays there whatever happens to the
connection. Failures are retried after a growing random delay that only progress resets.
"""

from __future__ import annotations

import logging
import random
from typing import Any, NoReturn

import trio

from multinic_core.errors import ApiError
from multinic_core.kube.answers import TOO_LARGE
from multinic_core.kube.calls import Caller
from multinic_core.kube.feed import Event, read_events
from multinic_core.kube.listing import list_all
from multinic_core.kube.paths import View
from multinic_core.kube.store import LocalStore

log = logging.getLogger(__name__)

WATCH_SECONDS = 300
"""A watch is asked to end after this to twice this, so that those of many nodes do not end together."""
GRACE_SECONDS = 30
"""How much longer than asked a silent watch may live before its connection counts as dead."""
LASTING_SECONDS = 5.0
"""A watch that lived so long has worked, even when nothing happened in it."""
FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 15.0
LONGEST_RETRY_AFTER_SECONDS = 60.0
OLD_LIST_SECONDS = 60.0
"""After this time of nothing but older lists the server's history has been set back, by a restored backup say."""
LIST_AGAIN_STATUSES = frozenset({400, 410, 422})
"""Refusals of a watch that say its version is no good: compacted, or never a version of this server."""


class Reflector:
    """Fills one store from one view."""

    def __init__(self, caller: Caller, view: View, store: LocalStore[Any]) -> None:
        self._caller = caller
        self._view = view
        self._store = store
        self._version = ""
        """Where the watch goes on; "" when a list must come first."""
        self._reached = 0
        """Highest version seen, as a number; servers count all writes with one counter."""
        self._behind_since: float | None = None
        """trio time since which only lists older than that have come."""
        self._failures = 0
        """In a row."""
        self._problem = ""
        """The failure that was logged last, "" while all is well."""

    async def serve(self) -> NoReturn:
        while True:
            try:
                if not self._version:
                    items, version = await list_all(self._view, self._caller.once)
                    self._require_recent(version)
                    self._store.replace(items)
                    self._go_on_from(version)
                if await self._watch():
                    continue
                asked = 0.0
            except ApiError as error:
                self._failed(error)
                asked = min(error.retry_after_seconds or 0.0, LONGEST_RETRY_AFTER_SECONDS)
            await trio.sleep(asked + self._delay_seconds())

    async def _watch(self) -> bool:
        """Follow changes until the server ends the watch; gives whether that watch did any good.

        Raises:
            ApiError: refused, broken, or ended by an error event.
        """
        seconds = random.randint(WATCH_SECONDS, 2 * WATCH_SECONDS)
        query = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": self._version}
        query |= {"timeoutSeconds": str(seconds), **self._view.query}
        stream = self._caller.lines(self._view.path, query, seconds + GRACE_SECONDS)
        subject = f"watch {self._view}"

        def next_events() -> list[Event[Any]]:
            return read_events(self._view.resource, subject, stream.read())

        worked = False
        try:
            await self._caller.in_stream_thread(stream.open)
            opened = trio.current_time()
            try:
                while events := await self._caller.in_stream_thread(next_events):
                    for event in events:
                        self._take(event)
                        worked = True
                    self._recovered()
            finally:
                if trio.current_time() - opened > LASTING_SECONDS:
                    worked = True
                    self._recovered()
        finally:
            stream.close()
        return worked

    def _take(self, event: Event[Any]) -> None:
        if event.error is not None:
            raise event.error
        if event.seen is not None and event.gone:
            self._store.remove(event.seen.key)
        elif event.seen is not None:
            self._store.put(event.seen)
        self._go_on_from(event.version)

    def _go_on_from(self, version: str) -> None:
        self._version = version or self._version
        self._reached = max(self._reached, _number(version))

    def _require_recent(self, version: str) -> None:
        """Refuse a list from before what was seen already; raises ApiError."""
        now = trio.current_time()
        if _number(version) >= self._reached or not version.isdecimal():
            self._behind_since = None
        elif self._behind_since is None or now - self._behind_since < OLD_LIST_SECONDS:
            self._behind_since = now if self._behind_since is None else self._behind_since
            raise ApiError(f"list {self._view}: found version {version!r}, expected {self._reached} or later")
        else:
            self._behind_since, self._reached = None, 0

    def _failed(self, error: ApiError) -> None:
        if error.status in LIST_AGAIN_STATUSES or error.api_reason == TOO_LARGE:
            self._version = ""
        # An outage is one line, however many attempts it takes; an expired version is ordinary.
        level = logging.WARNING if str(error) != self._problem and error.status != 410 else logging.DEBUG
        log.log(level, "cannot follow the API, will retry", extra={"view": str(self._view), "problem": str(error)})
        self._problem = str(error)

    def _recovered(self) -> None:
        if self._problem:
            log.info("following the API again", extra={"view": str(self._view)})
        self._problem, self._failures = "", 0

    def _delay_seconds(self) -> float:
        longest: float = min(FIRST_DELAY_SECONDS * 2**self._failures, LONGEST_DELAY_SECONDS)
        self._failures = min(self._failures + 1, 16)
        return longest * random.uniform(0.5, 1)


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0
