"""Paths that describe the server rather than objects: discovery, version, OpenAPI."""

from . import discovery, negotiation, openapi
from .errors import Json
from .http import Request, Response
from .scheme import Scheme
from .store import encode


def document(scheme: Scheme, request: Request, parts: list[str]) -> Response | None:
    """Discovery, version and OpenAPI."""
    level = negotiation.discovery_level(request)
    body: Json | None
    match parts:
        case []:
            body = {
                "paths": [
                    "/api",
                    "/apis",
                    "/healthz",
                    "/livez",
                    "/openapi/v2",
                    "/openapi/v3",
                    "/readyz",
                    "/version",
                ]
            }
        case ["version"]:
            body = discovery.VERSION
        case ["api" | "apis" as root] if level:
            found = discovery.aggregated(scheme, core=root == "api", level=level)
            kind = f"application/json;g=apidiscovery.k8s.io;v={level};as=APIGroupDiscoveryList"
            return Response(200, encode(found), kind)
        case ["api"]:
            body = discovery.api_versions(request.headers.get("host", ""))
        case ["apis"]:
            body = discovery.group_list(scheme)
        case ["api", version]:
            body = discovery.resource_list(scheme, "", version)
        case ["apis", group]:
            body = discovery.group(scheme, group)
        case ["apis", group, version]:
            body = discovery.resource_list(scheme, group, version)
        case ["openapi", "v2"]:
            negotiation.form(request)
            body = openapi.swagger(scheme)
        case ["openapi", "v3"]:
            body = openapi.index(scheme)
        case ["openapi", "v3", "api", version]:
            body = openapi.document(scheme, "", version)
        case ["openapi", "v3", "apis", group, version]:
            body = openapi.document(scheme, group, version)
        case _:
            body = None
    return Response(200, encode(body)) if body is not None else None
