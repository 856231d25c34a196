"""The objects of an API server in memory, with its rules for writing them.

resourceVersions, generations, uids, conflicts, status subresources, finalizers and owner-reference collection are
here; nothing here is asynchronous and nothing waits. What a real server does later and by itself (collecting
dependents, emptying a deleted namespace) happens here at once, within the call that causes it.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from multinic_core.errors import ApiError
from multinic_core.kube.objects import Json, describe, difference, faults, key_of, merge
from multinic_core.model import NAMESPACES, OUR_RESOURCES, KubeObject, Resource
from multinic_core.ports import Key, PatchKind
from multinic_core.testing.kube_rules import PatchError, json_patch

Listener = Callable[[Resource[Any], Key, Json | None], None]
"""Called with each object after a change; None when it is gone."""


def failure(status: int, api_reason: str, message: str) -> ApiError:
    return ApiError(message, status=status, api_reason=api_reason)


def has_status(resource: Resource[Any]) -> bool:
    """Whether ``status`` is written only through the subresource; all of our CRDs have it."""
    return resource in OUR_RESOURCES or "status" in resource.model.model_fields or resource.plural == "nodes"


def is_custom(resource: Resource[Any]) -> bool:
    """Whether a CRD defines the kind; only those count generations."""
    return "." in resource.group and not resource.group.endswith(".k8s.io")


class Objects:
    """All objects of one cluster, as JSON."""

    def __init__(self, changed: Listener) -> None:
        self._changed = changed
        self._tables: dict[tuple[str, str], tuple[Resource[Any], dict[Key, Json]]] = {}
        self._applied: dict[tuple[str, str, Key, str], Json] = {}
        """What each field manager applied last."""
        self._version = 100
        self._names = 0

    def table(self, resource: Resource[Any]) -> dict[Key, Json]:
        return self._tables.setdefault((resource.group, resource.plural), (resource, {}))[1]

    def get(self, resource: Resource[Any], key: Key) -> Json:
        try:
            return copy.deepcopy(self.table(resource)[key])
        except KeyError:
            raise failure(404, "NotFound", f"{describe(resource, key)}: not found") from None

    def create(self, resource: Resource[Any], body: Mapping[str, Any], *, keep_status: bool = False) -> Json:
        raw = copy.deepcopy(dict(body))
        metadata = raw.setdefault("metadata", {})
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise failure(422, "Invalid", f"{resource.plural}: metadata.name: required, or metadata.generateName")
            self._names += 1
            metadata["name"] = f"{metadata['generateName']}{self._names:05d}"
        key = key_of(raw)
        if key in self.table(resource):
            raise failure(409, "AlreadyExists", f"{describe(resource, key)}: already exists")
        if has_status(resource) and not keep_status:
            raw.pop("status", None)
        for name in ("deletionTimestamp", "deletionGracePeriodSeconds"):
            metadata.pop(name, None)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = _timestamp()
        if is_custom(resource):
            metadata["generation"] = 1
        return self._store(resource, key, raw)

    def update(self, resource: Resource[Any], key: Key, body: Mapping[str, Any], subresource: str = "") -> Json:
        """Replace an object; a resourceVersion or uid in the body must be the current one."""
        old = self.get(resource, key)
        sent = dict(body.get("metadata") or {})
        for name in ("uid", "resourceVersion"):
            if sent.get(name) and sent[name] != old["metadata"].get(name):
                raise failure(409, "Conflict", f"{describe(resource, key)}: {name} {sent[name]!r} is outdated")
        new = copy.deepcopy(dict(body))
        if subresource == "status" and has_status(resource):
            new = old | ({"status": new["status"]} if "status" in new else {})
            if "status" not in body:
                new.pop("status", None)
        elif subresource:
            raise failure(404, "NotFound", f"{describe(resource, key)}: no subresource {subresource!r}")
        elif has_status(resource):
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
        if not subresource:
            new["apiVersion"], new["kind"] = old["apiVersion"], old["kind"]
            new["metadata"] = self._metadata(sent, old["metadata"])
        if new == old:
            return old
        if is_custom(resource) and _desired(new, resource) != _desired(old, resource):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            return self._remove(resource, key, new)
        return self._store(resource, key, new)

    def patch(
        self, resource: Resource[Any], key: Key, body: Any, kind: PatchKind, subresource: str, field_manager: str
    ) -> Json:
        """Patch an object; ``apply`` creates it when it is missing and removes what this manager no longer names."""
        if kind == "apply":
            return self._apply(resource, key, dict(body), subresource, field_manager)
        old = self.get(resource, key)
        if kind == "merge":
            new = merge(old, body)
        else:
            try:
                new = json_patch(old, body)
            except PatchError as error:
                raise failure(422, "Invalid", f"{describe(resource, key)}: json patch: {error}") from error
        sent, kept = new["metadata"], old["metadata"]
        another = sent.get("uid") and sent["uid"] != kept["uid"]
        if another and sent.get("resourceVersion") in (None, kept["resourceVersion"]):
            raise failure(422, "Invalid", f"{describe(resource, key)}: metadata.uid: field is immutable")
        return self.update(resource, key, new, subresource)

    def _apply(self, resource: Resource[Any], key: Key, body: Json, subresource: str, field_manager: str) -> Json:
        body["apiVersion"], body["kind"] = resource.api_version, resource.kind
        names = {"name": key.name} | ({"namespace": key.namespace} if key.namespace else {})
        body["metadata"] = dict(body.get("metadata") or {}) | names
        owner = (resource.group, resource.plural, key, f"{field_manager}/{subresource}")
        if key in self.table(resource):
            withdrawn = _removals(self._applied.get(owner, {}), body)
            old = self.get(resource, key)
            result = self.update(resource, key, merge(merge(old, withdrawn), body), subresource)
        elif subresource:
            raise failure(404, "NotFound", f"{describe(resource, key)}: not found")
        else:
            result = self.create(resource, body)
        self._applied[owner] = copy.deepcopy(body)
        return result

    def delete(self, resource: Resource[Any], key: Key, *, orphan: bool = False) -> None:
        raw = self.get(resource, key)
        if orphan:
            self._orphan(raw["metadata"]["uid"])
        if not raw["metadata"].get("finalizers"):
            self._remove(resource, key, raw)
        elif not raw["metadata"].get("deletionTimestamp"):
            raw["metadata"] |= {"deletionTimestamp": _timestamp(), "deletionGracePeriodSeconds": 0}
            if "generation" in raw["metadata"]:
                raw["metadata"]["generation"] += 1
            self._store(resource, key, raw)

    def _metadata(self, sent: Json, old: Json) -> Json:
        """Metadata after an update: what only the server writes stays, and a deleted object gets no new finalizers."""
        fixed = ("name", "namespace", "uid", "generation", "creationTimestamp", "deletionTimestamp", "generateName")
        kept = {name: old[name] for name in (*fixed, "deletionGracePeriodSeconds", "resourceVersion") if name in old}
        new = {name: value for name, value in sent.items() if value not in ({}, [], None)} | kept
        if old.get("deletionTimestamp") and set(new.get("finalizers", ())) - set(old.get("finalizers", ())):
            raise failure(422, "Invalid", f"{old['name']}: metadata.finalizers: none may be added during deletion")
        if not old.get("deletionTimestamp"):
            new.pop("deletionTimestamp", None)
        return new

    def _store(self, resource: Resource[Any], key: Key, raw: Json) -> Json:
        if resource in OUR_RESOURCES:
            _check(resource, key, raw)
        self._version += 1
        raw["metadata"]["resourceVersion"] = str(self._version)
        self.table(resource)[key] = raw
        self._changed(resource, key, raw)
        return copy.deepcopy(raw)

    def _remove(self, resource: Resource[Any], key: Key, raw: Json) -> Json:
        del self.table(resource)[key]
        for owner in [owner for owner in self._applied if owner[:3] == (resource.group, resource.plural, key)]:
            del self._applied[owner]
        self._version += 1
        self._changed(resource, key, None)
        self._collect(raw["metadata"]["uid"])
        if (resource.group, resource.plural) == (NAMESPACES.group, NAMESPACES.plural):
            for other, table in list(self._tables.values()):
                for inside in [inside for inside in table if inside.namespace == key.name]:
                    self.delete(other, inside)
        return raw

    def _orphan(self, uid: str) -> None:
        """Take the references to this owner off whatever it owns."""
        for resource, table in list(self._tables.values()):
            for key, raw in list(table.items()):
                owners = raw["metadata"].get("ownerReferences") or []
                if left := [owner for owner in owners if owner["uid"] != uid]:
                    owned = copy.deepcopy(raw) | {"metadata": {**raw["metadata"], "ownerReferences": left}}
                else:
                    owned = copy.deepcopy(raw)
                    owned["metadata"].pop("ownerReferences", None)
                if left != owners:
                    self._store(resource, key, owned)

    def _collect(self, uid: str) -> None:
        """Delete what this uid owned, unless another of its owners still lives."""
        alive = {raw["metadata"]["uid"] for _, table in self._tables.values() for raw in table.values()}
        for resource, table in list(self._tables.values()):
            for key, raw in list(table.items()):
                owners = {owner["uid"] for owner in raw["metadata"].get("ownerReferences") or ()}
                if uid in owners and not owners & alive and key in table:
                    self.delete(resource, key)


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _desired(raw: Json, resource: Resource[Any]) -> Json:
    """What a generation counts: everything but metadata, and status where that is a subresource."""
    left_out = {"metadata"} | ({"status"} if has_status(resource) else set())
    return {name: value for name, value in raw.items() if name not in left_out}


def _removals(before: Any, now: Any) -> Json:
    """The merge patch that removes what was applied before and is not applied now."""
    return {
        name: value if value is None else _removals(before[name], now[name])
        for name, value in difference(before, now).items()
        if value is None or (isinstance(before.get(name), dict) and isinstance(now[name], dict))
    }


def _check(resource: Resource[Any], key: Key, raw: Json) -> None:
    """Refuse what the kind's schema refuses; the model stands for the schema that is generated from it."""
    model: type[KubeObject] = resource.model
    try:
        model.model_validate(raw)
    except ValidationError as error:
        raise failure(422, "Invalid", f"{describe(resource, key)}: {faults(error)}") from error
