"""What the reconcilers share: the API, the local stores, the plugins and the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from multinic_core.model import (
    ATTACHMENT_DEFINITIONS,
    CIDR,
    CIDRS,
    CONFIGS,
    DAEMONSETS,
    HOST_INTERFACES,
    IPPOOLS,
    LEASES,
    NAMESPACES,
    NETWORKS,
    NODES,
    SYSTEM_NAMESPACE,
    Config,
    DaemonSet,
    HostInterface,
    IPPool,
    Lease,
    MultiNicNetwork,
    Namespace,
    NetworkAttachmentDefinition,
    Node,
)
from multinic_core.ports import Key, Kubernetes, Store
from multinic_core.registry import Registry
from multinic_operator.numbering.fleet import Fleet
from multinic_operator.settings import current_spec

DAEMON_IMAGE = "multinic-daemon:0.1.0"
"""What runs on the nodes when neither command line nor Config says otherwise."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class World:
    """One operator's view of the cluster."""

    kube: Kubernetes
    registry: Registry
    namespace: str
    """The operator's, of the DaemonSet and of all Leases."""
    now: Callable[[], datetime]
    networks: Store[MultiNicNetwork]
    cidrs: Store[CIDR]
    pools: Store[IPPool]
    definitions: Store[NetworkAttachmentDefinition]
    hosts: Store[HostInterface]
    nodes: Store[Node]
    namespaces: Store[Namespace]
    leases: Store[Lease]
    configs: Store[Config]
    daemonsets: Store[DaemonSet]
    fleet: Fleet = field(default_factory=Fleet)
    """Nodes and indexes, kept current by the operator's subscription to HostInterfaces."""
    daemon_image: str = DAEMON_IMAGE

    @classmethod
    def watch(
        cls,
        kube: Kubernetes,
        registry: Registry,
        *,
        namespace: str = SYSTEM_NAMESPACE,
        now: Callable[[], datetime] = utc_now,
        daemon_image: str = DAEMON_IMAGE,
    ) -> World:
        """A view on this API; its stores fill while ``kube.serve`` runs."""
        return cls(
            kube,
            registry,
            namespace,
            now,
            networks=kube.store(NETWORKS),
            cidrs=kube.store(CIDRS),
            pools=kube.store(IPPOOLS),
            definitions=kube.store(ATTACHMENT_DEFINITIONS),
            hosts=kube.store(HOST_INTERFACES),
            nodes=kube.store(NODES),
            namespaces=kube.store(NAMESPACES),
            leases=kube.store(LEASES, namespace=namespace),
            configs=kube.store(CONFIGS),
            daemonsets=kube.store(DAEMONSETS, namespace=namespace),
            daemon_image=daemon_image,
        )

    def retention_seconds(self) -> float:
        """How long the index of a node that left is kept for its return."""
        return current_spec(self.configs).index_retention_seconds

    @property
    def stores(self) -> Mapping[str, Store[Any]]:
        """Plural to store."""
        return {
            "multinicnetworks": self.networks,
            "cidrs": self.cidrs,
            "ippools": self.pools,
            "network-attachment-definitions": self.definitions,
            "hostinterfaces": self.hosts,
            "nodes": self.nodes,
            "namespaces": self.namespaces,
            "leases": self.leases,
            "configs": self.configs,
            "daemonsets": self.daemonsets,
        }

    def has_node(self, name: str) -> bool:
        """Whether there is such a Node, or may be one: also when it cannot be read, or none has been listed yet."""
        nodes = self.nodes
        return not nodes.synced or nodes.get(name) is not None or Key("", name) in nodes.invalid

    def knows_node(self, name: str) -> bool:
        """Whether there is or may be a Node or a HostInterface of this name."""
        return self.has_node(name) or self.hosts.get(name) is not None or Key("", name) in self.hosts.invalid
