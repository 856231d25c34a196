"""Schemas of the built-in kinds, read from the model classes of the installed Kubernetes client.

The client's classes name every field with its JSON name, type, description and whether it must be there, which is all
that pruning, type checks and ``kubectl explain`` need. What they do not carry, which list is keyed by which field, is
the table ``MERGE_KEYS`` here. The client takes a few tenths of a second to import, so it is imported at the first
question by name. Only class attributes are read: nothing here calls any API through it.
"""

import re
from functools import cache
from typing import Any

from .errors import Json

MERGE_KEYS: dict[str, str] = {
    "ObjectMeta.ownerReferences": "uid",
    "PodSpec.containers": "name",
    "PodSpec.initContainers": "name",
    "PodSpec.ephemeralContainers": "name",
    "PodSpec.volumes": "name",
    "PodSpec.imagePullSecrets": "name",
    "PodSpec.hostAliases": "ip",
    "PodSpec.topologySpreadConstraints": "topologyKey",
    "PodSpec.resourceClaims": "name",
    "PodSpec.schedulingGates": "name",
    "Container.env": "name",
    "Container.ports": "containerPort",
    "Container.volumeMounts": "mountPath",
    "Container.volumeDevices": "devicePath",
    "EphemeralContainer.env": "name",
    "EphemeralContainer.volumeMounts": "mountPath",
    "PodStatus.conditions": "type",
    "PodStatus.podIPs": "ip",
    "PodStatus.hostIPs": "ip",
    "NodeStatus.conditions": "type",
    "NodeStatus.addresses": "type",
    "NamespaceStatus.conditions": "type",
    "ServiceSpec.ports": "port",
    "ServiceStatus.conditions": "type",
    "ServiceAccount.secrets": "name",
    "DaemonSetStatus.conditions": "type",
    "DeploymentStatus.conditions": "type",
    "ReplicaSetStatus.conditions": "type",
    "StatefulSetStatus.conditions": "type",
    "JobStatus.conditions": "type",
    "CustomResourceDefinitionStatus.conditions": "type",
    "ValidatingWebhookConfiguration.webhooks": "name",
    "MutatingWebhookConfiguration.webhooks": "name",
}
"""Model and field of each list merged by a key. Source: the x-kubernetes-patch-merge-key marks of the public API."""
MERGE_SETS = frozenset({"ObjectMeta.finalizers", "NodeSpec.podCIDRs", "NamespaceSpec.finalizers"})
"""Lists of scalars merged as sets."""
_QUANTITIES = frozenset({"limits", "requests", "capacity", "allocatable", "overhead", "hard", "used", "divisor"})
"""Fields that hold quantities, which may be written as numbers."""
_ANY_SCALAR = frozenset({"sizeLimit", "divisor"})
_SIMPLE: dict[str, Json] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "datetime": {"type": "string", "format": "date-time"},
    "date": {"type": "string"},
    "bytearray": {"type": "string", "format": "byte"},
    "bytes": {"type": "string", "format": "byte"},
    "IntOrString": {"x-kubernetes-int-or-string": True},
    "object": {"x-kubernetes-preserve-unknown-fields": True},
}
_NAME = re.compile(r"(?P<area>[A-Za-z]*?)(?P<version>V\d+(?:alpha\d+|beta\d+)?)(?P<rest>[A-Z]\w*)")
_PREFIX = "io.k8s"

_definitions: dict[str, Json] = {}
"""Definition name to schema; filled as they are asked for."""


def definition_name(model: str) -> str:
    """``io.k8s.v1.Pod`` for the class name ``V1Pod``; the last part is what ``kubectl explain`` shows."""
    match = _NAME.fullmatch(model)
    if match is None:
        return f"{_PREFIX}.{model}"
    parts = (_PREFIX, match["area"].lower(), match["version"].lower(), match["rest"])
    return ".".join(part for part in parts if part)


def definition(name: str) -> Json:
    """The schema a ``$ref`` names; ``name`` may carry the leading ``#/…/``."""
    return _definitions[name.rsplit("/", 1)[-1]]


def deref(schema: Json) -> Json:
    """The schema itself, or what it refers to."""
    ref = schema.get("$ref")
    return definition(ref) if ref is not None else schema


def schema_of(model: str) -> Json:
    """The schema of a client class (``V1Pod``), with its parts loaded as definitions."""
    name = definition_name(model)
    if name not in _definitions:
        _load(model)
    return _definitions[name]


@cache
def _models() -> Any:
    from kubernetes.client import models  # only when a built-in kind is first asked for: it takes a fifth of a second

    return models


def _load(model: str) -> None:
    name = definition_name(model)
    if name in _definitions:
        return
    cls = getattr(_models(), model)
    short = name.rsplit(".", 1)[-1]
    properties: Json = {}
    required: list[str] = []
    schema: Json = {"type": "object", "properties": properties}
    if doc := (cls.__doc__ or "").strip().split("\n\n", 1)[0]:
        schema["description"] = doc
    _definitions[name] = schema
    for attribute, text in cls.openapi_types.items():
        json_name = cls.attribute_map[attribute]
        info = cls.model_fields.get(attribute)
        field = dict(_type(text, json_name))
        if info is not None:
            if info.description:
                if "$ref" in field:
                    field = {"allOf": [field], "description": info.description, "$ref": field["$ref"]}
                else:
                    field["description"] = info.description
            if info.is_required():
                required.append(json_name)
        if key := MERGE_KEYS.get(f"{short}.{json_name}"):
            field |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
            field |= {"x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": key}
        elif f"{short}.{json_name}" in MERGE_SETS:
            field |= {"x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge"}
        properties[json_name] = field
    if required:
        schema["required"] = required


def _type(text: str, json_name: str) -> Json:
    if text.startswith(("List[", "list[")):
        return {"type": "array", "items": _type(text[5:-1], "")}
    if text.startswith(("Dict[", "dict[", "Dict(", "dict(")):
        inside = text[5:-1].split(",", 1)[1].strip()
        if json_name in _QUANTITIES and inside == "str":
            return {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": True}}
        return {"type": "object", "additionalProperties": _type(inside, "")}
    if text == "str" and json_name in _ANY_SCALAR:
        return {"x-kubernetes-int-or-string": True}
    if text in _SIMPLE:
        return _SIMPLE[text]
    _load(text)
    return {"$ref": f"#/components/schemas/{definition_name(text)}"}
