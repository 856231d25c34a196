"""Objects in memory under one rising revision, with a window of history for watchers.

A ``Collection`` holds one kind (one group and plural). Stored objects are never changed in place: each write puts a
new ``Record``. Keys are kept sorted, so a namespace is a slice and paging needs no index. Every write appends a
``Change`` to the collection's history; watchers keep only their position in it and share the encoded bytes.
"""

import json
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import trio

from .conversion import convert
from .errors import Json, gone

Key = tuple[str, str]
"""(namespace or "", name)."""
Place = tuple[str, str, str, str]
"""(group, plural, namespace or "", name)."""


def encode(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def clone(value: Any) -> Any:
    """A deep copy of a JSON value."""
    if isinstance(value, dict):
        return {k: clone(v) if isinstance(v, (dict, list)) else v for k, v in value.items()}
    if isinstance(value, list):
        return [clone(v) if isinstance(v, (dict, list)) else v for v in value]
    return value


@dataclass(slots=True)
class Record:
    """One stored version of one object."""

    obj: Json
    revision: int
    _encoded: dict[str, bytes] = field(default_factory=dict)

    def view(self, api_version: str) -> Json:
        """The object as this apiVersion shows it; not to be changed by the caller."""
        return convert(self.obj, api_version)

    def json(self, api_version: str) -> bytes:
        """The object encoded, once per apiVersion."""
        if (found := self._encoded.get(api_version)) is None:
            found = self._encoded[api_version] = encode(self.view(api_version))
        return found


@dataclass(slots=True)
class Change:
    """One write as watchers see it."""

    type: str
    """ADDED, MODIFIED or DELETED."""
    record: Record
    previous: Record | None
    cache: dict[Any, bytes] = field(default_factory=dict)
    """Encoded watch events, shared by all watchers that want the same form."""

    @property
    def revision(self) -> int:
        return self.record.revision


class Collection:
    """All objects of one kind and their recent history."""

    def __init__(self, group: str, plural: str, window: int) -> None:
        self.group = group
        self.plural = plural
        self.records: dict[Key, Record] = {}
        self._keys: list[Key] = []
        self._window = window
        self.history: deque[Change] = deque()
        self.first = 0
        """Sequence number of ``history[0]``; a watcher's position is such a number."""
        self.compacted = 0
        """Revision of the last change that left the window; 0 when none has."""
        self.closed = False
        """True once the kind is no longer served; watches end."""
        self._changed = trio.Event()

    def __len__(self) -> int:
        return len(self.records)

    def keys(self, namespace: str | None = None, after: Key | None = None) -> Iterator[Key]:
        """Sorted keys of one namespace (or all, for None), from the one following ``after``."""
        start = bisect_left(self._keys, (namespace or "", ""))
        if after is not None:
            start = max(start, bisect_left(self._keys, (after[0], after[1] + "\0")))
        end = len(self._keys) if namespace is None else bisect_left(self._keys, (namespace + "\0", ""))
        return islice(self._keys, start, end)

    def put(self, key: Key, record: Record) -> Change:
        previous = self.records.get(key)
        if previous is None:
            insort(self._keys, key)
        self.records[key] = record
        return self._append(Change("MODIFIED" if previous else "ADDED", record, previous))

    def remove(self, key: Key, last: Record) -> Change:
        previous = self.records.pop(key)
        del self._keys[bisect_left(self._keys, key)]
        return self._append(Change("DELETED", last, previous))

    def _append(self, change: Change) -> Change:
        self.history.append(change)
        if len(self.history) > self._window:
            self.compacted = self.history.popleft().revision
            self.first += 1
        self.wake()
        return change

    def wake(self) -> None:
        """Let every waiting watcher look again."""
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def waiter(self) -> trio.Event:
        """An event set at the next change; take it before looking at the history."""
        return self._changed

    def close(self) -> None:
        self.closed = True
        self.wake()

    def position(self, revision: int) -> int:
        """Where a watch that has seen ``revision`` goes on.

        Raises:
            ApiError: 410, changes after ``revision`` have left the window.
        """
        if revision < self.compacted:
            raise gone(f"too old resource version: {revision} ({self.compacted})")
        skip = 0
        for change in reversed(self.history):
            if change.revision <= revision:
                break
            skip += 1
        return self.first + len(self.history) - skip

    def since(self, position: int) -> list[Change]:
        """Changes from ``position`` on.

        Raises:
            ApiError: 410, the watcher was too slow and its place has left the window.
        """
        if position < self.first:
            raise gone(f"too old resource version: the watch fell behind ({self.compacted})")
        if position == self.first + len(self.history):
            return []
        return list(islice(self.history, position - self.first, None))


class Store:
    """All collections under one revision counter, with indexes by UID and by owner."""

    def __init__(self, *, window: int = 4096, first_revision: int = 1) -> None:
        """Args: window: changes kept per kind for watchers; first_revision: where the counter starts."""
        self.revision = first_revision
        self._window = window
        self.collections: dict[tuple[str, str], Collection] = {}
        self.by_uid: dict[str, Place] = {}
        self.dependents: dict[str, set[Place]] = {}
        """Owner UID to the places of objects that name it in ownerReferences."""
        self.observers: list[Callable[[Place, Change], None]] = []

    def collection(self, group: str, plural: str) -> Collection:
        """The collection of a kind, made when first asked for."""
        found = self.collections.get((group, plural))
        if found is None:
            found = self.collections[group, plural] = Collection(group, plural, self._window)
        return found

    def drop_collection(self, group: str, plural: str) -> None:
        """Forget a kind that is no longer served; its watches end."""
        if (found := self.collections.pop((group, plural), None)) is not None:
            found.close()

    def get(self, place: Place) -> Record | None:
        group, plural, namespace, name = place
        found = self.collections.get((group, plural))
        return found.records.get((namespace, name)) if found else None

    def put(self, group: str, plural: str, obj: Json) -> Record:
        """Write ``obj`` under its own name; takes ownership of it and sets its resourceVersion."""
        metadata = obj["metadata"]
        place = (group, plural, metadata.get("namespace", ""), metadata["name"])
        self.revision += 1
        metadata["resourceVersion"] = str(self.revision)
        record = Record(obj, self.revision)
        change = self.collection(group, plural).put(place[2:], record)
        self._index(place, change)
        return record

    def remove(self, place: Place) -> Record:
        """Take an object out; the returned last version carries the revision of the removal."""
        group, plural, namespace, name = place
        collection = self.collection(group, plural)
        obj = collection.records[namespace, name].obj
        self.revision += 1
        last = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        change = collection.remove((namespace, name), Record(last, self.revision))
        self._index(place, change)
        return change.record

    def _index(self, place: Place, change: Change) -> None:
        if change.previous is not None:
            for owner in change.previous.obj["metadata"].get("ownerReferences", ()):
                if (places := self.dependents.get(owner.get("uid", ""))) is not None:
                    places.discard(place)
                    if not places:
                        del self.dependents[owner["uid"]]
        uid = change.record.obj["metadata"]["uid"]
        if change.type == "DELETED":
            self.by_uid.pop(uid, None)
        else:
            self.by_uid[uid] = place
            for owner in change.record.obj["metadata"].get("ownerReferences", ()):
                self.dependents.setdefault(owner.get("uid", ""), set()).add(place)
        for observer in self.observers:
            observer(place, change)
