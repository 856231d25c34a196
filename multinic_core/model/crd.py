"""CustomResourceDefinitions made from the models, so that code and schema cannot drift apart.

Pydantic's JSON schema is turned into the structural OpenAPI v3 schema that Kubernetes takes: references are
inlined, "or null" becomes optional, titles go, docstrings become descriptions, literals become enums.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multinic_core.model.base import KubeObject, Resource
from multinic_core.model.rules import KEYWORD

KEPT = (
    *("description", "type", "format", "pattern", "enum", "minimum", "maximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "maxProperties", KEYWORD),
)
"""Keywords that mean the same in a structural schema."""
FREE_FORM = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def structural(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """One JSON schema node as a structural schema node."""
    if "$ref" in schema:
        target = definitions[schema["$ref"].rsplit("/", 1)[1]]
        return structural({**target, **{key: value for key, value in schema.items() if key != "$ref"}}, definitions)
    if "anyOf" in schema:
        (only,) = [part for part in schema["anyOf"] if part.get("type") != "null"]
        return structural({**only, **{key: value for key, value in schema.items() if key != "anyOf"}}, definitions)
    answer = {
        key: _one_paragraph(schema[key]) if key == "description" else schema[key] for key in KEPT if key in schema
    }
    if "const" in schema:
        answer["enum"] = [schema["const"]]
    if schema.get("type") == "array":
        answer["items"] = structural(schema["items"], definitions)
    elif schema.get("type") == "object":
        if "properties" in schema:
            answer["properties"] = {name: structural(part, definitions) for name, part in schema["properties"].items()}
            if required := schema.get("required"):
                answer["required"] = required
        elif isinstance(values := schema.get("additionalProperties"), Mapping):
            answer["additionalProperties"] = structural(values, definitions)
        else:
            answer |= FREE_FORM
    return answer


def _one_paragraph(text: str) -> str:
    return " ".join(text.split())


def _schema(resource: Resource[Any]) -> dict[str, Any]:
    model: type[KubeObject] = resource.model
    whole = model.model_json_schema(by_alias=True, mode="validation")
    definitions, length = whole.get("$defs", {}), resource.name_length
    parts = {name: structural(part, definitions) for name, part in whole["properties"].items()}
    parts.setdefault("status", dict(FREE_FORM))
    return {
        "type": "object",
        "description": _one_paragraph(model.__doc__ or ""),
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"}
            | ({"properties": {"name": {"type": "string", "maxLength": length}}} if length else {}),
            "spec": parts["spec"],
            "status": parts["status"],
        },
        "required": ["spec"],
    }


def crd(resource: Resource[Any]) -> dict[str, Any]:
    """The CustomResourceDefinition of one of our kinds."""
    names: dict[str, Any] = {
        "kind": resource.kind,
        "listKind": f"{resource.kind}List",
        "plural": resource.plural,
        "singular": resource.kind.lower(),
    }
    if resource.short_names:
        names["shortNames"] = list(resource.short_names)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.crd_name},
        "spec": {
            "group": resource.group,
            "names": names,
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "versions": [
                {
                    "name": resource.version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": _schema(resource)},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": column.name, "type": column.type, "jsonPath": column.json_path}
                        | ({"priority": column.priority} if column.priority else {})
                        for column in resource.columns
                    ],
                }
            ],
        },
    }
