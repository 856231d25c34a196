"""The requests that write, as the API wants them: methods, content types, queries and bodies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from multinic_core.kube.calls import Request
from multinic_core.kube.objects import Json, describe, encode, key_of
from multinic_core.kube.paths import collection_path, object_path
from multinic_core.model.base import KubeObject, Resource
from multinic_core.ports import Key, PatchKind

M = TypeVar("M", bound=KubeObject)

FIELD_MANAGER = "multinic"
PATCH_TYPES: Mapping[PatchKind, str] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
"""Content types. Source: Kubernetes API concepts, "Updates to existing resources"; JSON is YAML too."""


def create_request(resource: Resource[M], body: M | Mapping[str, Any]) -> Request:
    raw = encode(resource, body)
    key = key_of(raw)
    if resource.namespaced and not key.namespace:
        raise ValueError(f"{describe(resource, key)}: a namespace is needed")
    return Request(
        "POST",
        collection_path(resource, key.namespace),
        f"create {describe(resource, key)}",
        {"fieldManager": FIELD_MANAGER},
        raw,
    )


def patch_request(
    resource: Resource[Any],
    key: Key,
    body: Mapping[str, Any] | Iterable[Mapping[str, Any]],
    kind: PatchKind,
    subresource: str,
    field_manager: str,
) -> Request:
    """Merge and apply take an object, json a list of operations; an applied object gets the names it may lack."""
    query = {"fieldManager": field_manager}
    sent: Any = dict(body) if isinstance(body, Mapping) else [dict(operation) for operation in body]
    if isinstance(sent, list) != (kind == "json"):
        raise ValueError(f"{describe(resource, key)}: a {kind} patch cannot be a {type(sent).__name__}")
    if kind == "apply":
        query["force"] = "true"
        names = {"name": key.name} | ({"namespace": key.namespace} if key.namespace else {})
        sent |= {"apiVersion": resource.api_version, "kind": resource.kind}
        sent["metadata"] = {**(sent.get("metadata") or {}), **names}
    path = object_path(resource, key, subresource)
    return Request("PATCH", path, f"patch {describe(resource, key)}", query, sent, PATCH_TYPES[kind])


def update_request(resource: Resource[Any], key: Key, raw: Json, subresource: str) -> Request:
    """Replace an object; ``raw`` carries the resourceVersion that it was read with."""
    return Request(
        "PUT",
        object_path(resource, key, subresource),
        f"update {describe(resource, key)}",
        {"fieldManager": FIELD_MANAGER},
        raw,
    )


def delete_request(resource: Resource[Any], key: Key, uid: str | None, *, orphan: bool = False) -> Request:
    """Delete one object, and what it owns in the background unless that is to be orphaned."""
    policy = "Orphan" if orphan else "Background"
    options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}
    if uid is not None:
        options["preconditions"] = {"uid": uid}
    return Request("DELETE", object_path(resource, key), f"delete {describe(resource, key)}", {}, options)
