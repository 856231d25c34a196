"""The kinds that are served from the start, and the shape in which every kind, built-in or from a CRD, is described.

A ``Resource`` is one kind under one group with all its served versions. ``Scheme`` finds it by path, and hands a
changed set of CRD resources to discovery and OpenAPI by raising ``generation``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from .errors import Json


@dataclass(frozen=True, slots=True)
class Version:
    """One served version of a kind."""

    name: str
    schema: Json | None
    """Structural schema of a CRD version; None for built-in kinds, whose schema is named by ``model``."""
    model: str = ""
    """Class name in the Kubernetes client whose fields are this kind's schema (built-in kinds only)."""
    status: bool = False
    """Whether the status subresource is split off."""
    scale: Json | None = None
    """JSONPaths of the scale subresource; None when there is none."""
    columns: tuple[Json, ...] = ()
    """additionalPrinterColumns."""
    selectable: tuple[str, ...] = ()
    """Extra field-selector paths, without the leading dot."""
    deprecated: str = ""
    """Warning sent with every answer; empty when not deprecated."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind as clients address it."""

    group: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    versions: tuple[Version, ...]
    """Served versions, preferred first."""
    storage: str
    """Version in which objects are kept."""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    list_kind: str = ""
    crd: str = ""
    """Name of the defining CustomResourceDefinition; empty for built-in kinds."""
    subresources: tuple[str, ...] = ()
    """Names beyond status and scale, like ``binding``."""
    kept_as: tuple[str, str] | None = None
    """(group, plural) of the kind among whose objects these are kept, when they are not kept by themselves."""

    def version(self, name: str) -> Version | None:
        return next((v for v in self.versions if v.name == name), None)

    def api_version(self, version: str) -> str:
        return f"{self.group}/{version}" if self.group else version

    @property
    def storage_api_version(self) -> str:
        group, _ = self.collection
        return f"{group}/{self.storage}" if group else self.storage

    @property
    def collection(self) -> tuple[str, str]:
        """(group, plural) under which the store keeps the objects."""
        return self.kept_as or (self.group, self.plural)


_SCALE: Json = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}


def _builtin(
    group: str,
    version: str,
    kind: str,
    plural: str,
    short: str = "",
    *,
    namespaced: bool = True,
    status: bool = False,
    scale: bool = False,
    categories: str = "",
    model: str = "",
    subresources: tuple[str, ...] = (),
    kept_as: tuple[str, str] | None = None,
) -> Resource:
    served = Version(
        version,
        None,
        model=model or f"V1{kind}",
        status=status,
        scale={**_SCALE, "labelSelectorPath": ".status.selector"} if scale else None,
    )
    return Resource(
        group,
        kind,
        plural,
        kind.lower(),
        namespaced,
        (served,),
        version,
        tuple(short.split()),
        tuple(categories.split()),
        f"{kind}List",
        subresources=subresources,
        kept_as=kept_as,
    )


_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"

BUILTINS: tuple[Resource, ...] = (
    _builtin("", "v1", "Namespace", "namespaces", "ns", namespaced=False, status=True, subresources=("finalize",)),
    _builtin("", "v1", "Node", "nodes", "no", namespaced=False, status=True),
    _builtin(
        "",
        "v1",
        "Pod",
        "pods",
        "po",
        status=True,
        categories="all",
        subresources=("binding", "eviction", "log"),
    ),
    _builtin("", "v1", "ConfigMap", "configmaps", "cm"),
    _builtin("", "v1", "Secret", "secrets"),
    _builtin("", "v1", "Service", "services", "svc", status=True, categories="all"),
    _builtin("", "v1", "ServiceAccount", "serviceaccounts", "sa"),
    _builtin("", "v1", "Event", "events", "ev", model="CoreV1Event"),
    _builtin("", "v1", "Endpoints", "endpoints", "ep"),
    _builtin("apps", "v1", "DaemonSet", "daemonsets", "ds", status=True, categories="all"),
    _builtin("apps", "v1", "Deployment", "deployments", "deploy", status=True, scale=True, categories="all"),
    _builtin("apps", "v1", "ReplicaSet", "replicasets", "rs", status=True, scale=True, categories="all"),
    _builtin("apps", "v1", "StatefulSet", "statefulsets", "sts", status=True, scale=True, categories="all"),
    _builtin("apps", "v1", "ControllerRevision", "controllerrevisions"),
    _builtin("batch", "v1", "Job", "jobs", status=True, categories="all"),
    _builtin("coordination.k8s.io", "v1", "Lease", "leases"),
    _builtin("events.k8s.io", "v1", "Event", "events", "ev", model="EventsV1Event", kept_as=("", "events")),
    _builtin("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "pdb", status=True),
    _builtin(_RBAC, "v1", "ClusterRole", "clusterroles", namespaced=False),
    _builtin(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False),
    _builtin(_RBAC, "v1", "Role", "roles"),
    _builtin(_RBAC, "v1", "RoleBinding", "rolebindings"),
    _builtin("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", namespaced=False),
    _builtin("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", "pc", namespaced=False),
    _builtin(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "crd crds",
        namespaced=False,
        status=True,
        categories="api-extensions",
    ),
    _builtin(
        _ADMISSION,
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        namespaced=False,
        categories="api-extensions",
    ),
    _builtin(
        _ADMISSION,
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        namespaced=False,
        categories="api-extensions",
    ),
)
"""Kinds served from the start; stored and checked for shape, with no controllers of their own unless said elsewhere."""

WITH_GENERATION = frozenset(
    {
        ("", "pods"),
        ("apps", "daemonsets"),
        ("apps", "deployments"),
        ("apps", "replicasets"),
        ("apps", "statefulsets"),
        ("batch", "jobs"),
        ("policy", "poddisruptionbudgets"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        (_ADMISSION, "validatingwebhookconfigurations"),
        (_ADMISSION, "mutatingwebhookconfigurations"),
    }
)
"""Built-in kinds whose ``metadata.generation`` is kept; the others have none."""


@dataclass(slots=True)
class Scheme:
    """All kinds served now."""

    resources: dict[tuple[str, str], Resource] = field(
        default_factory=lambda: {(r.group, r.plural): r for r in BUILTINS}
    )
    generation: int = 0
    """Rises whenever the set of served kinds or their schemas change."""

    def find(self, group: str, version: str, plural: str) -> tuple[Resource, Version] | None:
        """The kind at a path; None when it is not served."""
        resource = self.resources.get((group, plural))
        served = resource.version(version) if resource else None
        return (resource, served) if resource and served else None

    def by_kind(self, group: str, kind: str) -> Resource | None:
        return next((r for r in self.resources.values() if r.group == group and r.kind == kind), None)

    def groups(self) -> dict[str, list[str]]:
        """Group to its served versions, preferred first; the core group is ""."""
        found: dict[str, list[str]] = {}
        for resource in self.resources.values():
            names = found.setdefault(resource.group, [])
            names += [v.name for v in resource.versions if v.name not in names]
        return {group: sorted(names, key=priority) for group, names in found.items()}

    def in_version(self, group: str, version: str) -> Iterator[tuple[Resource, Version]]:
        """The kinds of one group and version, sorted by plural."""
        for _, resource in sorted(self.resources.items()):
            if resource.group == group and (served := resource.version(version)):
                yield resource, served

    def add(self, resource: Resource) -> None:
        self.resources[resource.group, resource.plural] = resource
        self.generation += 1

    def drop(self, group: str, plural: str) -> None:
        if self.resources.pop((group, plural), None):
            self.generation += 1


def priority(version: str) -> tuple[int, int, int]:
    """Sort key: v2 before v1 before v1beta2 before v1beta1 before v1alpha1; others last."""
    for rank, word in enumerate(("", "beta", "alpha")):
        head, _, tail = version[1:].partition(word) if word else (version[1:], "", "0")
        if head.isdigit() and tail.isdigit():
            return rank, -int(head), -int(tail)
    return 3, 0, 0
