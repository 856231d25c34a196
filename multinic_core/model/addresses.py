"""CIDR and IPPool: the address blocks that the operator computes, per network and per node and NIC."""

from __future__ import annotations

from pydantic import Field

from multinic_core.model.base import GROUP, VERSION, JsonModel, KubeObject, PrinterColumn, Resource


class CIDRConfig(JsonModel):
    """The settings that the blocks were computed from."""

    name: str
    """Name of the network."""
    type: str
    """Main plugin of the network."""
    subnet: str
    master_nets: list[str]
    host_block: int
    interface_block: int
    exclude_cidrs: list[str] | None = Field(default=None, alias="excludeCIDRs")
    vlan_mode: str | None = None


class CIDRHost(JsonModel):
    """The block of one node on one NIC network."""

    host_index: int
    host_name: str
    interface_name: str
    host_ip: str = Field(alias="hostIP")
    pod_cidr: str = Field(alias="podCIDR")
    ippool: str | None = None
    """Name of the IPPool."""


class CIDREntry(JsonModel):
    """One NIC network with its interface index and the nodes on it, sorted by host index."""

    net_address: str
    interface_index: int
    vlan_cidr: str = Field(alias="vlanCIDR")
    """Interface block: the part of the subnet that belongs to this NIC network."""
    reserved: list[str] | None = None
    """Addresses of the NIC network that no pod gets, as a cloud keeps them, where the NIC network itself is cut."""
    hosts: list[CIDRHost] = Field(default_factory=list)
    """Empty in a compact CIDR."""


class CIDRSpec(JsonModel):
    config: CIDRConfig
    cidr: list[CIDREntry]
    """Sorted by interface index."""
    compact: bool | None = None
    """True: the list of nodes is left out, as it would be too long for one object; blocks follow from each node's
    ``HostInterface.status`` by arithmetic."""


class CIDR(KubeObject):
    """How the subnet of one network is cut into blocks; has the name of the network and is written by the operator."""

    api_version: str = f"{GROUP}/{VERSION}"
    kind: str = "CIDR"
    spec: CIDRSpec


class PoolAllocation(JsonModel):
    """One address held by a pod."""

    pod: str
    namespace: str
    index: int
    """Distance from the network address of the pool."""
    address: str


class IPPoolSpec(JsonModel):
    pod_cidr: str = Field(alias="podCIDR")
    """Addresses of the pool."""
    vlan_cidr: str = Field(alias="vlanCIDR")
    """Interface block around it; its prefix length is that of pod addresses."""
    net_attach_def: str
    """Name of the network."""
    host_name: str
    """Node that allocates from the pool."""
    interface_name: str
    """NIC of that node."""
    excludes: list[str]
    """Networks inside the pool that are never given."""
    allocations: list[PoolAllocation]
    """Mirror of the node's journal, for people and for adoption."""


class IPPool(KubeObject):
    """The addresses of one node on one NIC for one network."""

    api_version: str = f"{GROUP}/{VERSION}"
    kind: str = "IPPool"
    spec: IPPoolSpec


HOSTNAME_LABEL = "hostname"
"""Label of an IPPool: the node it belongs to."""
NETNAME_LABEL = "netname"
"""Label of an IPPool: the network it belongs to."""


def pool_name(network: str, pod_cidr: str) -> str:
    """Name of the IPPool of a block, such as ``multi-nic-sample-192.168.0.0-26``; colons become dashes."""
    return f"{network}-{pod_cidr}".replace("/", "-").replace(":", "-")


CIDRS = Resource(
    model=CIDR,
    group=GROUP,
    version=VERSION,
    kind="CIDR",
    plural="cidrs",
    namespaced=False,
    columns=(
        PrinterColumn("Subnet", "string", ".spec.config.subnet"),
        PrinterColumn("Mode", "string", ".spec.config.vlanMode"),
        PrinterColumn("Networks", "string", ".spec.cidr[*].netAddress", priority=1),
        PrinterColumn("Age", "date", ".metadata.creationTimestamp"),
    ),
)

IPPOOLS = Resource(
    model=IPPool,
    group=GROUP,
    version=VERSION,
    kind="IPPool",
    plural="ippools",
    namespaced=False,
    columns=(
        PrinterColumn("Network", "string", ".spec.netAttachDef"),
        PrinterColumn("Node", "string", ".spec.hostName"),
        PrinterColumn("NIC", "string", ".spec.interfaceName"),
        PrinterColumn("Pod-CIDR", "string", ".spec.podCIDR"),
        PrinterColumn("Age", "date", ".metadata.creationTimestamp"),
    ),
)
