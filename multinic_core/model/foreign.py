"""The parts that multinic reads or writes of objects that others define."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from multinic_core.model.base import JsonModel, KubeObject, Resource

GENERATED_LABEL = "multi-nic-cni-generated"
"""Label of a NetworkAttachmentDefinition, value ``true``: made by the operator."""
RESOURCE_ANNOTATION = "k8s.v1.cni.cncf.io/resourceName"
"""Annotation of a NetworkAttachmentDefinition: what a device plugin must give a pod that has it; several are joined by
commas. Source: the multi-network standard."""


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


class NodeSpec(JsonModel):
    pod_cidr: str | None = Field(default=None, alias="podCIDR")
    pod_cidrs: list[str] | None = Field(default=None, alias="podCIDRs")
    """Networks that the node's pods have their first address from; absent where the cluster's network decides alone."""


class Node(KubeObject):
    spec: NodeSpec = Field(default_factory=NodeSpec)
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


class ServiceSpec(JsonModel):
    cluster_ip: str = Field(default="", alias="clusterIP")
    cluster_ips: list[str] | None = Field(default=None, alias="clusterIPs")


class Service(KubeObject):
    spec: ServiceSpec = Field(default_factory=ServiceSpec)


class ServiceCIDRSpec(JsonModel):
    cidrs: list[str] = Field(default_factory=list)


class ServiceCIDR(KubeObject):
    """A network that Services have their addresses from; served since Kubernetes 1.33."""

    spec: ServiceCIDRSpec = Field(default_factory=ServiceCIDRSpec)


class Secret(KubeObject):
    api_version: str = "v1"
    kind: str = "Secret"
    type: str = "Opaque"
    data: dict[str, str] | None = None
    """Each value in base64."""


class WebhookConfiguration(KubeObject):
    """Which requests the API server asks a webhook about; only what differs from its author's text is written."""

    api_version: str = "admissionregistration.k8s.io/v1"
    kind: str = "ValidatingWebhookConfiguration"
    webhooks: list[dict[str, Any]] = Field(default_factory=list)


class ConfigMap(KubeObject):
    api_version: str = "v1"
    kind: str = "ConfigMap"
    data: dict[str, str] | None = None


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


CONFIG_MAPS = Resource(ConfigMap, "", "v1", "ConfigMap", "configmaps", namespaced=True)
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
SERVICES = Resource(Service, "", "v1", "Service", "services", namespaced=True)
SERVICE_CIDRS = Resource(ServiceCIDR, "networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", namespaced=False)
SECRETS = Resource(Secret, "", "v1", "Secret", "secrets", namespaced=True)
WEBHOOK_CONFIGURATIONS = Resource(
    model=WebhookConfiguration,
    group="admissionregistration.k8s.io",
    version="v1",
    kind="ValidatingWebhookConfiguration",
    plural="validatingwebhookconfigurations",
    namespaced=False,
)
