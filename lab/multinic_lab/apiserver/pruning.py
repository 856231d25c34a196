"""Structural schemas applied to an object in place: unknown fields out, defaults in, nulls out where they mean absent.

Source: Kubernetes documentation, "Specifying a structural schema", "Field pruning", "Defaulting".
"""

from typing import Any

from .builtin_schemas import deref
from .errors import Json
from .marks import has_within
from .schema import child
from .store import clone

OBJECT_META = frozenset(
    [
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    ]
)
"""Fields of ``metadata``."""


def _item_key(path: str, key: str) -> str:
    return f"{path}[{key}]"


def prune(obj: Json, schema: Json) -> list[str]:
    """Remove, in place, every field the schema does not know; returns the paths removed, sorted.

    ``apiVersion``, ``kind`` and the known fields of ``metadata`` always stay.
    """
    removed: list[str] = []
    metadata = obj.get("metadata")
    if isinstance(metadata, dict):
        for name in [n for n in metadata if n not in OBJECT_META]:
            del metadata[name]
            removed.append(f"metadata.{name}")
    _prune(obj, deref(schema), "", removed, root=True)
    return sorted(removed)


def _prune(value: Any, schema: Json, path: str, removed: list[str], *, root: bool = False) -> None:
    if isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            items = deref(items)
            for index, item in enumerate(value):
                _prune(item, items, f"{path}[{index}]", removed)
        return
    if not isinstance(value, dict):
        return
    properties = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    keep = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    embedded = root or bool(schema.get("x-kubernetes-embedded-resource"))
    for name in list(value):
        if embedded and name in ("apiVersion", "kind", "metadata"):
            continue
        if name in properties:
            _prune(value[name], deref(properties[name]), child(path, name), removed)
        elif isinstance(additional, dict):
            _prune(value[name], deref(additional), _item_key(path, name), removed)
        elif not keep and additional is not True:
            del value[name]
            removed.append(child(path, name))


def drop_unwanted_nulls(value: Any, schema: Json) -> None:
    """Remove, in place, null fields of a custom kind that are neither nullable nor have a default to take their place.

    The schema is that of a CustomResourceDefinition, which refers to no other one.
    """
    if isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for item in value:
                drop_unwanted_nulls(item, items)
        return
    if not isinstance(value, dict):
        return
    properties = schema.get("properties") or {}
    for name in list(value):
        sub = properties.get(name, schema.get("additionalProperties"))
        if not isinstance(sub, dict):
            continue
        if value[name] is not None:
            drop_unwanted_nulls(value[name], sub)
        elif not sub.get("nullable") and sub.get("default") is None:
            del value[name]


def apply_defaults(value: Any, schema: Json) -> None:
    """Fill in, in place, every default of the schema that applies; drops nulls where a default stands ready.

    The schema is that of a CustomResourceDefinition, which refers to no other one.
    """
    if not has_within(schema, "default"):
        return
    if isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for item in value:
                apply_defaults(item, items)
        return
    if not isinstance(value, dict):
        return
    properties = schema.get("properties") or {}
    for name, sub in properties.items():
        if "default" in sub and (
            name not in value or (value[name] is None and not sub.get("nullable") and sub["default"] is not None)
        ):
            value[name] = clone(sub["default"])
        if name in value:
            apply_defaults(value[name], sub)
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        for name in value:
            if name not in properties:
                apply_defaults(value[name], additional)


def drop_nulls(value: Any, schema: Json) -> None:
    """Remove, in place, null fields of built-in kinds, where null means absent."""
    if isinstance(value, dict):
        schema = deref(schema)
        properties = schema.get("properties") or {}
        if not properties and schema.get("x-kubernetes-preserve-unknown-fields"):
            return
        for name in list(value):
            if value[name] is None:
                del value[name]
            else:
                sub = properties.get(name) or schema.get("additionalProperties")
                if isinstance(sub, dict):
                    drop_nulls(value[name], sub)
    elif isinstance(value, list):
        items = deref(schema).get("items")
        for item in value:
            if isinstance(items, dict):
                drop_nulls(item, items)
