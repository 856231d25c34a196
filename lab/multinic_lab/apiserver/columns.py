"""The columns and cells of built-in kinds, and ages as kubectl shows them.

Source: what ``kubectl get`` prints for these kinds on any cluster.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from .errors import Json

Cells = Callable[[Json], list[Any]]
NAME: Json = {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}


def _column(name: str, kind: str = "string", priority: int = 0) -> Json:
    return {"name": name, "type": kind, "format": "", "description": "", "priority": priority}


def age(timestamp: Any) -> str:
    """Time since a timestamp as kubectl shows it (``5s``, ``3m2s``, ``4h``, ``2d``)."""
    if not timestamp:
        return "<unknown>"
    try:
        then = datetime.fromisoformat(str(timestamp))
    except ValueError:
        return "<invalid>"
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return duration(int((datetime.now(UTC) - then).total_seconds()))


def duration(seconds: int) -> str:
    """A span in the two largest fitting units, coarser the longer it is."""
    seconds = max(seconds, 0)
    if seconds < 120:
        return f"{seconds}s"
    minutes = seconds // 60
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d" if days < 730 else f"{days // 365}y"


def _age(obj: Json) -> str:
    return age(obj["metadata"].get("creationTimestamp"))


def _pod(pod: Json) -> list[Any]:
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    states = status.get("containerStatuses") or []
    ready = sum(bool(s.get("ready")) for s in states)
    word = status.get("reason") or status.get("phase") or "Unknown"
    for state in states:
        inner = state.get("state") or {}
        for name in ("waiting", "terminated"):
            if (inner.get(name) or {}).get("reason"):
                word = inner[name]["reason"]
    if "deletionTimestamp" in pod["metadata"]:
        word = "Terminating"
    restarts = sum(s.get("restartCount", 0) for s in states)
    row = [
        pod["metadata"]["name"],
        f"{ready}/{len(spec.get('containers') or ())}",
        word,
        str(restarts),
        _age(pod),
    ]
    none = "<none>"
    return [
        *row,
        status.get("podIP") or none,
        spec.get("nodeName") or none,
        status.get("nominatedNodeName") or none,
        none,
    ]


def _node(node: Json) -> list[Any]:
    status, labels = node.get("status") or {}, node["metadata"].get("labels") or {}
    ready = next((c.get("status") for c in status.get("conditions") or () if c.get("type") == "Ready"), None)
    word = {"True": "Ready", "False": "NotReady"}.get(str(ready), "Unknown")
    if (node.get("spec") or {}).get("unschedulable"):
        word += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = ",".join(sorted(k.removeprefix(prefix) for k in labels if k.startswith(prefix))) or "<none>"
    info = status.get("nodeInfo") or {}
    addresses = {a.get("type"): a.get("address") for a in status.get("addresses") or ()}
    row = [node["metadata"]["name"], word, roles, _age(node), info.get("kubeletVersion", "")]
    row += [addresses.get("InternalIP", "<none>"), addresses.get("ExternalIP", "<none>")]
    unknown = "<unknown>"
    row += [info.get("osImage") or unknown, info.get("kernelVersion") or unknown]
    return [*row, info.get("containerRuntimeVersion") or unknown]


def _event(event: Json) -> list[Any]:
    about = event.get("involvedObject") or event.get("regarding") or {}
    last = event.get("lastTimestamp") or (event.get("series") or {}).get("lastObservedTime")
    last = last or event.get("eventTime") or event["metadata"].get("creationTimestamp")
    source = (event.get("source") or {}).get("component") or event.get("reportingComponent") or ""
    source = source or event.get("reportingController") or ""
    message = str(event.get("message") or event.get("note") or "").strip()
    what = f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"
    count = event.get("count") or (event.get("series") or {}).get("count") or 1
    first = age(event.get("firstTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp"))
    row = [
        age(last),
        event.get("type", ""),
        event.get("reason", ""),
        what,
        about.get("fieldPath", ""),
        source,
    ]
    return [*row, message, first, count, event["metadata"]["name"]]


def _service(service: Json) -> list[Any]:
    spec = service.get("spec") or {}
    ports = ",".join(
        f"{p.get('port')}" + (f":{p['nodePort']}" if p.get("nodePort") else "") + f"/{p.get('protocol', 'TCP')}"
        for p in spec.get("ports") or ()
    )
    selector = ",".join(f"{k}={v}" for k, v in (spec.get("selector") or {}).items())
    external = ",".join(spec.get("externalIPs") or ()) or spec.get("externalName") or "<none>"
    row = [service["metadata"]["name"], spec.get("type", ""), spec.get("clusterIP") or "<none>", external]
    return [*row, ports or "<none>", _age(service), selector or "<none>"]


def _templates(workload: Json) -> list[str]:
    """Containers, images and selector of a workload, joined."""
    spec = workload["spec"]
    containers = ((spec.get("template") or {}).get("spec") or {}).get("containers") or []
    labels = (spec.get("selector") or {}).get("matchLabels") or {}
    joined = [",".join(str(c.get(k, "")) for c in containers) for k in ("name", "image")]
    return [*joined, ",".join(f"{k}={v}" for k, v in labels.items()) or "<none>"]


def _daemonset(obj: Json) -> list[Any]:
    status = obj.get("status") or {}
    names = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady")
    names += ("updatedNumberScheduled", "numberAvailable")  # type: ignore[assignment]
    counts = [status.get(n, 0) for n in names]
    chosen = ((obj["spec"].get("template") or {}).get("spec") or {}).get("nodeSelector") or {}
    selector = ",".join(f"{k}={v}" for k, v in chosen.items()) or "<none>"
    return [obj["metadata"]["name"], *counts, selector, _age(obj), *_templates(obj)]


def _deployment(obj: Json) -> list[Any]:
    status, wanted = obj.get("status") or {}, obj["spec"].get("replicas", 1)
    ready = f"{status.get('readyReplicas', 0)}/{wanted}"
    counts = [status.get("updatedReplicas", 0), status.get("availableReplicas", 0)]
    return [obj["metadata"]["name"], ready, *counts, _age(obj), *_templates(obj)]


def _replicaset(obj: Json) -> list[Any]:
    status = obj.get("status") or {}
    counts = [obj["spec"].get("replicas", 1), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [obj["metadata"]["name"], *counts, _age(obj), *_templates(obj)]


def _statefulset(obj: Json) -> list[Any]:
    ready = f"{(obj.get('status') or {}).get('readyReplicas', 0)}/{obj['spec'].get('replicas', 1)}"
    return [obj["metadata"]["name"], ready, _age(obj), *_templates(obj)[:2]]


def _columns(text: str) -> list[Json]:
    """Columns from a short spelling: ``Name:type``, a leading ``+`` for those shown only by ``-o wide``."""
    found = []
    for part in text.split("|"):
        name, _, kind = part.lstrip("+").partition(":")
        found.append(NAME if name == "Name" else _column(name, kind or "string", int(part.startswith("+"))))
    return found


_WORKLOAD = "+Containers|+Images|+Selector"
_EVENT_COLUMNS = "Last Seen|Type|Reason|Object|+Subobject|+Source|Message|+First Seen|+Count:integer|+Name"
BUILTIN_COLUMNS: dict[tuple[str, str], tuple[list[Json], Cells]] = {
    ("", "pods"): (
        _columns("Name|Ready|Status|Restarts|Age|+IP|+Node|+Nominated Node|+Readiness Gates"),
        _pod,
    ),
    ("", "nodes"): (
        _columns(
            "Name|Status|Roles|Age|Version|+Internal-IP|+External-IP|+OS-Image|+Kernel-Version|+Container-Runtime"
        ),
        _node,
    ),
    ("", "namespaces"): (
        _columns("Name|Status|Age"),
        lambda o: [o["metadata"]["name"], (o.get("status") or {}).get("phase", ""), _age(o)],
    ),
    ("", "events"): (_columns(_EVENT_COLUMNS), _event),
    ("events.k8s.io", "events"): (_columns(_EVENT_COLUMNS), _event),
    ("", "configmaps"): (
        _columns("Name|Data:integer|Age"),
        lambda o: [o["metadata"]["name"], len(o.get("data") or {}) + len(o.get("binaryData") or {}), _age(o)],
    ),
    ("", "secrets"): (
        _columns("Name|Type|Data:integer|Age"),
        lambda o: [o["metadata"]["name"], o.get("type", ""), len(o.get("data") or {}), _age(o)],
    ),
    ("", "services"): (_columns("Name|Type|Cluster-IP|External-IP|Port(s)|Age|+Selector"), _service),
    ("apps", "daemonsets"): (
        _columns(
            "Name|Desired:integer|Current:integer|Ready:integer|Up-to-date:integer|Available:integer|Node Selector|Age|"
            + _WORKLOAD
        ),
        _daemonset,
    ),
    ("apps", "deployments"): (
        _columns("Name|Ready|Up-to-date:integer|Available:integer|Age|" + _WORKLOAD),
        _deployment,
    ),
    ("apps", "replicasets"): (
        _columns("Name|Desired:integer|Current:integer|Ready:integer|Age|" + _WORKLOAD),
        _replicaset,
    ),
    ("apps", "statefulsets"): (_columns("Name|Ready|Age|+Containers|+Images"), _statefulset),
    ("coordination.k8s.io", "leases"): (
        _columns("Name|Holder|Age"),
        lambda o: [o["metadata"]["name"], (o.get("spec") or {}).get("holderIdentity") or "", _age(o)],
    ),
    ("apiextensions.k8s.io", "customresourcedefinitions"): (
        _columns("Name|Created At"),
        lambda o: [o["metadata"]["name"], o["metadata"].get("creationTimestamp", "")],
    ),
    ("rbac.authorization.k8s.io", "rolebindings"): (
        _columns("Name|Role|Age"),
        lambda o: [o["metadata"]["name"], f"{o['roleRef'].get('kind')}/{o['roleRef'].get('name')}", _age(o)],
    ),
    ("rbac.authorization.k8s.io", "clusterrolebindings"): (
        _columns("Name|Role|Age"),
        lambda o: [o["metadata"]["name"], f"{o['roleRef'].get('kind')}/{o['roleRef'].get('name')}", _age(o)],
    ),
}
PLAIN: tuple[list[Json], Cells] = (_columns("Name|Age"), lambda o: [o["metadata"]["name"], _age(o)])
