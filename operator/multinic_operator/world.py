"""What the reconcilers share: the API, the local stores, the plugins and the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from multinic_core.model import (
    ATTACHMENT_DEFINITIONS,
    CIDR,
    CIDRS,
    HOST_INTERFACES,
    IPPOOLS,
    LEASES,
    NAMESPACES,
    NETWORKS,
    NODES,
    SYSTEM_NAMESPACE,
    HostInterface,
    IPPool,
    Lease,
    MultiNicNetwork,
    Namespace,
    NetworkAttachmentDefinition,
    Node,
)
from multinic_core.ports import Kubernetes, Store
from multinic_core.registry import Registry


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class World:
    """One operator's view of the cluster."""

    kube: Kubernetes
    registry: Registry
    namespace: str
    """Namespace of the daemons' Leases."""
    now: Callable[[], datetime]
    networks: Store[MultiNicNetwork]
    cidrs: Store[CIDR]
    pools: Store[IPPool]
    definitions: Store[NetworkAttachmentDefinition]
    hosts: Store[HostInterface]
    nodes: Store[Node]
    namespaces: Store[Namespace]
    leases: Store[Lease]

    @classmethod
    def watch(
        cls,
        kube: Kubernetes,
        registry: Registry,
        *,
        namespace: str = SYSTEM_NAMESPACE,
        now: Callable[[], datetime] = utc_now,
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
        )

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
        }

    def node_names(self) -> set[str]:
        """Nodes that exist: with a Node or a HostInterface, also one that cannot be read."""
        names = {item.name for store in (self.nodes, self.hosts) for item in store.list()}
        return names | {key.name for store in (self.nodes, self.hosts) for key in store.invalid}
