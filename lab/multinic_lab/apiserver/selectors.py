"""Label and field selectors: parsed once per request, then asked per object."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from .conversion import core_event_field
from .errors import Json, bad_request

Predicate = Callable[[Json], bool]

_TOKEN = re.compile(r"\s*(?:(?P<op>==|!=|=|!|,|\(|\)|<|>)|(?P<word>[A-Za-z0-9_./:%+-]+))")
_FIELD = re.compile(r"(.*?[^\\])(!=|==|=)(.*)", re.S)

_COMMON_FIELDS = {"metadata.name", "metadata.namespace"}
_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
FIELDS: dict[tuple[str, str], frozenset[str]] = {
    ("", "pods"): frozenset(
        {
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        }
    ),
    ("", "nodes"): frozenset({"spec.unschedulable"}),
    ("", "namespaces"): frozenset({"status.phase"}),
    ("", "secrets"): frozenset({"type"}),
    ("", "services"): frozenset({"spec.clusterIP", "spec.type"}),
    ("", "events"): frozenset(
        {f"involvedObject.{f}" for f in _INVOLVED}
        | {"reason", "type", "source", "reportingComponent", "reportingController"}
    ),
    ("events.k8s.io", "events"): frozenset(
        {f"regarding.{f}" for f in _INVOLVED} | {"reason", "type", "reportingController"}
    ),
}
"""Fields that may be selected on, beside ``metadata.name`` and ``metadata.namespace``."""


def parse_labels(text: str) -> Predicate | None:
    """A label selector, set-based or equality-based; None when it selects everything.

    Raises:
        ApiError: 400 when it cannot be read.
    """
    tokens: list[str] = []
    position, text = 0, text.strip()
    while position < len(text):
        if (match := _TOKEN.match(text, position)) is None:
            raise bad_request(f"unable to parse requirement: found {text[position:]!r}")
        tokens.append(match.group("op") or match.group("word"))
        position = match.end()
    if not tokens:
        return None
    tests: list[Callable[[dict[str, str]], bool]] = []
    tokens.append(",")
    while tokens:
        end = _requirement_end(tokens)
        tests.append(_requirement(tokens[:end], text))
        del tokens[: end + 1]

    def matches(obj: Json) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(test(labels) for test in tests)

    return matches


def _requirement_end(tokens: Sequence[str]) -> int:
    depth = 0
    for index, sign in enumerate(tokens):
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0:
            return index
    raise bad_request("unable to parse requirement: unbalanced parentheses")


def _requirement(tokens: list[str], text: str) -> Callable[[dict[str, str]], bool]:
    match tokens:
        case ["!", key]:
            return lambda labels: key not in labels
        case [key]:
            return lambda labels: key in labels
        case [key, "=" | "==", value]:
            return lambda labels: labels.get(key) == value
        case [key, "=" | "=="]:
            return lambda labels: labels.get(key) == ""
        case [key, "!=", value]:
            return lambda labels: labels.get(key) != value
        case [key, "!="]:
            return lambda labels: labels.get(key) != ""
        case [key, "in", "(", *values, ")"]:
            wanted = {v for v in values if v != ","}
            return lambda labels: key in labels and labels[key] in wanted
        case [key, "notin", "(", *values, ")"]:
            unwanted = {v for v in values if v != ","}
            return lambda labels: labels.get(key) not in unwanted
        case [key, ">" | "<" as sign, bound] if bound.lstrip("-").isdigit():
            return lambda labels: _compare(labels.get(key), sign, int(bound))
    raise bad_request(f"unable to parse requirement: {text!r}")


def _compare(value: str | None, sign: str, bound: int) -> bool:
    if value is None or not value.lstrip("-").isdigit():
        return False
    return int(value) > bound if sign == ">" else int(value) < bound


def field_value(obj: Any, path: str) -> str:
    """The value at a dotted path as selectors compare it: "" when absent, booleans as words."""
    for part in path.split("."):
        obj = obj.get(part) if isinstance(obj, dict) else None
    if obj is None:
        return ""
    return str(obj).lower() if isinstance(obj, bool) else str(obj)


def parse_fields(text: str, group: str, plural: str, extra: Sequence[str] = ()) -> Predicate | None:
    """A field selector for one kind; None when it selects everything.

    Args:
        extra: paths that the kind's CRD declares selectable, without the leading dot.

    Raises:
        ApiError: 400 when it cannot be read or names a field that cannot be selected on.
    """
    allowed = _COMMON_FIELDS | FIELDS.get((group, plural), frozenset()) | set(extra)
    tests: list[tuple[str, bool, str]] = []
    for part in re.split(r"(?<!\\),", text):
        if not part.strip():
            continue
        if (match := _FIELD.fullmatch(part.strip())) is None:
            raise bad_request(f"invalid selector: {part!r}; can't understand {part!r}")
        path, sign, value = match.group(1), match.group(2), re.sub(r"\\([\\,=])", r"\1", match.group(3))
        if path not in allowed:
            raise bad_request(f"field label not supported: {path}")
        stored = core_event_field(path) if group == "events.k8s.io" else path
        tests.append((stored, sign != "!=", value))
    if not tests:
        return None

    def matches(obj: Json) -> bool:
        return all((_selected(obj, path) == value) is same for path, same, value in tests)

    return matches


def _selected(obj: Json, path: str) -> str:
    if path == "spec.unschedulable" or path == "spec.hostNetwork":
        return field_value(obj, path) or "false"
    if path == "source":
        return field_value(obj, "source.component") or field_value(obj, "reportingComponent")
    return field_value(obj, path)


def both(first: Predicate | None, second: Predicate | None) -> Predicate | None:
    """The selector that wants both."""
    if first is None or second is None:
        return first or second
    return lambda obj: first(obj) and second(obj)
