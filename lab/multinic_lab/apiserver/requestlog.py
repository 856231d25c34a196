"""Who asked for what: requests in the words of RBAC, for tests that hold a process to its rights or to its promises.

Nothing is recorded unless ``Api.requests`` is set to a log.
"""

import re
from dataclasses import dataclass, field
from typing import Protocol

from .http import Request

_ONE_NAME = re.compile(r"metadata\.name==?([^,=]+)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One request as an authorizer sees it."""

    agent: str
    """User agent up to the first ``/``."""
    verb: str
    """``get``, ``list``, ``watch``, ``create``, ``update``, ``patch``, ``delete`` or ``deletecollection``."""
    group: str
    resource: str
    """Plural, with ``/<subresource>`` when there is one."""
    namespace: str
    name: str
    body: bytes
    moment: float
    """trio time at which it came."""

    @property
    def writes(self) -> bool:
        return self.verb not in ("get", "list", "watch")


@dataclass(slots=True)
class RequestLog:
    """Requests in the order in which they came; those for anything but objects are left out."""

    entries: list[Entry] = field(default_factory=list)

    def note(self, request: Request, moment: float) -> None:
        """Take in one request, before it is carried out or failed."""
        if (entry := read_entry(request, moment)) is not None:
            self.entries.append(entry)


class RequestListener(Protocol):
    """Whoever hears of every request: a :class:`RequestLog`, or what makes less of it."""

    def note(self, request: Request, moment: float) -> None: ...


def read_entry(request: Request, moment: float) -> Entry | None:
    """One request in the words of RBAC; None when it is for anything but objects."""
    match [part for part in request.path.split("/") if part]:
        case ["api", _, *rest] if rest:
            group = ""
        case ["apis", group, _, *rest] if rest:
            pass
        case _:
            return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource = (*rest, "", "")[:3]
    agent = request.headers.get("user-agent", "").partition("/")[0]
    resource = f"{plural}/{subresource}" if subresource else plural
    verb = _verb(request, bool(name))
    if verb in ("list", "watch") and not name:
        selected = _ONE_NAME.fullmatch(request.query.get("fieldSelector", ""))
        name = selected.group(1) if selected else ""  # as RBAC sees a list of one named object
    return Entry(agent, verb, group, resource, namespace, name, request.body, moment)


def _verb(request: Request, named: bool) -> str:
    match request.method:
        case "GET" | "HEAD":
            return "watch" if request.flag("watch") else "get" if named else "list"
        case "POST":
            return "create"
        case "PUT":
            return "update"
        case "DELETE":
            return "delete" if named else "deletecollection"
    return request.method.lower()
