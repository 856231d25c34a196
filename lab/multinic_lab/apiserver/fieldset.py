"""Sets of fields, as managedFields name them, over any JSON value with or without a schema.

A path is a tuple of elements in FieldsV1 spelling: ``f:name`` for a field, ``k:{"name":"a"}`` for a list item found by
its keys, ``v:1`` for an item of a set. ``leaves`` flattens a value into paths; lists are whole unless the schema says
they are maps or sets, maps are taken apart unless marked atomic.
Source: Kubernetes documentation, "Server-Side Apply", merge strategy markers.
"""

import json
from collections.abc import Iterable
from typing import Any

from .builtin_schemas import deref
from .errors import Json

Path = tuple[str, ...]
ITEM = object()
"""Value of a path that names a list item as such."""

META_SCHEMA: Json = {
    "type": "object",
    "properties": {
        "ownerReferences": {
            "type": "array",
            "items": {"type": "object", "x-kubernetes-map-type": "atomic"},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["uid"],
        },
        "finalizers": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
    },
}
"""How metadata merges, for every kind."""

_UNMANAGED: frozenset[Path] = frozenset(
    [("f:apiVersion",), ("f:kind",)]
    + [
        ("f:metadata", f"f:{name}")
        for name in [
            "name",
            "namespace",
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "deletionTimestamp",
            "selfLink",
            "deletionGracePeriodSeconds",
            "managedFields",
            "generateName",
        ]
    ]
)
"""Paths that no manager owns."""


def sub_schema(schema: Json | None, name: str) -> Json | None:
    """The schema of a field; None when nothing is known of it."""
    if schema is None:
        return None
    found = (schema.get("properties") or {}).get(name)
    if found is None:
        found = schema.get("additionalProperties")
    return deref(found) if isinstance(found, dict) else None


def list_keys(schema: Json | None) -> tuple[str, list[str]]:
    """(list type, map keys): how a list of this schema merges; ("atomic", []) unless marked."""
    if schema is None:
        return "atomic", []
    return schema.get("x-kubernetes-list-type", "atomic"), schema.get("x-kubernetes-list-map-keys") or []


def item_schema(schema: Json | None) -> Json | None:
    items = schema.get("items") if schema else None
    return deref(items) if isinstance(items, dict) else None


def key_element(item: Any, keys: list[str], schema: Json | None) -> str | None:
    """``k:{…}`` of a list item; None when a key is missing and has no default."""
    if not isinstance(item, dict):
        return None
    found: Json = {}
    for key in sorted(keys):
        if key in item:
            found[key] = item[key]
        elif (default := (sub_schema(schema, key) or {}).get("default")) is not None:
            found[key] = default
        elif key == "protocol":
            found[key] = "TCP"
        else:
            return None
    return "k:" + json.dumps(found, separators=(",", ":"))


def value_element(item: Any) -> str:
    return "v:" + json.dumps(item, separators=(",", ":"))


def is_granular(value: Any, schema: Json | None) -> bool:
    """Whether a value is taken apart rather than owned whole."""
    if isinstance(value, dict):
        return (schema or {}).get("x-kubernetes-map-type") != "atomic"
    if isinstance(value, list):
        kind, keys = list_keys(schema)
        if kind == "map":
            items = item_schema(schema)
            return all(key_element(item, keys, items) is not None for item in value)
        return kind == "set"
    return False


def root_schema(schema: Json | None) -> Json:
    """A kind's schema with the common metadata rules put in."""
    base = deref(schema) if schema else {}
    return {**base, "properties": {**(base.get("properties") or {}), "metadata": META_SCHEMA}}


def leaves(obj: Json, schema: Json | None) -> dict[Path, Any]:
    """Every owned path of a whole object with its value (``ITEM`` for list items as such)."""
    found: dict[Path, Any] = {}
    _walk(obj, root_schema(schema), (), found)
    for path in list(found):
        if path[:2] in _UNMANAGED or path[:1] in _UNMANAGED:
            del found[path]
    return found


def _walk(value: Any, schema: Json | None, path: Path, found: dict[Path, Any]) -> None:
    if not value or not is_granular(value, schema):
        if path:
            found[path] = value
        return
    if isinstance(value, dict):
        for name, item in value.items():
            _walk(item, sub_schema(schema, name), (*path, f"f:{name}"), found)
        return
    kind, keys = list_keys(schema)
    items = item_schema(schema)
    for item in value:
        if kind == "set":
            found[*path, value_element(item)] = ITEM
        else:
            here = (*path, key_element(item, keys, items) or "")
            found[here] = ITEM
            if is_granular(item, items):
                _walk(item, items, here, found)


def to_v1(paths: Iterable[Path]) -> Json:
    """FieldsV1 of a set of paths."""
    root: Json = {}
    members = set(paths)
    for path in sorted(members):
        node = root
        for element in path:
            node = node.setdefault(element, {})
    _dots(root, (), members)
    return root


def _dots(node: Json, path: Path, members: set[Path]) -> None:
    for name, sub in list(node.items()):
        _dots(sub, (*path, name), members)
    if node and path in members:
        children = dict(node)
        node.clear()
        node["."] = {}
        node.update(children)


def from_v1(fields: Json) -> set[Path]:
    """The set of paths FieldsV1 spells."""
    found: set[Path] = set()

    def walk(node: Json, path: Path) -> None:
        if path and (not node or "." in node):
            found.add(path)
        for name, sub in node.items():
            if name != ".":
                walk(sub, (*path, name))

    walk(fields, ())
    return found


def shown(path: Path) -> str:
    """A path as conflict messages write it: ``.spec.containers[name="a"].image``."""
    text = ""
    for element in path:
        kind, rest = element[:2], element[2:]
        if kind == "f:":
            text += f".{rest}"
        elif kind == "k:":
            pairs = json.loads(rest)
            text += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in pairs.items()) + "]"
        else:
            text += f"[={rest}]"
    return text
