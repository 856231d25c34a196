"""Bodies in and out: which form a client asked for, and how its bodies are read.

Source: Kubernetes documentation, "API concepts": receiving resources as tables, alternate representations.
"""

import json
from typing import Any

import yaml

from . import patch, protobuf
from .errors import Json, bad_request, unsupported_media_type
from .http import Request

_YAML = ("application/yaml", "text/yaml", "text/x-yaml")
_JSON = ("application/json", "application/*", "*/*")
_FORMS = {"Table": "Table", "PartialObjectMetadata": "PartialObjectMetadata"}
_FORMS["PartialObjectMetadataList"] = "PartialObjectMetadata"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_LOADER):  # type: ignore[misc]
    """YAML as Kubernetes reads it: timestamps stay strings."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _LOADER.yaml_implicit_resolvers.items()
}


def media_types(header: str) -> list[tuple[str, dict[str, str]]]:
    """(type, parameters) of each part of an Accept header, in the client's order."""
    found = []
    for part in header.split(","):
        name, *parameters = (p.strip() for p in part.split(";"))
        if name:
            found.append((name.lower(), dict(p.partition("=")[::2] for p in parameters)))
    return found


def form(request: Request) -> str:
    """``object``, ``Table`` or ``PartialObjectMetadata``: the first form asked for that this server has.

    Raises:
        ApiError: 406 when it has none.
    """
    accepted = media_types(request.headers.get("accept", "")) or [("*/*", {})]
    for name, parameters in accepted:
        if name not in _JSON:
            continue
        if (wanted := parameters.get("as")) is None:
            return "object"
        if wanted in _FORMS and parameters.get("g", "meta.k8s.io") == "meta.k8s.io":
            return _FORMS[wanted]
    error = bad_request("only the following media types are accepted: application/json")
    error.code, error.reason = 406, "NotAcceptable"
    raise error


def discovery_level(request: Request) -> str | None:
    """``v2`` or ``v2beta1`` when the client asks for aggregated discovery, else None."""
    for name, parameters in media_types(request.headers.get("accept", "")):
        if name in _JSON:
            if parameters.get("as") == "APIGroupDiscoveryList" and parameters.get("v") in ("v2", "v2beta1"):
                return parameters["v"]
            if "as" not in parameters:
                return None
    return None


def content_type(request: Request) -> str:
    return request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()


def body(request: Request) -> Any:
    """The decoded body, whatever JSON value it is.

    Raises:
        ApiError: 400 when it cannot be read, 415 for an unknown format.
    """
    kind = content_type(request)
    if kind == protobuf.CONTENT_TYPE:
        return protobuf.decode(request.body)
    try:
        if kind in _YAML or kind == patch.APPLY_PATCH:
            # JSON is YAML, and far quicker to read as such.
            if request.body[:1] in (b"{", b"["):
                return json.loads(request.body)
            return yaml.load(request.body, Loader=_Loader)  # noqa: S506 - a safe loader
        if kind in ("application/json", "", patch.JSON_PATCH, patch.MERGE_PATCH, patch.STRATEGIC_PATCH):
            return json.loads(request.body)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise bad_request(f"the body of the request cannot be read: {error}") from error
    raise unsupported_media_type(kind, ["application/json", "application/yaml", protobuf.CONTENT_TYPE])


def object_body(request: Request) -> Json:
    """The decoded body, which must be an object; an empty body is an empty object.

    Raises:
        ApiError: as ``body``.
    """
    if not request.body:
        return {}
    found = body(request)
    if not isinstance(found, dict):
        raise bad_request(f"the body of the request must be an object, found {type(found).__name__}")
    return found
