"""Watches: from a revision on, every change of a kind, as one JSON line each.

A watcher is a position in a collection's history and a condition to wait on; it holds no queue, so a slow one costs
nothing and is told 410 once its place has left the window. Lines are encoded once per form and shared.
Source: Kubernetes documentation, "Efficient detection of changes", "Watch bookmarks", "Streaming lists".
"""

import time
from dataclasses import dataclass
from typing import Any

import trio

from . import table
from .errors import ApiError, Json
from .http import DroppedError, Send
from .selectors import Predicate
from .store import Change, Collection, Record, Store, encode
from .target import Target

DEFAULT_TIMEOUT_SECONDS = 1800.0
"""How long a watch lasts when its client does not say."""


@dataclass(slots=True)
class Wish:
    """What one watcher asked for."""

    target: Target
    namespace: str | None
    """None for all namespaces."""
    predicate: Predicate | None
    form: str
    """``object``, ``Table`` or ``PartialObjectMetadata``."""
    include: str
    revision: int | None
    """Go on after this revision; None to begin with what is there now."""
    bookmarks: bool
    initial_mark: bool
    """Whether to mark the end of the initial objects by a bookmark (streaming lists)."""
    timeout_seconds: float


class Watcher:
    """One open watch."""

    def __init__(self, store: Store, collection: Collection, wish: Wish, bookmark_seconds: float) -> None:
        self._store = store
        self._collection = collection
        self._wish = wish
        self._bookmark_seconds = bookmark_seconds
        self._scope = trio.CancelScope()
        self._cut = False
        self._headed = False
        self._position = 0
        """Set by ``prepare``, so that nothing is missed between the answer's head and its first line."""
        self._initial: list[Record] = []

    @property
    def path(self) -> str:
        """The watched path, for whoever wants to drop it."""
        resource = self._wish.target.resource
        root = f"/apis/{resource.group}" if resource.group else "/api"
        inner = f"/namespaces/{self._wish.namespace}" if self._wish.namespace else ""
        return f"{root}/{self._wish.target.version.name}{inner}/{resource.plural}"

    def drop(self, *, orderly: bool) -> None:
        """End the watch now; cut the connection unless ``orderly``."""
        self._cut = not orderly
        self._scope.cancel()

    def prepare(self) -> None:
        """Find where to begin.

        Raises:
            ApiError: 410, the wished revision is no longer in the history.
        """
        wish = self._wish
        if wish.revision is None:
            self._position = self._collection.position(self._store.revision)
            records = self._collection.records
            found = (records[key] for key in self._collection.keys(wish.namespace))
            self._initial = [r for r in found if wish.predicate is None or wish.predicate(r.obj)]
        else:
            self._position = self._collection.position(wish.revision)

    async def run(self, send: Send) -> None:
        """Send lines until the time is up, the kind is gone, or the place in the history is lost."""
        with self._scope:
            with trio.move_on_after(self._wish.timeout_seconds):
                await self._run(send)
        if self._cut:
            raise DroppedError

    async def _run(self, send: Send) -> None:
        wish = self._wish
        if wish.revision is None:
            seen = self._store.revision
            lines = [self._line("ADDED", record, {}) for record in self._initial]
            self._initial = []
            for start in range(0, len(lines), 500):
                await send(b"".join(lines[start : start + 500]))
            if wish.initial_mark:
                await send(self._bookmark(seen, {"k8s.io/initial-events-end": "true"}))
        bookmark_at = time.monotonic() + self._bookmark_seconds
        while True:
            changed = self._collection.waiter()
            try:
                changes = self._collection.since(self._position)
            except ApiError as error:
                await send(encode({"type": "ERROR", "object": error.status()}) + b"\n")
                return
            self._position += len(changes)
            if lines := [line for change in changes if (line := self._shown(change)) is not None]:
                await send(b"".join(lines))
                continue
            if self._collection.closed:
                return
            if not wish.bookmarks:
                await changed.wait()
                continue
            with trio.move_on_after(max(bookmark_at - time.monotonic(), 0)) as waiting:
                await changed.wait()
            if waiting.cancelled_caught:
                bookmark_at = time.monotonic() + self._bookmark_seconds
                if self._position == self._collection.first + len(self._collection.history):
                    await send(self._bookmark(self._store.revision, {}))

    def _shown(self, change: Change) -> bytes | None:
        """The line for a change, or None when this watcher does not see it."""
        wish = self._wish
        obj = change.record.obj
        if wish.namespace is not None and obj["metadata"].get("namespace", "") != wish.namespace:
            return None
        kind = change.type
        if wish.predicate is not None:
            now = kind != "DELETED" and wish.predicate(obj)
            before = change.previous is not None and wish.predicate(change.previous.obj)
            if not now and not before:
                return None
            kind = "DELETED" if not now else "MODIFIED" if before else "ADDED"
        record = change.record
        if kind == "DELETED" and change.type == "MODIFIED" and change.previous is not None:
            last = change.previous.obj
            revised = {**last["metadata"], "resourceVersion": str(change.revision)}
            record = Record({**last, "metadata": revised}, change.revision)
        return self._line(kind, record, change.cache)

    def _line(self, kind: str, record: Record, cache: dict[Any, bytes]) -> bytes:
        wish = self._wish
        version = wish.target.api_version
        mark = (kind, version, wish.form, wish.include)
        if (found := cache.get(mark)) is not None and wish.form != "Table":
            return found
        body = record.json(version) if wish.form == "object" else encode(self._formed(record.view(version)))
        line = cache[mark] = b'{"type":"%s","object":%s}\n' % (kind.encode(), body)
        return line

    def _formed(self, obj: Json) -> Json:
        if self._wish.form == "PartialObjectMetadata":
            return table.partial(obj)
        metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        found = table.table(self._wish.target, [obj], self._wish.include, metadata)
        if self._headed:
            found["columnDefinitions"] = None
        self._headed = True
        return found

    def _bookmark(self, revision: int, annotations: dict[str, str]) -> bytes:
        metadata: Json = {"resourceVersion": str(revision), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        target = self._wish.target
        obj: Json = {"kind": target.resource.kind, "apiVersion": target.api_version, "metadata": metadata}
        if self._wish.form == "PartialObjectMetadata":
            obj = table.partial(obj)
        elif self._wish.form == "Table":
            row = {"cells": [], "object": table.partial(obj)}
            obj = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": None}
            obj |= {"metadata": {"resourceVersion": str(revision)}, "rows": [row]}
        return encode({"type": "BOOKMARK", "object": obj}) + b"\n"
