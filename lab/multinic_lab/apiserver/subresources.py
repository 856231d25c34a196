"""Pod and scale subresources, and the questions a client may ask about itself.

Each function is given the decoded body and answers with the object to send. Status is no matter of this module: it is
an ordinary write that reaches only its half.
Source: Kubernetes API reference: Scale, Binding, Eviction, SelfSubjectAccessReview.
"""

from . import errors, jsonpath, metadata
from .errors import ApiError, FieldError, Json
from .rest import Rest
from .store import Record, clone
from .target import Options, Target


def scale_of(target: Target, record: Record) -> Json:
    """The Scale of an object."""
    paths = target.version.scale or {}
    meta = record.obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    wanted = (jsonpath.find(record.obj, paths["specReplicasPath"]) or [0])[0]
    observed = (jsonpath.find(record.obj, paths["statusReplicasPath"]) or [0])[0]
    status: Json = {"replicas": observed}
    if path := paths.get("labelSelectorPath"):
        found = jsonpath.find(record.obj, path)
        labels = ((record.obj.get("spec") or {}).get("selector") or {}) if not found else {}
        labels = labels.get("matchLabels") or {} if isinstance(labels, dict) else {}
        text = found[0] if found else ",".join(f"{k}={v}" for k, v in labels.items())
        if text:
            status["selector"] = text
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {k: meta[k] for k in kept if k in meta},
        "spec": {"replicas": wanted},
        "status": status,
    }


def rescale(rest: Rest, target: Target, scale: Json, options: Options) -> Json:
    """Set the wanted number of replicas; returns the new Scale.

    Raises:
        ApiError: 409 for a stale resourceVersion, 422 for a number that cannot be.
    """
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        error = FieldError("spec.replicas", "Invalid value", replicas, "must be greater than or equal to 0")
        raise errors.invalid("Scale", "autoscaling", target.name, [error])
    main = Target(target.resource, target.version, target.namespace, target.name)
    obj = clone(rest.get(main).view(target.api_version))
    given = (scale.get("metadata") or {}).get("resourceVersion")
    if given:
        obj["metadata"]["resourceVersion"] = given
    jsonpath.put(obj, (target.version.scale or {})["specReplicasPath"], replicas)
    record, _ = rest.update(main, obj, options)
    return scale_of(main, record)


def bind(rest: Rest, target: Target, binding: Json, options: Options) -> Json:
    """Bind a pod to a node.

    Raises:
        ApiError: 409 when it is bound already or being deleted, 422 when the target is no node.
    """
    where = binding.get("target") or {}
    if where.get("kind", "Node") != "Node" or not where.get("name"):
        error = FieldError("target.name", "Required value")
        raise errors.invalid("Binding", "", target.name, [error])
    pod = rest.get(target).obj
    if (node := pod["spec"].get("nodeName")) is not None:
        raise errors.conflict(
            "pods/binding", "", target.name, f'pod {target.name} is already assigned to node "{node}"'
        )
    if "deletionTimestamp" in pod["metadata"]:
        raise errors.conflict(
            "pods/binding", "", target.name, f"pod {target.name} is being deleted, cannot be assigned"
        )
    condition = {
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": metadata.now(),
    }

    def change(obj: Json) -> None:
        obj["spec"]["nodeName"] = where["name"]
        obj["metadata"].setdefault("annotations", {}).update((binding.get("metadata") or {}).get("annotations") or {})
        if not obj["metadata"]["annotations"]:
            del obj["metadata"]["annotations"]
        others = [c for c in obj["status"].get("conditions") or () if c.get("type") != "PodScheduled"]
        obj["status"]["conditions"] = [*others, condition]

    if not options.dry_run:
        rest.edit(target.place, change)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def evict(rest: Rest, target: Target, eviction: Json, options: Options) -> Json:
    """Delete a pod in the name of its node's drain."""
    rest.delete(target, eviction.get("deleteOptions") or {}, options)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def review(kind: str, body: Json) -> Json:
    """Answer a question about the client itself: everything is allowed to everyone here."""
    match kind:
        case "SelfSubjectAccessReview":
            status: Json = {"allowed": True, "reason": "this server allows everything"}
        case "SelfSubjectRulesReview":
            every = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            status = {"resourceRules": [every], "nonResourceRules": [], "incomplete": False}
        case "SelfSubjectReview":
            status = {"userInfo": {"username": "system:admin", "groups": ["system:masters", "system:authenticated"]}}
        case _:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
    return {**body, "status": status}
