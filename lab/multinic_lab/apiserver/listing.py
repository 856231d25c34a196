"""Lists: one kind, perhaps one namespace, selected, cut into pages that all show the same moment.

A continue token names the revision of the first page and the last key given; later pages undo, from the history,
whatever was written since.
Source: Kubernetes documentation, "Retrieving large results sets in chunks".
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from .errors import ApiError, bad_request
from .selectors import Predicate
from .store import Collection, Key, Record


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    records: list[Record]
    revision: int
    token: str
    """Continue token; empty on the last page."""
    remaining: int | None
    """How many follow; None when unknown (selectors) or none."""


def parse_token(text: str) -> tuple[int, Key]:
    """Raises: ApiError 400 for a token this server did not make."""
    try:
        revision, namespace, name = json.loads(urlsafe_b64decode(text.encode()))
        return int(revision), (str(namespace), str(name))
    except (ValueError, TypeError) as error:
        raise bad_request("continue key is not valid") from error


def _token(revision: int, key: Key) -> str:
    return urlsafe_b64encode(json.dumps([revision, *key]).encode()).decode()


def _undone(collection: Collection, revision: int) -> dict[Key, Record | None]:
    """For each key written after ``revision``, what was there at that revision.

    Raises:
        ApiError: 410, the history no longer reaches back so far.
    """
    if revision < collection.compacted:
        raise ApiError(
            410,
            "Expired",
            "The provided continue parameter is too old to display a consistent list result. You can start a new list "
            "without the continue parameter.",
        )
    before: dict[Key, Record | None] = {}
    for change in reversed(collection.history):
        if change.revision <= revision:
            break
        metadata = change.record.obj["metadata"]
        before[metadata.get("namespace", ""), metadata["name"]] = change.previous
    return before


def page(
    collection: Collection,
    namespace: str | None,
    predicate: Predicate | None,
    revision: int,
    *,
    after: Key | None = None,
    limit: int = 0,
) -> Page:
    """The objects of a kind as they were at ``revision``, from the one following ``after``.

    Args:
        limit: objects on the page; 0 for all.
    """
    past = _undone(collection, revision)
    found: Iterator[tuple[Key, Record]]
    if past:
        keys = set(collection.keys(namespace, after))
        keys |= {k for k in past if (namespace is None or k[0] == namespace) and (after is None or k > after)}
        pairs = ((k, past[k] if k in past else collection.records.get(k)) for k in sorted(keys))
        found = ((k, r) for k, r in pairs if r is not None)
    else:
        found = ((k, collection.records[k]) for k in collection.keys(namespace, after))
    if predicate is not None:
        selected = predicate
        found = ((k, r) for k, r in found if selected(r.obj))
    if not limit:
        return Page([r for _, r in found], revision, "", None)
    taken = list(islice(found, limit))
    following = next(found, None)
    if following is None:
        return Page([r for _, r in taken], revision, "", None)
    remaining = None if predicate is not None else 1 + sum(1 for _ in found)
    return Page([r for _, r in taken], revision, _token(revision, taken[-1][0]), remaining)
