"""Objects between JSON and models: what is sent for a model, what is read from an answer, and merge patches.

All functions are pure. JSON objects are dicts as ``json.loads`` gives them; arguments are never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from multinic_core.errors import ApiError
from multinic_core.model.base import KubeObject, Resource
from multinic_core.ports import Key

M = TypeVar("M", bound=KubeObject)

Json = dict[str, Any]
"""One JSON object."""


def key_of(raw: Mapping[str, Any]) -> Key:
    """The key of an object as the API gives it."""
    metadata = raw.get("metadata") or {}
    return Key(metadata.get("namespace") or "", metadata.get("name") or "")


def describe(resource: Resource[Any], key: Key) -> str:
    """An object's name in messages, such as ``leases kube-system/leader``; only the plural when it has no name."""
    return " ".join(filter(None, (resource.plural, "/".join(filter(None, key)))))


def encode(resource: Resource[M], body: M | Mapping[str, Any]) -> Json:
    """The JSON to send for an object: ``apiVersion`` and ``kind`` filled in, an empty name left out."""
    raw = body.to_json() if isinstance(body, KubeObject) else dict(body)
    raw["apiVersion"], raw["kind"] = resource.api_version, resource.kind
    raw["metadata"] = {name: value for name, value in (raw.get("metadata") or {}).items() if value != ""}
    return raw


def whole(resource: Resource[Any], raw: Mapping[str, Any]) -> Json:
    """An object with ``apiVersion`` and ``kind``, which the API leaves out of the items of a list."""
    return {"apiVersion": resource.api_version, "kind": resource.kind, **raw}


def faults(error: ValidationError) -> str:
    """Every fault of a validation in one line: ``path: message, found value``; values are cut at 80 characters."""
    lines = []
    for fault in error.errors(include_url=False, include_context=False):
        found = repr(fault["input"])
        found = found if len(found) <= 80 else found[:77] + "..."
        lines.append(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, found {found}")
    return "; ".join(lines)


@dataclass(frozen=True, slots=True)
class Seen(Generic[M]):
    """One object as it was seen at one version: its model, or why it has none."""

    key: Key
    version: str
    """resourceVersion, never compared but for being equal; "" when there was none."""
    model: M | None
    problem: str = ""


def see(resource: Resource[M], raw: Mapping[str, Any]) -> Seen[M]:
    """Read one object; never raises."""
    version = str((raw.get("metadata") or {}).get("resourceVersion") or "")
    try:
        return Seen(key_of(raw), version, resource.model.model_validate(whole(resource, raw)))
    except ValidationError as error:
        return Seen(key_of(raw), version, None, faults(error))


def fitting(resource: Resource[M], seen: Seen[M]) -> M:
    """The model of an object that was seen.

    Raises:
        ApiError: the object does not fit the model; status 200, as the API did answer, and ``UnexpectedObject``.
    """
    if seen.model is not None:
        return seen.model
    raise ApiError(
        f"{describe(resource, seen.key)}: does not fit {resource.model.__name__}: {seen.problem}",
        status=200,
        api_reason="UnexpectedObject",
    )


def parse(resource: Resource[M], raw: Mapping[str, Any]) -> M:
    """The model of an object. Raises ApiError as ``fitting`` does."""
    return fitting(resource, see(resource, raw))


def merge(target: Any, patch: Any) -> Any:
    """``target`` after a JSON merge patch. Source: RFC 7386, section 2."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> Json:
    """The merge patch that turns ``old`` into ``new``; {} when they are equal. Lists are replaced whole."""
    patch: Json = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if name in old and before == value:
            continue
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            patch[name] = difference(before, value)
        else:
            patch[name] = value
    return patch
