"""What single built-in kinds need beyond their shape: defaults, state at birth, fields that must not change.

Each function takes the object in its own version and changes it in place; kinds not mentioned need nothing. Only what a
client can notice is filled in; this server schedules and runs nothing.
Source: Kubernetes API reference, per kind.
"""

from base64 import b64encode
from typing import Any

from . import cel
from .errors import FieldError, Json
from .store import clone

_CONTAINER_DEFAULTS = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
_POD_DEFAULTS = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "enableServiceLinks": True,
}
_WORKLOADS = ("daemonset", "deployment", "replicaset", "statefulset")
_KEEPS_STATUS = frozenset({("", "nodes"), ("", "services")})
"""Kinds whose status a creator may set (a kubelet registers its node with one)."""

_NEEDS_SPEC = frozenset({("", "pods"), ("", "services")} | {("apps", f"{k}s") for k in _WORKLOADS})


def born(group: str, plural: str, obj: Json, revision: int) -> None:
    """State of a new object of a built-in kind. ``revision`` seeds addresses that must differ."""
    if (group, plural) not in _KEEPS_STATUS:
        obj.pop("status", None)
    match group, plural:
        case "", "pods":
            obj["status"] = {"phase": "Pending", "qosClass": _qos(obj)}
        case "", "namespaces":
            obj["spec"] = {"finalizers": ["kubernetes"]}
            obj["status"] = {"phase": "Active"}
            obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"]["name"]
        case "", "services":
            obj["status"] = {"loadBalancer": {}}
            spec = obj["spec"]
            if spec.get("type") != "ExternalName" and not spec.get("clusterIP"):
                spec["clusterIP"] = f"10.96.{revision // 254 % 254}.{revision % 254 + 1}"
            if spec.get("clusterIP"):
                spec.setdefault("clusterIPs", [spec["clusterIP"]])
        case "apps", "daemonsets":
            counts = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
            obj["status"] = dict.fromkeys(counts, 0)
        case "apps", "deployments":
            obj["status"] = {}
        case "apps", "replicasets":
            obj["status"] = {"replicas": 0}
        case "apps", "statefulsets":
            obj["status"] = {"replicas": 0, "availableReplicas": 0}


def fill(group: str, plural: str, obj: Json) -> None:
    """Defaults of a built-in kind, on create and on every update."""
    spec = obj.get("spec")
    match group, plural:
        case "", "pods" if isinstance(spec, dict):
            _fill_pod(spec)
        case "", "secrets":
            obj.setdefault("type", "Opaque")
            if isinstance(plain := obj.pop("stringData", None), dict):
                data = obj.setdefault("data", {})
                data.update({k: b64encode(str(v).encode()).decode() for k, v in plain.items()})
        case "", "services" if isinstance(spec, dict):
            spec.setdefault("type", "ClusterIP")
            spec.setdefault("sessionAffinity", "None")
            for port in spec.get("ports") or ():
                port.setdefault("protocol", "TCP")
                port.setdefault("targetPort", port.get("port"))
        case "apps", _ if isinstance(spec, dict):
            _fill_workload(plural, spec)
        case "apiextensions.k8s.io", "customresourcedefinitions" if isinstance(spec, dict):
            names = spec.get("names")
            if isinstance(names, dict) and names.get("kind"):
                names.setdefault("singular", names["kind"].lower())
                names.setdefault("listKind", f"{names['kind']}List")
            spec.setdefault("conversion", {"strategy": "None"})


def _fill_pod(spec: Json) -> None:
    for name, value in _POD_DEFAULTS.items():
        spec.setdefault(name, value)
    spec.setdefault("securityContext", {})
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        if not isinstance(container, dict):
            continue
        for name, value in _CONTAINER_DEFAULTS.items():
            container.setdefault(name, value)
        container.setdefault("resources", {})
        _, _, tag = str(container.get("image", "")).rpartition("/")[2].partition(":")
        container.setdefault("imagePullPolicy", "Always" if tag in ("", "latest") else "IfNotPresent")
        for port in container.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _fill_workload(plural: str, spec: Json) -> None:
    template = spec.get("template")
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        _fill_pod(template["spec"])
    rolling: dict[str, Any] = {"maxUnavailable": 1, "maxSurge": 0}
    match plural:
        case "daemonsets":
            spec.setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": rolling})
            spec.setdefault("revisionHistoryLimit", 10)
        case "deployments":
            spec.setdefault("replicas", 1)
            quarter = {"maxUnavailable": "25%", "maxSurge": "25%"}
            spec.setdefault("strategy", {"type": "RollingUpdate", "rollingUpdate": quarter})
            spec.setdefault("revisionHistoryLimit", 10)
            spec.setdefault("progressDeadlineSeconds", 600)
        case "replicasets":
            spec.setdefault("replicas", 1)
        case "statefulsets":
            spec.setdefault("replicas", 1)
            spec.setdefault("podManagementPolicy", "OrderedReady")
            spec.setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})


def _qos(pod: Json) -> str:
    resources = [c.get("resources") or {} for c in pod["spec"].get("containers") or ()]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    if all(r.get("limits") and (r.get("requests") or r["limits"]) == r["limits"] for r in resources):
        return "Guaranteed"
    return "Burstable"


def check(group: str, plural: str, obj: Json) -> list[FieldError]:
    """Errors of a built-in kind that its shape alone does not show."""
    if (group, plural) in _NEEDS_SPEC and not obj.get("spec"):
        return [FieldError("spec", "Required value")]
    match group, plural:
        case "", "pods":
            return [] if obj["spec"].get("containers") else [FieldError("spec.containers", "Required value")]
        case "apps", "daemonsets" | "deployments" | "replicasets" | "statefulsets":
            wanted = (obj["spec"].get("selector") or {}).get("matchLabels") or {}
            labels = (obj["spec"]["template"].get("metadata") or {}).get("labels") or {}
            if any(labels.get(k) != v for k, v in wanted.items()):
                detail = "`selector` does not match template `labels`"
                return [FieldError("spec.template.metadata.labels", "Invalid value", labels, detail)]
        case "apiextensions.k8s.io", "customresourcedefinitions":
            return _check_crd(obj)
    return []


def _check_crd(obj: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    spec, name = obj["spec"], obj["metadata"].get("name", "")
    wanted = f"{spec['names'].get('plural')}.{spec.get('group')}"
    if name != wanted:
        detail = f'must be spec.names.plural+"."+spec.group: {wanted!r}'
        errors.append(FieldError("metadata.name", "Invalid value", name, detail))
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        listed = 'supported values: "Cluster", "Namespaced"'
        errors.append(FieldError("spec.scope", "Unsupported value", spec.get("scope"), listed))
    versions = spec.get("versions") or []
    if sum(bool(v.get("storage")) for v in versions) != 1:
        detail = "must have exactly one version marked as storage version"
        errors.append(FieldError("spec.versions", "Invalid value", [v.get("name") for v in versions], detail))
    for index, version in enumerate(versions):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        path = f"spec.versions[{index}].schema.openAPIV3Schema"
        if schema is None:
            errors.append(FieldError(path, "Required value", detail="schemas are required"))
        elif schema.get("type") != "object":
            errors.append(
                FieldError(f"{path}.type", "Invalid value", schema.get("type", ""), "must be object at the root")
            )
        else:
            errors += _check_structural(schema, path)
    return errors


def _check_structural(schema: Any, path: str) -> list[FieldError]:
    """The rules of a structural schema that people trip over."""
    if not isinstance(schema, dict):
        return []
    errors = cel.check_rules(schema, path)
    free = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-int-or-string")
    if not schema.get("type") and not free:
        errors.append(
            FieldError(f"{path}.type", "Required value", detail="must not be empty for specified object fields")
        )
    if schema.get("properties") and isinstance(schema.get("additionalProperties"), dict):
        errors.append(
            FieldError(f"{path}.additionalProperties", "Forbidden", detail="must not be used with properties")
        )
    if schema.get("type") == "array" and not isinstance(schema.get("items"), dict):
        errors.append(FieldError(f"{path}.items", "Required value", detail="must be specified"))
    if schema.get("$ref"):
        errors.append(FieldError(f"{path}.$ref", "Forbidden", detail="$ref is not supported"))
    for name, sub in (schema.get("properties") or {}).items():
        if path.endswith("openAPIV3Schema") and name == "metadata":
            continue
        errors += _check_structural(sub, f"{path}.properties[{name}]")
    errors += _check_structural(schema.get("items"), f"{path}.items")
    errors += _check_structural(schema.get("additionalProperties"), f"{path}.additionalProperties")
    return errors


def check_update(group: str, plural: str, old: Json, new: Json) -> list[FieldError]:
    """Errors in how a built-in kind was changed."""
    match group, plural:
        case "", "pods":
            if _fixed(old) != _fixed(new):
                words = (
                    "pod updates may not change fields other than `spec.containers[*].image`, "
                    "`spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations` (only additions "
                    "to existing tolerations), `spec.terminationGracePeriodSeconds`"
                )
                return [FieldError("spec", "Forbidden", detail=words)]
        case "apps", "daemonsets" | "deployments" | "replicasets" | "statefulsets":
            if old["spec"].get("selector") != new["spec"].get("selector"):
                return [FieldError("spec.selector", "Invalid value", new["spec"].get("selector"), "field is immutable")]
        case "", "configmaps" | "secrets":
            if old.get("immutable") and any(old.get(f) != new.get(f) for f in ("data", "binaryData", "immutable")):
                return [FieldError("data", "Forbidden", detail="field is immutable when `immutable` is set")]
        case "apiextensions.k8s.io", "customresourcedefinitions":
            if old["spec"]["scope"] != new["spec"].get("scope"):
                return [FieldError("spec.scope", "Invalid value", new["spec"].get("scope"), "field is immutable")]
    return []


def _fixed(pod: Json) -> Json:
    spec: Json = clone(pod["spec"])
    for name in (
        "activeDeadlineSeconds",
        "tolerations",
        "terminationGracePeriodSeconds",
        "ephemeralContainers",
    ):
        spec.pop(name, None)
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        container.pop("image", None)
        container.pop("imagePullPolicy", None)
    return spec
