"""What a list and a watch send, parsed; all of it pure, so that it can run in a worker thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from multinic_core.errors import ApiError
from multinic_core.kube.answers import json_object, status_error
from multinic_core.kube.objects import Seen, see
from multinic_core.model.base import KubeObject, Resource

M = TypeVar("M", bound=KubeObject)


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    """One page of a list."""

    items: list[Seen[M]]
    version: str
    """resourceVersion of the list."""
    next: str
    """Where the next page starts; "" after the last."""


@dataclass(frozen=True, slots=True)
class Event(Generic[M]):
    """One event of a watch: a change, a bookmark (``seen`` and ``error`` are None), or an error."""

    version: str
    """resourceVersion that the watch has reached; "" for an error."""
    seen: Seen[M] | None = None
    """The object as it is now, or as it was last when it is ``gone``."""
    gone: bool = False
    error: ApiError | None = None


def read_page(resource: Resource[M], subject: str, body: bytes) -> Page[M]:
    """Raises ApiError when the body is no list."""
    answer = json_object(subject, body)
    metadata = answer.get("metadata") or {}
    items = [see(resource, item) for item in answer.get("items") or ()]
    return Page(items, str(metadata.get("resourceVersion") or ""), str(metadata.get("continue") or ""))


def read_event(resource: Resource[M], subject: str, line: bytes) -> Event[M]:
    """Raises ApiError when the line is no event."""
    event = json_object(subject, line)
    item = event.get("object") or {}
    match event.get("type"):
        case "ADDED" | "MODIFIED" | "DELETED" as kind:
            seen = see(resource, item)
            return Event(seen.version, seen, gone=kind == "DELETED")
        case "BOOKMARK":
            return Event(str((item.get("metadata") or {}).get("resourceVersion") or ""))
        case "ERROR":
            return Event("", error=status_error(subject, item))
        case kind:
            raise ApiError(f"{subject}: found event {kind!r}", status=200, api_reason="UnexpectedAnswer")


def read_events(resource: Resource[M], subject: str, lines: Iterable[bytes]) -> list[Event[M]]:
    """Events in the order of the stream, up to and including the first that is an error."""
    events = []
    for line in lines:
        events.append(read_event(resource, subject, line))
        if events[-1].error is not None:
            break
    return events
