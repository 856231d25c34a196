"""The kinds of the SR-IOV operator that networks need. Source: its API sriovnetwork.openshift.io/v1."""

from __future__ import annotations

from pydantic import Field

from multinic_core.clusterfacts import ForeignObject, KeptKind
from multinic_core.model import JsonModel, KubeObject, Resource

GROUP = "sriovnetwork.openshift.io"
NAMESPACE = "openshift-sriov-network-operator"
"""Where the SR-IOV operator keeps its objects, unless its node states are elsewhere."""


class SriovInterface(JsonModel):
    """One NIC that can have VFs."""

    name: str = ""
    pci_address: str = ""
    """Such as ``0000:8a:00.0``."""


class SriovNodeStatus(JsonModel):
    interfaces: list[SriovInterface] | None = None


class SriovNodeState(KubeObject):
    """What the SR-IOV operator has found on one node; has the node's name. The VFs, most of it, are left out."""

    status: SriovNodeStatus = Field(default_factory=SriovNodeStatus)


NODE_STATES = Resource(SriovNodeState, GROUP, "v1", "SriovNetworkNodeState", "sriovnetworknodestates", namespaced=True)
POLICIES = Resource(ForeignObject, GROUP, "v1", "SriovNetworkNodePolicy", "sriovnetworknodepolicies", namespaced=True)
NETWORKS = Resource(ForeignObject, GROUP, "v1", "SriovNetwork", "sriovnetworks", namespaced=True)

READS = (NODE_STATES, POLICIES)
KEEPS = (KeptKind(POLICIES, ("{network}",)), KeptKind(NETWORKS, ("{network}-net",)))
