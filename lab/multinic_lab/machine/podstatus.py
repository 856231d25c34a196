"""What the kubelet stand-in writes into the API: Node, Pod status and Event documents. Pure, JSON types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multinic_core.model import Pod
from multinic_lab.machine.spec import NodeSpec

VERSION = "v1.33.0"
"""The kubelet version that nodes report."""
COMPONENT = "kubelet"


def node_document(node: NodeSpec) -> dict[str, Any]:
    """The Node as a kubelet registers it."""
    labels = {"kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux", "multinic-lab/node": "true"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": labels}, "spec": {}}


def node_status(node: NodeSpec, boot_id: str, now: str) -> dict[str, Any]:
    """Its status: addresses of the primary NIC and condition Ready."""
    addresses = [{"type": "InternalIP", "address": str(address.ip)} for address in node.primary.addresses]
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "the lab's kubelet stand-in runs",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    info = {
        "kubeletVersion": VERSION,
        "kubeProxyVersion": "",
        "bootID": boot_id,
        "machineID": node.name,
        "systemUUID": node.name,
        "kernelVersion": "",
        "osImage": "network namespace",
        "containerRuntimeVersion": "multinic-lab://0",
        "operatingSystem": "linux",
        "architecture": "amd64",
    }
    resources = {"cpu": "8", "memory": "16Gi", "pods": "110"}
    return {
        "addresses": [*addresses, {"type": "Hostname", "address": node.name}],
        "conditions": [ready],
        "nodeInfo": info,
        "capacity": resources,
        "allocatable": resources,
    }


def running_status(pod: Pod, node: NodeSpec, container_id: str, now: str) -> dict[str, Any]:
    """Status of a pod whose networks are there; it has no pod IP, as the lab has no default network."""
    conditions = [_condition(kind, now) for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")]
    containers = [
        {
            "name": container.get("name", ""),
            "image": container.get("image", ""),
            "imageID": container.get("image", ""),
            "containerID": f"multinic-lab://{container_id}",
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": now}},
        }
        for container in pod.spec.containers
    ]
    return {
        "phase": "Running",
        "hostIP": str(node.primary.addresses[0].ip),
        "startTime": now,
        "conditions": conditions,
        "containerStatuses": containers,
    }


def _condition(kind: str, now: str) -> dict[str, Any]:
    return {"type": kind, "status": "True", "lastTransitionTime": now}


def pod_event(pod: Pod, node: str, type_: str, reason: str, message: str, now: str) -> dict[str, Any]:
    """An Event on a pod."""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{pod.name}.", "namespace": pod.namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.metadata.uid or "",
        },
        "type": type_,
        "reason": reason,
        "message": message[:1024],
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": COMPONENT, "host": node},
        "reportingComponent": COMPONENT,
        "reportingInstance": node,
    }


def describe_addresses(entries: Sequence[dict[str, Any]]) -> str:
    """Interfaces with their addresses, for an Event."""
    return ", ".join(f"{entry['interface']} {entry['ips']}" for entry in entries)
