"""Dependents as they are to be written, and what must change in those that are there. Pure.

Others complete what we write: API servers put defaults in, controllers add fields. So what was wanted last is kept in
an annotation, and a change takes away only what was wanted then and is not now; fields of others stay.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from multinic_core.clusterfacts import ForeignObject
from multinic_core.model import GENERATED_LABEL, GROUP, MultiNicNetwork
from multinic_operator.ownership import owner_change, owner_reference

APPLIED = f"{GROUP}/applied"
"""Annotation of a dependent: what the network wanted in it when it was last written, as JSON."""
NOT_WANTED = frozenset({"apiVersion", "kind", "metadata", "status"})


def body_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest wants beside names."""
    return {key: value for key, value in manifest.items() if key not in NOT_WANTED}


def completed(manifest: Mapping[str, Any], network: MultiNicNetwork) -> ForeignObject:
    """The object to create: the manifest with label, owner and annotation."""
    metadata = dict(manifest.get("metadata") or {})
    applied = json.dumps(body_of(manifest), sort_keys=True, separators=(",", ":"))
    metadata["labels"] = {**(metadata.get("labels") or {}), GENERATED_LABEL: "true"}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), APPLIED: applied}
    metadata["ownerReferences"] = [owner_reference(network).to_json()]
    return ForeignObject.model_validate({**manifest, "metadata": metadata})


def _applied(found: ForeignObject) -> dict[str, Any]:
    try:
        before = json.loads((found.metadata.annotations or {}).get(APPLIED, "{}"))
    except json.JSONDecodeError:
        return {}
    return before if isinstance(before, dict) else {}


def _merge(found: Mapping[str, Any], wanted: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    patch: dict[str, Any] = {key: None for key in before if key not in wanted and key in found}
    for key, value in wanted.items():
        there = found.get(key)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            earlier = before.get(key)
            if inner := _merge(there, value, earlier if isinstance(earlier, Mapping) else {}):
                patch[key] = inner
        elif there != value:
            patch[key] = value
    return patch


def change(found: ForeignObject, wanted: ForeignObject) -> dict[str, Any]:
    """The merge patch that makes an object of ours as wanted; {} when it is."""
    patch = _merge(found.model_extra or {}, wanted.model_extra or {}, _applied(found))
    metadata: dict[str, Any] = {}
    for name in ("labels", "annotations"):
        there: Mapping[str, str] = getattr(found.metadata, name) or {}
        asked: Mapping[str, str] = getattr(wanted.metadata, name) or {}
        if differing := {key: value for key, value in asked.items() if there.get(key) != value}:
            metadata[name] = differing
    metadata |= owner_change(found, wanted)
    return patch | ({"metadata": metadata} if metadata else {})
