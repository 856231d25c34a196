"""Field ownership: who set which field, and server-side apply on top of it.

``record_update`` keeps managedFields for ordinary writes; ``apply_config`` merges an applied configuration into the
live object, takes out what its manager no longer wants and nobody else owns, and refuses to overwrite what another
manager owns unless forced.
Source: Kubernetes documentation, "Server-Side Apply".
"""

import json
from dataclasses import dataclass, field
from typing import Any

from . import fieldset
from .errors import ApiError, Json
from .fieldset import ITEM, Path
from .store import clone

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""Annotation in which kubectl keeps what it applied client-side."""


@dataclass(slots=True)
class Manager:
    """One entry of managedFields."""

    name: str
    operation: str
    """``Apply`` or ``Update``."""
    api_version: str
    subresource: str
    time: str
    fields: set[Path] = field(default_factory=set)

    @property
    def key(self) -> tuple[str, str, str, str]:
        version = "" if self.operation == "Apply" else self.api_version
        return self.name, self.operation, version, self.subresource


def read_managers(metadata: Json) -> list[Manager]:
    """managedFields of an object, decoded."""
    return [
        Manager(
            entry.get("manager", ""),
            entry.get("operation", "Update"),
            entry.get("apiVersion", ""),
            entry.get("subresource", ""),
            entry.get("time", ""),
            fieldset.from_v1(entry.get("fieldsV1") or {}),
        )
        for entry in metadata.get("managedFields") or ()
        if entry
    ]


def write_managers(metadata: Json, managers: list[Manager]) -> None:
    """Put managedFields on an object; managers that own nothing are left out."""
    entries = []
    for manager in sorted(managers, key=lambda m: (m.operation, m.time, m.name)):
        if not manager.fields:
            continue
        entry: Json = {"manager": manager.name, "operation": manager.operation}
        entry |= {"apiVersion": manager.api_version, "time": manager.time, "fieldsType": "FieldsV1"}
        entry["fieldsV1"] = fieldset.to_v1(manager.fields)
        if manager.subresource:
            entry["subresource"] = manager.subresource
        entries.append(entry)
    if entries:
        metadata["managedFields"] = entries
    else:
        metadata.pop("managedFields", None)


def record_update(
    old: Json | None, new: Json, schema: Json | None, who: Manager, base: list[Manager] | None = None
) -> bool:
    """Note in ``new`` which fields ``who`` changed against ``old`` (None: created); True when any did.

    Args:
        base: the managers to start from; None for those of ``old``.
    """
    before = fieldset.leaves(old, schema) if old else {}
    after = fieldset.leaves(new, schema)
    touched = {p for p, v in after.items() if p not in before or (v is not ITEM and before[p] != v)}
    removed = before.keys() - after.keys()
    managers = (read_managers(old["metadata"]) if old else []) if base is None else base
    if touched or removed:
        _hand_over(managers, who, touched, removed)
    write_managers(new["metadata"], managers)
    return bool(touched or removed)


def _hand_over(managers: list[Manager], who: Manager, touched: set[Path], removed: set[Path]) -> None:
    mine = next((m for m in managers if m.key == who.key), None)
    if mine is None:
        mine = who
        managers.append(mine)
    for manager in managers:
        manager.fields -= removed
        if manager is not mine:
            manager.fields -= {p for p in touched if not p[-1].startswith(("k:", "v:"))}
    mine.fields |= touched
    if touched:
        mine.time = who.time


def apply_config(live: Json, config: Json, schema: Json | None, who: Manager, *, force: bool) -> Json:
    """The live object after ``who`` applied ``config``, managedFields included; arguments stay as they are.

    Raises:
        ApiError: 409 with a FieldManagerConflict cause per field another manager owns with another value.
    """
    managers = read_managers(live["metadata"])
    mine = next((m for m in managers if m.key == who.key), None)
    others = [m for m in managers if m is not mine]
    wanted = fieldset.leaves(config, schema)
    present = fieldset.leaves(live, schema)
    changed = {p for p, v in wanted.items() if v is not ITEM and not _same(present, live, p, v, schema)}
    clashes = [(path, m) for path in sorted(changed) for m in others if path in m.fields]
    if clashes and not force and not {path for path, _ in clashes} <= _client_side(live, schema, who):
        raise _conflict(clashes)
    for path, manager in clashes:
        manager.fields.discard(path)

    merged: Json = merge(live, config, fieldset.root_schema(schema))
    merged["metadata"] = {**merged["metadata"]}
    kept: set[Path] = set().union(*(m.fields for m in others)) if others else set()
    dropped = (mine.fields if mine else set()) - wanted.keys() - kept
    # Short paths first: with a list item its fields go too, and its keys are needed to find it.
    for path in sorted(dropped, key=len):
        _remove(merged, path, fieldset.root_schema(schema))
    who.fields = set(wanted)
    if mine is not None and mine.fields == who.fields and mine.api_version == who.api_version:
        who.time = mine.time if not changed and not dropped else who.time
    write_managers(merged["metadata"], [*others, who])
    return merged


def _client_side(live: Json, schema: Json | None, who: Manager) -> set[Path]:
    """Fields that kubectl set on ``live`` when it still applied client-side: taking these over is no conflict."""
    text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    if who.name != "kubectl" or text is None:
        return set()
    try:
        config = json.loads(text)
    except ValueError:
        return set()
    return set(fieldset.leaves(config, schema)) if isinstance(config, dict) else set()


def _same(present: dict[Path, Any], live: Json, path: Path, value: Any, schema: Json | None) -> bool:
    if path in present:
        return bool(present[path] == value)
    if value in ({}, []) and any(p[: len(path)] == path for p in present):
        return True
    return not value and _exists(live, path)


def _exists(live: Any, path: Path) -> bool:
    for element in path:
        if not element.startswith("f:") or not isinstance(live, dict) or element[2:] not in live:
            return False
        live = live[element[2:]]
    return True


def _conflict(clashes: list[tuple[Path, Manager]]) -> ApiError:
    def by(manager: Manager) -> str:
        sub = f" with subresource {manager.subresource!r}".replace("'", '"') if manager.subresource else ""
        return f'conflict with "{manager.name}"{sub} using {manager.api_version}'

    causes = [{"reason": "FieldManagerConflict", "message": by(m), "field": fieldset.shown(p)} for p, m in clashes]
    listed = (
        f"{causes[0]['message']}: {causes[0]['field']}"
        if len(causes) == 1
        else "conflicts with:\n" + "\n".join(f"- {c['message']}: {c['field']}" for c in causes)
    )
    count = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    return ApiError(409, "Conflict", f"Apply failed with {count}: {listed}", details={"causes": causes})


def merge(live: Any, config: Any, schema: Json | None) -> Any:
    """``config`` laid over ``live``: maps and keyed lists merge, everything else is taken from ``config``."""
    if isinstance(live, dict) and isinstance(config, dict) and fieldset.is_granular(config, schema):
        merged = dict(live)
        for name, value in config.items():
            merged[name] = merge(live.get(name), value, fieldset.sub_schema(schema, name))
        return merged
    if not (isinstance(live, list) and isinstance(config, list) and fieldset.is_granular(config, schema)):
        return clone(config)
    kind, keys = fieldset.list_keys(schema)
    if kind == "set":
        return [*live, *(v for v in config if v not in live)]
    items = fieldset.item_schema(schema)
    result = list(live)
    places = {fieldset.key_element(item, keys, items): index for index, item in enumerate(result)}
    for item in config:
        key = fieldset.key_element(item, keys, items)
        if key in places:
            result[places[key]] = merge(result[places[key]], item, items)
        else:
            result.append(clone(item))
    return result


def _remove(value: Any, path: Path, schema: Json | None) -> Any:
    """Take ``path`` out of ``value`` in place of copies made on the way; returns the new value, None if empty."""
    element, rest = path[0], path[1:]
    if element.startswith("f:"):
        name = element[2:]
        if not isinstance(value, dict) or name not in value:
            return value
        if not rest:
            del value[name]
        else:
            inner = value[name]
            inner = dict(inner) if isinstance(inner, dict) else list(inner) if isinstance(inner, list) else inner
            inner = _remove(inner, rest, fieldset.sub_schema(schema, name))
            if inner in ({}, []):
                del value[name]
            else:
                value[name] = inner
        return value
    if not isinstance(value, list):
        return value
    if element.startswith("v:"):
        return [v for v in value if fieldset.value_element(v) != element]
    _, keys = fieldset.list_keys(schema)
    items = fieldset.item_schema(schema)
    result = []
    for item in value:
        if fieldset.key_element(item, keys, items) != element:
            result.append(item)
        elif rest:
            result.append(_remove(dict(item), rest, items))
    return result
