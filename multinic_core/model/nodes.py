"""HostInterface and DeviceClass: which NICs a node has, and names for kinds of NIC."""

from __future__ import annotations

from pydantic import Field

from multinic_core.model.base import GROUP, VERSION, Condition, JsonModel, KubeObject, PrinterColumn, Resource

UNMANAGED_LABEL = "multi-nic-unmanaged"
"""Label of a HostInterface, value ``true`` in any case: written by hand, never by a daemon."""


class HostInterfaceEntry(JsonModel):
    """One secondary NIC."""

    interface_name: str
    net_address: str | None = None
    """Network of the NIC in CIDR form, such as ``10.0.1.0/24``."""
    host_ip: str | None = Field(default=None, alias="hostIP")
    """Address of the node on that network."""
    secondary_ips: list[str] | None = Field(default=None, alias="secondaryIPs")
    """Further addresses of the node on that network; where it is cut into blocks no pod gets them."""
    vendor: str | None = None
    """PCI vendor id, four hex digits."""
    product: str | None = None
    """PCI device id, four hex digits."""
    pci_address: str | None = None
    """Such as ``0000:8a:00.0``."""
    speed: int | None = Field(default=None, ge=0)
    """Mbit/s; absent when it is not known. The last one known while there is no carrier."""
    numa_node: int | None = Field(default=None, ge=0)
    """Absent on machines that have no such nodes or do not tell."""
    pci_path: list[str] | None = None
    """PCI addresses of the bridges from the root port down to the NIC, without its own."""
    rdma_devices: list[str] | None = None
    """Such as ``mlx5_0``."""


class HostInterfaceSpec(JsonModel):
    host_name: str
    interfaces: list[HostInterfaceEntry]
    """Sorted by name."""


class HostInterfaceStat(JsonModel):
    """Rates of one NIC; kept for objects that carry it, never written (rates are metrics)."""

    interface_name: str | None = None
    tx_rate: int | None = None
    rx_rate: int | None = None
    tx_drop_rate: int | None = None
    rx_drop_rate: int | None = None
    last_tx: int | None = None
    last_rx: int | None = None
    last_tx_drop: int | None = None
    last_rx_drop: int | None = None
    last_timestamp: int | None = None
    count: int | None = None


class IndexClaim(JsonModel):
    """An exception: the index that one NIC has in one network, where it does not follow from the node's own."""

    network: str
    """Name of the MultiNicNetwork."""
    net_address: str = ""
    """Network of the NIC, as the CIDR writes it; empty together with ``hostIndex``."""
    interface_name: str = ""
    host_ip: str | None = Field(default=None, alias="hostIP")
    """Address of the node on that NIC, by which a NIC that was renamed is known again."""
    host_index: int | None = Field(default=None, ge=0)
    """Absent: in this network the node's own index is somebody else's and serves no NIC of this node."""


class HostInterfaceStatus(JsonModel):
    stat: list[HostInterfaceStat] | None = None
    conditions: list[Condition] | None = None
    host_index: int | None = Field(default=None, ge=0)
    """The node's index in the whole cluster, given once by the operator; it never moves while the node exists."""
    exceptions: list[IndexClaim] | None = None
    """Where in a compact network a NIC's index is not the node's; written by the operator, absent when empty."""


class HostInterface(KubeObject):
    """The secondary NICs of one node; has the name of the node and is written by its daemon."""

    api_version: str = f"{GROUP}/{VERSION}"
    kind: str = "HostInterface"
    spec: HostInterfaceSpec
    status: HostInterfaceStatus | None = None

    @property
    def unmanaged(self) -> bool:
        return (self.metadata.labels or {}).get(UNMANAGED_LABEL, "").lower() == "true"


class DeviceId(JsonModel):
    vendor: str = Field(pattern="^[0-9a-fA-F]{4}$")
    """PCI vendor id, such as ``15b3``."""
    products: list[str] = Field(default_factory=list)
    """PCI device ids; empty: all of the vendor."""


class DeviceClassSpec(JsonModel):
    ids: list[DeviceId]


class DeviceClass(KubeObject):
    """A name for NICs of certain vendors and products, for the strategy ``devClass``."""

    api_version: str = f"{GROUP}/{VERSION}"
    kind: str = "DeviceClass"
    spec: DeviceClassSpec


HOST_INTERFACES = Resource(
    model=HostInterface,
    group=GROUP,
    version=VERSION,
    kind="HostInterface",
    plural="hostinterfaces",
    namespaced=False,
    short_names=("hif",),
    columns=(
        PrinterColumn("NICs", "string", ".spec.interfaces[*].interfaceName"),
        PrinterColumn("Networks", "string", ".spec.interfaces[*].netAddress"),
        PrinterColumn("Index", "integer", ".status.hostIndex"),
        PrinterColumn("Age", "date", ".metadata.creationTimestamp"),
    ),
)

DEVICE_CLASSES = Resource(
    model=DeviceClass,
    group=GROUP,
    version=VERSION,
    kind="DeviceClass",
    plural="deviceclasses",
    namespaced=False,
    columns=(
        PrinterColumn("Vendors", "string", ".spec.ids[*].vendor"),
        PrinterColumn("Age", "date", ".metadata.creationTimestamp"),
    ),
)
