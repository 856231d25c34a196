"""Tables as ``kubectl get`` prints them: the columns of each kind, and the cells of each object.

CRD kinds print their additionalPrinterColumns by JSONPath; built-in kinds have the columns people expect of them.
Source: Kubernetes API reference, meta.k8s.io/v1 Table; CRD documentation, "Additional printer columns".
"""

from collections.abc import Sequence
from typing import Any

from . import jsonpath
from .columns import BUILTIN_COLUMNS, NAME, PLAIN, age
from .errors import Json
from .target import Target


def columns(target: Target) -> list[Json]:
    """Column definitions of a kind."""
    if target.builtin:
        return BUILTIN_COLUMNS.get(target.place[:2], PLAIN)[0]
    own = target.version.columns
    if not own:
        return PLAIN[0]
    named = [
        {
            "name": c["name"],
            "type": c["type"],
            "format": c.get("format", ""),
            "description": c.get("description", ""),
            "priority": c.get("priority", 0),
        }
        for c in own
    ]
    return [NAME, *named]


def cells(target: Target, obj: Json) -> list[Any]:
    """One cell per column."""
    if target.builtin:
        return BUILTIN_COLUMNS.get(target.place[:2], PLAIN)[1](obj)
    if not target.version.columns:
        return PLAIN[1](obj)
    return [obj["metadata"]["name"], *(_cell(obj, c) for c in target.version.columns)]


def _cell(obj: Json, column: Json) -> Any:
    try:
        found = jsonpath.find(obj, column["jsonPath"])
    except ValueError:
        return None
    if not found:
        return "<unknown>" if column["type"] == "date" else None
    if column["type"] == "date":
        return age(found[0])
    if column["type"] == "string":
        return ",".join(v if isinstance(v, str) else _plain(v) for v in found)
    return found[0] if len(found) == 1 else ",".join(_plain(v) for v in found)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + " ".join(_plain(v) for v in value) + "]"
    return str(value)


def partial(obj: Json) -> Json:
    """The PartialObjectMetadata of an object."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def row(target: Target, obj: Json, include: str) -> Json:
    """One table row. ``include`` is the request's ``includeObject``: None, Metadata (the default) or Object."""
    found: Json = {"cells": cells(target, obj)}
    if include == "Object":
        found["object"] = obj
    elif include != "None":
        found["object"] = partial(obj)
    return found


def table(target: Target, objects: Sequence[Json], include: str, metadata: Json) -> Json:
    """A whole table."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns(target),
        "rows": [row(target, o, include) for o in objects],
    }
