"""Refusals as Kubernetes words them: an exception that knows its ``Status`` object.

Every refusal of this server is an ``ApiError``; the HTTP layer writes ``error.status()`` with ``error.code``. Field
errors are values (``FieldError``) gathered by validation and raised together as one 422.
Source: Kubernetes API conventions, "Response Status Kind".
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
"""A decoded JSON object."""

_CAUSES = {
    "Required value": "FieldValueRequired",
    "Invalid value": "FieldValueInvalid",
    "Unsupported value": "FieldValueNotSupported",
    "Duplicate value": "FieldValueDuplicate",
    "Forbidden": "FieldValueForbidden",
    "Too long": "FieldValueTooLong",
    "Too many": "FieldValueTooMany",
}
"""Words in a field error to ``details.causes[].reason``."""


class ApiError(Exception):
    """A request refused; ``code`` is the HTTP status, ``reason`` the CamelCase word clients switch on."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = dict(details or {})
        self.headers = tuple(headers)

    def status(self) -> Json:
        """The ``Status`` object of this refusal."""
        body: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        body["message"] = self.message
        if self.reason:
            body["reason"] = self.reason
        if self.details:
            body["details"] = self.details
        body["code"] = self.code
        return body


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that is not as it must be."""

    field: str
    """Path in the object, like ``spec.masterNets[0]``."""
    words: str
    """One of the keys of ``_CAUSES``."""
    value: Any = None
    """What was found; shown for the kinds of error that show a value."""
    detail: str = ""

    @property
    def body(self) -> str:
        """The message without the field path."""
        if self.words in ("Required value", "Forbidden", "Too long"):
            return f"{self.words}: {self.detail}" if self.detail else self.words
        shown = self.value if isinstance(self.value, str) else None
        text = json.dumps(shown if shown is not None else self.value, separators=(",", ":"))
        return f"{self.words}: {text}: {self.detail}" if self.detail else f"{self.words}: {text}"

    def __str__(self) -> str:
        return f"{self.field}: {self.body}"


def qualified(plural: str, group: str) -> str:
    """``pods`` or ``cidrs.multinic.fms.io``, as messages name a resource."""
    return f"{plural}.{group}" if group else plural


def _details(plural: str, group: str, name: str) -> Json:
    details: Json = {"name": name, "kind": plural}
    if group:
        details["group"] = group
    return details


def not_found(plural: str, group: str, name: str) -> ApiError:
    """404 for a named object."""
    message = f'{qualified(plural, group)} "{name}" not found'
    return ApiError(404, "NotFound", message, details=_details(plural, group, name))


def already_exists(plural: str, group: str, name: str) -> ApiError:
    """409 for a create that finds its name taken."""
    message = f'{qualified(plural, group)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, details=_details(plural, group, name))


def conflict(plural: str, group: str, name: str, why: str = "") -> ApiError:
    """409 for a write based on an object that has changed since it was read."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}'
    return ApiError(409, "Conflict", message, details=_details(plural, group, name))


def bad_request(message: str) -> ApiError:
    """400: the request itself makes no sense."""
    return ApiError(400, "BadRequest", message)


def forbidden(plural: str, group: str, name: str, why: str, causes: Iterable[Json] = ()) -> ApiError:
    """403: understood, and not allowed in the present state."""
    details = _details(plural, group, name)
    if causes:
        details["causes"] = list(causes)
    return ApiError(403, "Forbidden", f'{qualified(plural, group)} "{name}" is forbidden: {why}', details=details)


def gone(message: str) -> ApiError:
    """410: the asked-for revision is no longer in the history."""
    return ApiError(410, "Expired", message)


def method_not_allowed(what: str) -> ApiError:
    """405: the resource does not have that verb."""
    return ApiError(405, "MethodNotAllowed", what)


def no_such_path() -> ApiError:
    """404 for a path that is no resource at all."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", details={"causes": []})


def unsupported_media_type(content_type: str, accepted: Sequence[str]) -> ApiError:
    """415: the body is in a format this server does not read."""
    message = f"the body of the request was in an unknown format {content_type!r} - accepted media types include: "
    return ApiError(415, "UnsupportedMediaType", message + ", ".join(accepted))


def invalid(kind: str, group: str, name: str, errors: Sequence[FieldError]) -> ApiError:
    """422 with one cause per field error."""
    causes = [{"reason": _CAUSES[e.words], "message": e.body, "field": e.field} for e in errors]
    details: Json = {"name": name, "kind": kind, "causes": causes}
    if group:
        details["group"] = group
    unique = list(dict.fromkeys(str(e) for e in errors))
    text = unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]"
    return ApiError(422, "Invalid", f'{qualified(kind, group)} "{name}" is invalid: {text}', details=details)
