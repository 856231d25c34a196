"""What the server itself keeps in ``metadata``, and the rules names, labels and annotations must hold.

Source: Kubernetes documentation, "Object Names and IDs", "Labels and Selectors", "Finalizers".
"""

import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from random import choices
from typing import Any

from .errors import FieldError, Json

SYSTEM = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")
"""Fields that only the server writes."""
_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_RE = re.compile(_SUBDOMAIN)
_LABEL_RE = re.compile(_LABEL)
_QUALIFIED_RE = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_PATH_NAMED = frozenset({"clusterroles", "clusterrolebindings", "roles", "rolebindings"})
_LABEL_NAMED = frozenset({"namespaces", "services"})
SUBDOMAIN_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    f"'{_SUBDOMAIN}')"
)
LABEL_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    f"an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def now() -> str:
    """The present in the form of ``creationTimestamp``: UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def generated_name(prefix: str) -> str:
    """``prefix`` and five random characters, cut so that the whole stays within 63."""
    return prefix[:58] + "".join(choices(_ALPHABET, k=5))


def new_uid() -> str:
    return str(uuid.uuid4())


def stamp(metadata: Json) -> None:
    """Make a client's metadata that of a new object: server fields set, those of another life removed."""
    for name in (*SYSTEM, "resourceVersion", "generation"):
        metadata.pop(name, None)
    metadata["uid"] = new_uid()
    metadata["creationTimestamp"] = now()


def carry_over(old: Json, new: Json) -> None:
    """Restore in ``new`` what a client cannot change."""
    for name in (*SYSTEM, "resourceVersion", "generation", "namespace", "name", "generateName"):
        if name in old:
            new[name] = old[name]
        else:
            new.pop(name, None)
    for name in ("labels", "annotations", "finalizers", "ownerReferences"):
        if name in new and not new[name]:
            del new[name]


def check_name(name: Any, plural: str) -> list[FieldError]:
    """Errors in ``metadata.name`` of a kind."""
    if not isinstance(name, str) or not name:
        return [FieldError("metadata.name", "Required value", detail="name or generateName is required")]
    if plural in _PATH_NAMED:
        bad = name in (".", "..") or "/" in name or "%" in name
        return [FieldError("metadata.name", "Invalid value", name, "may not contain '/' or '%'")] if bad else []
    if plural in _LABEL_NAMED:
        if len(name) > 63:
            return [FieldError("metadata.name", "Invalid value", name, "must be no more than 63 bytes")]
        if not _LABEL_RE.fullmatch(name):
            return [FieldError("metadata.name", "Invalid value", name, LABEL_WORDS)]
    if len(name) > 253:
        return [FieldError("metadata.name", "Invalid value", name, "must be no more than 253 bytes")]
    if not _SUBDOMAIN_RE.fullmatch(name):
        return [FieldError("metadata.name", "Invalid value", name, SUBDOMAIN_WORDS)]
    return []


def check_metadata(metadata: Json) -> list[FieldError]:
    """Errors in labels, annotations, finalizers and owner references."""
    errors: list[FieldError] = []
    for field in ("labels", "annotations"):
        found = metadata.get(field)
        if found is None:
            continue
        if not isinstance(found, dict):
            errors.append(_mistyped(f"metadata.{field}", found, "object"))
            continue
        for key, value in found.items():
            errors += _check_key(f"metadata.{field}", key)
            if not isinstance(value, str):
                errors.append(_mistyped(f"metadata.{field}.{key}", value, "string"))
            elif field == "labels" and (len(value) > 63 or (value and not _QUALIFIED_RE.fullmatch(value))):
                words = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.'"
                words += ", and must start and end with an alphanumeric character, and be at most 63 characters"
                errors.append(FieldError("metadata.labels", "Invalid value", value, words))
    finalizers = metadata.get("finalizers") or []
    if not isinstance(finalizers, list) or any(not isinstance(f, str) or not f for f in finalizers):
        errors.append(FieldError("metadata.finalizers", "Invalid value", finalizers, "must be a list of names"))
    errors += _check_owners(metadata.get("ownerReferences") or [])
    return errors


def _mistyped(path: str, value: Any, wanted: str) -> FieldError:
    return FieldError(path, "Invalid value", value, f"{path} in body must be of type {wanted}")


def _check_key(path: str, key: str) -> list[FieldError]:
    prefix, slash, name = key.rpartition("/")
    if slash and not _SUBDOMAIN_RE.fullmatch(prefix):
        return [FieldError(path, "Invalid value", key, f"prefix part {SUBDOMAIN_WORDS}")]
    if not name or len(name) > 63 or not _QUALIFIED_RE.fullmatch(name):
        words = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
        return [FieldError(path, "Invalid value", key, words + "alphanumeric character")]
    return []


def _check_owners(owners: Sequence[Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    controllers = 0
    for index, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{index}]"
        if not isinstance(owner, dict):
            errors.append(_mistyped(path, owner, "object"))
            continue
        errors += [
            FieldError(f"{path}.{name}", "Invalid value", "", "must not be empty")
            for name in ("apiVersion", "kind", "name", "uid")
            if not owner.get(name)
        ]
        controllers += bool(owner.get("controller"))
    if controllers > 1:
        words = "Only one reference can have Controller set to true"
        errors.append(FieldError("metadata.ownerReferences", "Invalid value", controllers, words))
    return errors
