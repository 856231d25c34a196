"""CustomResourceDefinitions become kinds: a definition turned into a ``Resource``, and its status.

Source: Kubernetes documentation, "Extend the Kubernetes API with CustomResourceDefinitions".
"""

from .errors import Json
from .metadata import now
from .scheme import Resource, Version, priority

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""Finalizer that keeps a definition until its objects are gone."""


def resource_of(crd: Json) -> Resource:
    """The kind that a definition asks for."""
    spec, names = crd["spec"], crd["spec"]["names"]
    versions = tuple(
        Version(
            version["name"],
            (version.get("schema") or {}).get("openAPIV3Schema"),
            status="status" in (version.get("subresources") or {}),
            scale=(version.get("subresources") or {}).get("scale"),
            columns=tuple(version.get("additionalPrinterColumns") or ()),
            selectable=tuple(f["jsonPath"].lstrip(".") for f in version.get("selectableFields") or ()),
            deprecated=_deprecation(crd, version),
        )
        for version in sorted(spec["versions"], key=lambda v: priority(v["name"]))
        if version.get("served")
    )
    return Resource(
        spec["group"],
        names["kind"],
        names["plural"],
        names.get("singular") or names["kind"].lower(),
        spec["scope"] == "Namespaced",
        versions,
        next(v["name"] for v in spec["versions"] if v.get("storage")),
        tuple(names.get("shortNames") or ()),
        tuple(names.get("categories") or ()),
        names.get("listKind") or f"{names['kind']}List",
        crd=crd["metadata"]["name"],
    )


def _deprecation(crd: Json, version: Json) -> str:
    if not version.get("deprecated"):
        return ""
    group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
    return str(version.get("deprecationWarning") or f"{group}/{version['name']} {kind} is deprecated")


def established_status(crd: Json) -> Json:
    """The status of a definition whose kind is served."""
    old = crd.get("status") or {}
    conditions = [
        _condition(old, "NamesAccepted", "True", "NoConflicts", "no conflicts found"),
        _condition(old, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted"),
    ]
    if "deletionTimestamp" in crd["metadata"]:
        words = "CustomResource deletion is in progress"
        conditions.append(_condition(old, "Terminating", "True", "InstanceDeletionInProgress", words))
    stored = list(old.get("storedVersions") or ())
    storage = next(v["name"] for v in crd["spec"]["versions"] if v.get("storage"))
    if storage not in stored:
        stored.append(storage)
    return {"acceptedNames": crd["spec"]["names"], "conditions": conditions, "storedVersions": stored}


def refused_status(crd: Json, why: str) -> Json:
    """The status of a definition whose names another one holds."""
    old = crd.get("status") or {}
    conditions = [
        _condition(old, "NamesAccepted", "False", "NameConflict", why),
        _condition(old, "Established", "False", "NotAccepted", "not all names are accepted"),
    ]
    return {"acceptedNames": {"plural": "", "kind": ""}, "conditions": conditions, "storedVersions": []}


def _condition(old: Json, kind: str, status: str, reason: str, message: str) -> Json:
    before = next((c for c in old.get("conditions") or () if c.get("type") == kind), None)
    since = before["lastTransitionTime"] if before and before.get("status") == status else now()
    return {
        "type": kind,
        "status": status,
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
    }
