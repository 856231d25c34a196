"""The DaemonSet that a Config asks for. Pure.

It has the name of the Config and the label and selector of the original's, so dashboards find the pods and a DaemonSet
of the original is replaced under its name. What a Config leaves open is filled in here; what a person adds to the
object beside our fields stays, as it is written by server-side apply.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from multinic_core.model import Config, DaemonMount
from multinic_operator.settings import log_level

FIELD_MANAGER = "multinic-operator"
SERVICE_ACCOUNT = "multinic-daemon"
APP = {"app": "multi-nicd"}
"""Selector, and label of the pods. Source: original.md, section 10."""
MANAGED = {"app.kubernetes.io/managed-by": "multinic-operator"}
"""Label of a DaemonSet that this operator made."""
APPLIED_ANNOTATION = "multinic.fms.io/applied"
"""Digest of what was applied last, so that a field which is not wanted any more is noticed."""
ORIGINAL_IMAGE = "multi-nic-cni-daemon"
"""Last part of the name of the original's image, which has none of our commands."""
PRIORITY_CLASS = "system-cluster-critical"
UNAVAILABLE = "10%"
"""Daemons replaced at once; attached pods do not notice, new ones wait for theirs."""
READY_SECONDS = 5
"""A new daemon counts as running after so long, so that a broken image stops the roll at the first nodes."""
GRACE_SECONDS = 15
RESOURCES: Mapping[str, Any] = {"requests": {"cpu": "100m", "memory": "100Mi"}}
CNI_BIN = "/opt/cni/bin"
CNI_BIN_PODPATH = "/host/opt/cni/bin"
"""The mount with which the original says in which folder of the host the runtime looks for executables."""
TABLES_PODPATH = "/opt/rt_tables"
"""A mount of the original that makes a folder on hosts without that file; our daemon has no use for it."""


def image_of(config: Config, default: str) -> str:
    """The daemon's image; ``default`` when none is named, or only the original's."""
    image = config.spec.daemon.image
    return default if image is None or runs_the_original(image) else image


def runs_the_original(image: str) -> bool:
    return image.rsplit("/", 1)[-1].split("@")[0].split(":")[0] == ORIGINAL_IMAGE


def cni_bin(config: Config) -> str:
    """Folder of the host for the executables."""
    mounts = config.spec.daemon.mounts or ()
    return next((m.hostpath for m in mounts if m.podpath.rstrip("/") == CNI_BIN_PODPATH), CNI_BIN)


def container_name(config: Config) -> str:
    """That of the Config, as the original has it, without the dots that a container may not have."""
    return config.name.replace(".", "-")[:63]


def _host(name: str, path: str, kind: str = "") -> dict[str, Any]:
    return {"name": name, "hostPath": {"path": path} | ({"type": kind} if kind else {})}


OWN_HOST_PATHS: tuple[tuple[str, str, str, str, Mapping[str, Any]], ...] = (
    ("run-multinic", "/run/multinic", "/run/multinic", "DirectoryOrCreate", {}),
    ("run-netns", "/run/netns", "/run/netns", "DirectoryOrCreate", {"mountPropagation": "HostToContainer"}),
    ("device-plugins", "/var/lib/kubelet/device-plugins", "/var/lib/kubelet/device-plugins", "DirectoryOrCreate", {}),
    ("pod-resources", "/var/lib/kubelet/pod-resources", "/var/lib/kubelet/pod-resources", "DirectoryOrCreate", {}),
    ("device-info", "/var/run/k8s.cni.cncf.io", "/var/run/k8s.cni.cncf.io", "DirectoryOrCreate", {}),
    ("sys", "/sys", "/sys", "Directory", {}),
    ("topologyd", "/run/nvidia-topologyd", "/run/nvidia-topologyd", "DirectoryOrCreate", {"readOnly": True}),
    ("etc", "/host/etc", "/etc", "Directory", {}),
    ("etc-cni", "/etc/cni", "/etc/cni", "DirectoryOrCreate", {"readOnly": True}),
    ("run-cni", "/run/cni", "/run/cni", "DirectoryOrCreate", {}),
    ("state-cni", "/var/lib/cni", "/var/lib/cni", "DirectoryOrCreate", {}),
)
"""Name, path in the container, path on the host, type of the host path, more of the mount.

The last three are where CNI executables that the daemon runs read, and keep what they gave, as if the runtime ran them.
"""


def _mounts(config: Config) -> list[DaemonMount]:
    """The Config's mounts that the daemon's container gets as they are."""
    own = {path.rstrip("/") for _, path, _, _, _ in OWN_HOST_PATHS}
    own |= {CNI_BIN_PODPATH, TABLES_PODPATH, cni_bin(config).rstrip("/")}
    return [mount for mount in config.spec.daemon.mounts or () if mount.podpath.rstrip("/") not in own]


def _env(config: Config, namespace: str) -> list[dict[str, Any]]:
    """The Config's variables and ours; ours win, as does the last of two of the same name."""
    node = {"name": "K8S_NODENAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}}
    own = [node, {"name": "OPERATOR_NAMESPACE", "value": namespace}]
    own.append({"name": "MULTINIC_IPROUTE2_DIR", "value": "/host/etc/iproute2"})
    own.append({"name": "MULTINIC_CNI_BIN", "value": cni_bin(config)})
    return list({entry.get("name"): entry for entry in [*(config.spec.daemon.env or ()), *own]}.values())


def desired_daemonset(config: Config, namespace: str, default_image: str) -> dict[str, Any]:
    """The fields that are ours, as the body of a server-side apply."""
    daemon = config.spec.daemon
    image: dict[str, Any] = {"image": image_of(config, default_image)}
    if daemon.image_pull_policy:
        image["imagePullPolicy"] = daemon.image_pull_policy
    level = log_level(config.spec)
    folder = cni_bin(config)
    container: dict[str, Any] = {
        "name": container_name(config),
        **image,
        "command": ["multinic-daemon"],
        "args": [] if level is None else [f"--log-level={level}"],
        "env": _env(config, namespace),
        "resources": daemon.resources or RESOURCES,
        "securityContext": daemon.security_context or {"privileged": True},
        "volumeMounts": [
            *({"name": name, "mountPath": path, **more} for name, path, _, _, more in OWN_HOST_PATHS),
            {"name": "cni-bin", "mountPath": folder, "readOnly": True},
            *({"name": f"config-{m.name}"[:63], "mountPath": m.podpath} for m in _mounts(config)),
        ],
    }
    if daemon.env_from:
        container["envFrom"] = daemon.env_from
    install = {
        "name": "install-cni",
        **image,
        "command": ["multinic-cni", "install", "--self-contained", "--root=/host", f"--bin-dir={folder}"],
        "resources": daemon.resources or RESOURCES,
        "securityContext": daemon.security_context or {"privileged": True},
        "volumeMounts": [{"name": "cni-bin", "mountPath": f"/host{folder}"}],
    }
    pod: dict[str, Any] = {
        "hostNetwork": True,
        "hostPID": True,
        "priorityClassName": PRIORITY_CLASS,
        "serviceAccountName": SERVICE_ACCOUNT,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "initContainers": [install],
        "containers": [container],
        "volumes": [
            _host("cni-bin", folder, "DirectoryOrCreate"),
            *(_host(name, path, kind) for name, _, path, kind, _ in OWN_HOST_PATHS),
            *(_host(f"config-{m.name}"[:63], m.hostpath) for m in _mounts(config)),
        ],
    }
    if daemon.image_pull_secret_name:
        pod["imagePullSecrets"] = [{"name": daemon.image_pull_secret_name}]
    if daemon.node_selector:
        pod["nodeSelector"] = daemon.node_selector
    if daemon.tolerations:
        pod["tolerations"] = daemon.tolerations
    spec = {
        "selector": {"matchLabels": dict(APP)},
        "minReadySeconds": READY_SECONDS,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": UNAVAILABLE}},
        "template": {"metadata": {"labels": dict(APP)}, "spec": pod},
    }
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]
    labels = {**APP, **MANAGED}
    return {"metadata": {"labels": labels, "annotations": {APPLIED_ANNOTATION: digest}}, "spec": spec}


def contains(found: Any, wanted: Any) -> bool:
    """Whether an object as the API shows it has all that is wanted of it, and perhaps more.

    Items of a list belong together by ``name`` or ``mountPath``; a list of anything else must be equal.
    """
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(contains(found.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, list) and wanted and isinstance(wanted[0], Mapping):
        for key in ("mountPath", "name"):
            if all(key in item for item in wanted):
                by_key = {item.get(key): item for item in found or ()}
                return all(contains(by_key.get(item[key]), item) for item in wanted)
    if isinstance(wanted, list | Mapping) and not wanted:
        return not found
    return bool(found == wanted)
