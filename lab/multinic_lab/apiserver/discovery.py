"""What is served, told to clients: groups, versions, resources, in the aggregated form and the older one.

Source: Kubernetes documentation, "API discovery"; API reference, apidiscovery.k8s.io/v2.
"""

from collections.abc import Iterator

from .errors import Json
from .scheme import Resource, Scheme, Version

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_SUB_VERBS = ("get", "patch", "update")
VERSION: Json = {
    "major": "1",
    "minor": "37",
    "gitVersion": "v1.37.0+multinic-lab",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "CPython",
    "platform": "linux/amd64",
}
"""Answer to /version: the API level this server aims at; clients refuse to talk across many minor versions."""

REVIEWS = (
    ("authorization.k8s.io", "SelfSubjectAccessReview", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "SelfSubjectRulesReview", "selfsubjectrulesreviews"),
    ("authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews"),
)
"""(group, kind, plural) of the questions a client may post about itself; nothing of them is stored."""


def _subresources(resource: Resource, version: Version) -> Iterator[tuple[str, Json, tuple[str, ...]]]:
    """(name, response kind, verbs) of each subresource."""
    own = {"group": resource.group, "version": version.name, "kind": resource.kind}
    if version.status:
        yield "status", own, _SUB_VERBS
    if version.scale:
        yield "scale", {"group": "autoscaling", "version": "v1", "kind": "Scale"}, _SUB_VERBS
    for name in resource.subresources:
        match name:
            case "binding":
                yield name, {"group": "", "version": "v1", "kind": "Binding"}, ("create",)
            case "eviction":
                yield name, {"group": "policy", "version": "v1", "kind": "Eviction"}, ("create",)
            case "log":
                yield name, own, ("get",)
            case "finalize":
                yield name, own, ("update",)


def _aggregated_resource(resource: Resource, version: Version) -> Json:
    found: Json = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": version.name, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(VERBS),
    }
    if resource.short_names:
        found["shortNames"] = list(resource.short_names)
    if resource.categories:
        found["categories"] = list(resource.categories)
    subs = [
        {"subresource": name, "responseKind": kind, "verbs": list(verbs)}
        for name, kind, verbs in _subresources(resource, version)
    ]
    if subs:
        found["subresources"] = subs
    return found


def aggregated(scheme: Scheme, *, core: bool, level: str) -> Json:
    """APIGroupDiscoveryList for /api (core) or /apis; ``level`` is v2 or v2beta1."""
    items = []
    for group, versions in scheme.groups().items():
        if (group == "") is not core:
            continue
        listed = [
            {
                "version": version,
                "resources": [_aggregated_resource(r, v) for r, v in scheme.in_version(group, version)],
                "freshness": "Current",
            }
            for version in versions
        ]
        metadata = {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None}
        items.append({"metadata": metadata, "versions": listed})
    if not core:
        items += [_review_group(group) for group in sorted({g for g, _, _ in REVIEWS})]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{level}",
        "metadata": {},
        "items": items,
    }


def _review_group(group: str) -> Json:
    resources = [
        {
            "resource": plural,
            "responseKind": {"group": group, "version": "v1", "kind": kind},
            "scope": "Cluster",
            "singularResource": kind.lower(),
            "verbs": ["create"],
        }
        for g, kind, plural in REVIEWS
        if g == group
    ]
    versions = [{"version": "v1", "resources": resources, "freshness": "Current"}]
    return {"metadata": {"name": group, "creationTimestamp": None}, "versions": versions}


def api_versions(host: str) -> Json:
    """Answer to /api in the older form."""
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def _group(name: str, versions: list[str]) -> Json:
    listed = [{"groupVersion": f"{name}/{v}", "version": v} for v in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def group_list(scheme: Scheme) -> Json:
    """Answer to /apis in the older form."""
    groups = [_group(name, versions) for name, versions in scheme.groups().items() if name]
    groups += [_group(name, ["v1"]) for name in sorted({g for g, _, _ in REVIEWS})]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(scheme: Scheme, name: str) -> Json | None:
    """Answer to /apis/GROUP; None when there is no such group."""
    versions = scheme.groups().get(name) or (["v1"] if any(g == name for g, _, _ in REVIEWS) else None)
    if not name or versions is None:
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def resource_list(scheme: Scheme, group_name: str, version: str) -> Json | None:
    """APIResourceList of one group and version; None when it is not served."""
    listed: list[Json] = []
    for resource, served in scheme.in_version(group_name, version):
        entry: Json = {
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": list(VERBS),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        listed.append(entry)
        for name, kind, verbs in _subresources(resource, served):
            sub: Json = {
                "name": f"{resource.plural}/{name}",
                "singularName": "",
                "namespaced": resource.namespaced,
            }
            sub |= {"kind": kind["kind"], "verbs": list(verbs)}
            if name in ("scale", "eviction"):
                sub |= {"group": kind["group"], "version": kind["version"]}
            listed.append(sub)
    for review_group, kind_name, plural in REVIEWS:
        if (review_group, "v1") == (group_name, version):
            entry = {
                "name": plural,
                "singularName": kind_name.lower(),
                "namespaced": False,
                "kind": kind_name,
            }
            listed.append({**entry, "verbs": ["create"]})
    if not listed:
        return None
    whole = f"{group_name}/{version}" if group_name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": whole, "resources": listed}
