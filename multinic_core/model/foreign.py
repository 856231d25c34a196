"""The parts that multinic reads or writes of objects that others define."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from multinic_core.model.base import JsonModel, KubeObject, Resource

GENERATED_LABEL = "multi-nic-cni-generated"
"""Label of a NetworkAttachmentDefinition, value ``true``: made by the operator."""


class NetworkAttachmentDefinitionSpec(JsonModel):
    config: str = ""
    """CNI network configuration as JSON text."""


class NetworkAttachmentDefinition(KubeObject):
    """A network that a pod can ask for by annotation. Source: k8s.cni.cncf.io/v1, the multi-network standard."""

    api_version: str = "k8s.cni.cncf.io/v1"
    kind: str = "NetworkAttachmentDefinition"
    spec: NetworkAttachmentDefinitionSpec = Field(default_factory=NetworkAttachmentDefinitionSpec)


class NamespaceStatus(JsonModel):
    phase: str = ""


class Namespace(KubeObject):
    status: NamespaceStatus = Field(default_factory=NamespaceStatus)


class NodeAddress(JsonModel):
    type: str = ""
    """``InternalIP``, ``ExternalIP``, ``Hostname``, …"""
    address: str = ""


class NodeStatus(JsonModel):
    addresses: list[NodeAddress] = Field(default_factory=list)


class Node(KubeObject):
    status: NodeStatus = Field(default_factory=NodeStatus)


class PodSpec(JsonModel):
    node_name: str = ""
    containers: list[dict[str, Any]] = Field(default_factory=list)
    volumes: list[dict[str, Any]] = Field(default_factory=list)


class PodStatus(JsonModel):
    phase: str = ""


class Pod(KubeObject):
    spec: PodSpec = Field(default_factory=PodSpec)
    status: PodStatus = Field(default_factory=PodStatus)


class DaemonSetStatus(JsonModel):
    observed_generation: int | None = None
    desired_number_scheduled: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0


class DaemonSet(KubeObject):
    api_version: str = "apps/v1"
    kind: str = "DaemonSet"
    spec: dict[str, Any] = Field(default_factory=dict)
    status: DaemonSetStatus = Field(default_factory=DaemonSetStatus)


class LeaseSpec(JsonModel):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(KubeObject):
    api_version: str = "coordination.k8s.io/v1"
    kind: str = "Lease"
    spec: LeaseSpec = Field(default_factory=LeaseSpec)


class Event(KubeObject):
    """A core/v1 Event; written whole, read by people."""

    api_version: str = "v1"
    kind: str = "Event"
    involved_object: dict[str, Any] = Field(default_factory=dict)
    reason: str = ""
    message: str = ""
    type: str = "Normal"
    count: int | None = None
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    source: dict[str, str] | None = None
    reporting_component: str = ""
    reporting_instance: str = ""


ATTACHMENT_DEFINITIONS = Resource(
    model=NetworkAttachmentDefinition,
    group="k8s.cni.cncf.io",
    version="v1",
    kind="NetworkAttachmentDefinition",
    plural="network-attachment-definitions",
    namespaced=True,
    short_names=("net-attach-def",),
)
NAMESPACES = Resource(Namespace, "", "v1", "Namespace", "namespaces", namespaced=False)
NODES = Resource(Node, "", "v1", "Node", "nodes", namespaced=False)
PODS = Resource(Pod, "", "v1", "Pod", "pods", namespaced=True)
EVENTS = Resource(Event, "", "v1", "Event", "events", namespaced=True)
DAEMONSETS = Resource(DaemonSet, "apps", "v1", "DaemonSet", "daemonsets", namespaced=True)
LEASES = Resource(Lease, "coordination.k8s.io", "v1", "Lease", "leases", namespaced=True)
