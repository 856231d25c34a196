"""OpenAPI documents of what is served: v3 per group and version, v2 as one JSON document.

``kubectl explain`` and kubectl's question whether the server checks unknown fields read these. Only what such clients
read is in them: schemas with their group-version-kind, and the paths with the query parameters of writes.
Source: Kubernetes documentation, "OpenAPI"; the x-kubernetes extensions as published there.
"""

from hashlib import sha256
from typing import Any

from .builtin_schemas import definition, definition_name, schema_of
from .errors import Json
from .scheme import Resource, Scheme, Version

_PARAMETERS = [
    {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
    for name in ("dryRun", "fieldManager", "fieldValidation")
]


def index(scheme: Scheme) -> Json:
    """Answer to /openapi/v3: where each group and version has its document."""
    paths = {}
    for group, versions in scheme.groups().items():
        for version in versions:
            path = f"apis/{group}/{version}" if group else f"api/{version}"
            mark = sha256(f"{path}:{scheme.generation}".encode()).hexdigest()[:32].upper()
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={mark}"}
    return {"paths": paths}


def component_name(resource: Resource, version: Version) -> str:
    """The schema's name; the last dotted part is what clients show."""
    if version.model:
        return definition_name(version.model)
    return ".".join([*reversed(resource.group.split(".")), version.name, resource.kind])


def document(scheme: Scheme, group: str, version: str) -> Json | None:
    """The OpenAPI v3 document of one group and version; None when it is not served."""
    served = list(scheme.in_version(group, version))
    if not served:
        return None
    components: Json = {}
    paths: Json = {}
    for resource, one in served:
        _add_schema(components, resource, one)
        _add_paths(paths, resource, one)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.37.0"},
        "paths": paths,
        "components": {"schemas": components},
    }


def _gvk(resource: Resource, version: Version) -> Json:
    return {"group": resource.group, "kind": resource.kind, "version": version.name}


def _add_schema(components: Json, resource: Resource, version: Version) -> None:
    name = component_name(resource, version)
    meta_ref = {"$ref": f"#/components/schemas/{definition_name('V1ObjectMeta')}"}
    if version.model:
        schema_of(version.model)
        _collect(components, name)
        base = components[name]
    else:
        schema_of("V1ObjectMeta")
        _collect(components, definition_name("V1ObjectMeta"))
        base = dict(version.schema or {})
        properties = dict(base.get("properties") or {})
        properties.setdefault("apiVersion", {"type": "string", "description": "Version of this object's schema."})
        properties.setdefault("kind", {"type": "string", "description": "Kind of this object."})
        properties["metadata"] = {
            "allOf": [meta_ref],
            "description": "Standard object metadata.",
            "default": {},
        }
        base["properties"] = properties
    components[name] = {**base, "x-kubernetes-group-version-kind": [_gvk(resource, version)]}


def _collect(components: Json, name: str) -> None:
    """Add a definition and all it refers to."""
    if name in components:
        return
    found = definition(name)
    components[name] = _published(found)
    stack: list[Any] = [found]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if isinstance(ref := value.get("$ref"), str):
                _collect(components, ref.rsplit("/", 1)[-1])
            stack += value.values()
        elif isinstance(value, list):
            stack += value


def _published(value: Any) -> Any:
    """A schema as documents show it: a described reference becomes an ``allOf``."""
    if isinstance(value, dict):
        hidden = {"$ref"} if "allOf" in value and "$ref" in value else set()
        return {k: _published(v) for k, v in value.items() if k not in hidden}
    return [_published(v) for v in value] if isinstance(value, list) else value


def _add_paths(paths: Json, resource: Resource, version: Version) -> None:
    root = f"/apis/{resource.group}/{version.name}" if resource.group else f"/api/{version.name}"
    collection = (
        f"{root}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"{root}/{resource.plural}"
    )
    gvk = _gvk(resource, version)
    body = {"$ref": f"#/components/schemas/{component_name(resource, version)}"}
    answer = {"200": {"description": "OK", "content": {"application/json": {"schema": body}}}}

    def operation(action: str, consumes: tuple[str, ...] = (), *, write: bool = False) -> Json:
        found: Json = {
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk,
            "responses": answer,
        }
        if consumes:
            found["requestBody"] = {"content": {c: {"schema": body} for c in consumes}}
        if write:
            found["parameters"] = _PARAMETERS
        return found

    patches = ("application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json")
    paths[collection] = {
        "get": operation("list"),
        "post": operation("post", ("application/json",), write=True),
        "delete": operation("deletecollection"),
    }
    paths[f"{collection}/{{name}}"] = {
        "get": operation("get"),
        "put": operation("put", ("application/json",), write=True),
        "patch": operation("patch", patches, write=True),
        "delete": operation("delete"),
    }


def swagger(scheme: Scheme) -> Json:
    """The whole API as one OpenAPI v2 document."""
    components: Json = {}
    paths: Json = {}
    for group, versions in scheme.groups().items():
        for version in versions:
            for resource, one in scheme.in_version(group, version):
                _add_schema(components, resource, one)
                _add_paths(paths, resource, one)
    info = {"title": "Kubernetes", "version": "v1.37.0"}
    return {"swagger": "2.0", "info": info, "paths": _v2(paths), "definitions": _v2(components)}


def _v2(value: Any) -> Any:
    """References rewritten to v2's place, request bodies and answers to v2's form."""
    if isinstance(value, list):
        return [_v2(v) for v in value]
    if not isinstance(value, dict):
        return value
    found: Json = {}
    for name, item in value.items():
        if name == "$ref" and isinstance(item, str):
            found[name] = item.replace("#/components/schemas/", "#/definitions/")
        elif name == "requestBody" and "content" in item:
            found["consumes"] = list(item["content"])
        elif name == "content" and "application/json" in item:
            found["schema"] = _v2(item["application/json"]["schema"])
        else:
            found[name] = _v2(item)
    return found
