"""MultiNicNetwork: the one object a user writes."""

from __future__ import annotations

import json
from collections.abc import Container
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationError

from multinic_core.bandwidth import PATTERN as TARGET_PATTERN
from multinic_core.errors import ConfigError
from multinic_core.model import rules
from multinic_core.model.base import (
    GROUP,
    VERSION,
    Condition,
    JsonModel,
    KubeObject,
    PrinterColumn,
    Resource,
)

MULTI_NIC_IPAM = "multi-nic-ipam"
"""``ipam.type`` of the built-in IPAM, which gives one address per NIC out of computed pools."""
HOST_DEVICE_IPAM = "host-device-ipam"
"""``ipam.type`` of networks whose pods keep the address of the device that they get."""
CIDR_PATTERN = r"[0-9a-fA-F.:]+/(0|[1-9][0-9]{0,2})"
"""Loose: tells a network from a name; what it means is checked by rules and where the blocks are computed."""
NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
"""Of plugins, strategies and executables: never a path."""


class Dns(JsonModel):
    """DNS settings in the CNI shape; accepted and passed on."""

    nameservers: (
        list[Annotated[str, Field(json_schema_extra=rules.checked(*rules.NAMESERVER_RULES, maxLength=64))]] | None
    ) = Field(default=None, json_schema_extra=rules.checked(maxItems=16))
    domain: str | None = None
    search: list[str] | None = None
    options: list[str] | None = None


class PluginSpec(JsonModel):
    """The CNI main plugin that makes the pod's links, and its arguments."""

    cni_version: str = Field(
        json_schema_extra=rules.checked(pattern=r"^(0\.[1-4]|1\.[0-9]{1,2})\.[0-9]{1,2}$", maxLength=16)
    )
    """CNI version given to delegates, such as ``0.3.0`` or ``1.1.0``."""
    type: str = Field(min_length=1, json_schema_extra=rules.checked(pattern=NAME_PATTERN, maxLength=63))
    """Name of a main plugin, such as ``ipvlan`` or ``macvlan``."""
    capabilities: dict[str, bool] | None = None
    """CNI capabilities, such as ``{"mac": true}``: what a pod asks of them the runtime passes on."""
    dns: Dns | None = None
    args: dict[str, str] | None = Field(default=None, json_schema_extra=rules.checked(maxProperties=64))
    """Arguments of the main plugin; all values are strings."""


class AttachPolicy(JsonModel):
    """How the NICs of a pod are chosen."""

    strategy: str = Field(min_length=1, json_schema_extra=rules.checked(pattern=NAME_PATTERN, maxLength=63))
    """Name of an attachment strategy: ``none``, ``devClass``, ``topology``, ``costOpt``, ``perfOpt`` or a plugin's."""
    target: str | None = Field(default=None, pattern=TARGET_PATTERN)
    """Bandwidth wanted, such as ``10Gbps``; with ``besteffort`` behind it nothing is promised."""
    args: dict[str, str] | None = Field(default=None, json_schema_extra=rules.checked(maxProperties=32))
    """Arguments of the strategy; all values are strings."""


class MultiNicNetworkSpec(JsonModel):
    model_config = ConfigDict(json_schema_extra=rules.checked(*rules.SPEC_RULES))

    subnet: str | None = Field(
        default=None,
        pattern=f"^({CIDR_PATTERN}(\\s*,\\s*{CIDR_PATTERN})?)?$",
        json_schema_extra=rules.checked(*rules.SUBNET_RULES, maxLength=2 * rules.NETWORK_LENGTH),
    )
    """Pod subnet of the whole network in CIDR form.

    Empty: the NICs' own subnets.
    """
    master_nets: (
        list[
            Annotated[
                str,
                Field(
                    pattern=f"^{CIDR_PATTERN}$",
                    json_schema_extra=rules.checked(*rules.NETWORK_RULES, maxLength=rules.NETWORK_LENGTH),
                ),
            ]
        ]
        | None
    ) = Field(default=None, json_schema_extra=rules.checked(*rules.MASTER_NETS_RULES, maxItems=rules.NETWORKS))
    """Networks of the NICs that form the pool, in the order of their interface indexes; empty: all discovered."""
    ipam: str = Field(json_schema_extra=rules.checked(*rules.IPAM_RULES, maxLength=rules.TEXT_LENGTH))
    """IPAM block of the netconf, as JSON text."""
    multi_nic_ipam: bool | None = Field(default=None, alias="multiNICIPAM")
    """True: the IPAM gives one address per NIC in one call. False: it is called once per NIC."""
    plugin: PluginSpec
    attach_policy: AttachPolicy | None = None
    namespaces: (
        list[
            Annotated[
                str,
                Field(
                    json_schema_extra=rules.checked(
                        pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", minLength=1, maxLength=63
                    )
                ),
            ]
        ]
        | None
    ) = None
    """Namespaces that get a NetworkAttachmentDefinition; empty: all."""


class NetStatus(JsonModel):
    net_address: str
    """Network of the NICs."""
    num_of_hosts: int
    """Nodes that have a pool on this network."""


class DiscoveryStatus(JsonModel):
    exist_daemon: int
    """Daemons that report."""
    info_available: int
    """HostInterfaces with at least one interface."""
    cidr_processed: int
    """Most nodes on one interface network of the CIDR."""


ConfigStatusWord = Literal["WaitForConfig", "Success", "Failed"]
RouteStatusWord = Literal["N/A", "WaitForRoutes", "Unknown", "Success", "Failed"]


class MultiNicNetworkStatus(JsonModel):
    compute_results: list[NetStatus] = Field(default_factory=list)
    """Nodes per interface network."""
    discovery: DiscoveryStatus | None = None
    config_status: ConfigStatusWord | None = None
    """Whether the attachment definitions and address blocks are written."""
    route_status: RouteStatusWord | None = None
    """Whether the nodes' host routes are in place, as the daemons report."""
    message: str | None = None
    """What is wrong, or empty."""
    last_sync_time: str | None = None
    """RFC 3339 time of the last status write."""
    conditions: list[Condition] = Field(default_factory=list)
    """Ready, Discovered, Configured, RoutesReady, CapacityLow."""


class MultiNicNetwork(KubeObject):
    """One network over the secondary NICs of every node, offered to pods by one annotation."""

    api_version: str = f"{GROUP}/{VERSION}"
    kind: str = "MultiNicNetwork"
    spec: MultiNicNetworkSpec
    status: MultiNicNetworkStatus | None = None


class IpamRoute(JsonModel):
    dst: str
    gw: str | None = None


class MultiNicIpamConfig(JsonModel):
    """What operator and daemons read of the ``ipam`` block where addresses come from computed pools.

    Further keys of the block are those of an IPAM that a plugin offers.
    """

    type: str
    host_block: int = Field(default=0, ge=0, le=127, strict=True)
    """Bits that number the nodes within an interface block."""
    interface_block: int = Field(default=0, ge=0, le=127, strict=True)
    """Bits that number the NIC networks within the subnet."""
    exclude_cidrs: list[str] = Field(default_factory=list, alias="excludeCIDRs")
    """Networks or addresses never given to pods."""
    vlan_mode: Literal["", "l2", "l3", "l3s"] = ""
    """``l3`` and ``l3s``: nodes reach each other's pools by host routes."""
    routes: list[IpamRoute] = Field(default_factory=list)
    dns: Dns | None = None

    @property
    def is_l3(self) -> bool:
        return self.vlan_mode in ("l3", "l3s")


def parse_ipam(network: MultiNicNetwork) -> dict[str, object]:
    """The IPAM block as a JSON object.

    Raises:
        ConfigError: ``spec.ipam`` is not a JSON object with a ``type``. An empty text gives ``{}``, as L2 networks
            without addresses have it.
    """
    text = network.spec.ipam.strip()
    if not text:
        return {}
    try:
        block = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"spec.ipam: not JSON at line {error.lineno} column {error.colno}: {error.msg}") from error
    if not isinstance(block, dict):
        raise ConfigError(f"spec.ipam: found a JSON {type(block).__name__}, expected an object")
    if not isinstance(block.get("type"), str) or not block["type"]:
        raise ConfigError(f"spec.ipam.type: found {block.get('type')!r}, expected the name of an IPAM")
    return block


def multi_nic_ipam_config(network: MultiNicNetwork, installed: Container[str] = ()) -> MultiNicIpamConfig | None:
    """How the network's pools are computed, or None when others give its addresses, or nobody does.

    Args:
        installed: the IPAMs that give addresses of pools beside the built-in one, such as those of a registry.

    Raises:
        ConfigError: ``spec.ipam`` is not valid; each problem with its field path.
    """
    block = parse_ipam(network)
    if (name := block.get("type")) != MULTI_NIC_IPAM and (not name or name not in installed):
        return None
    try:
        return MultiNicIpamConfig.model_validate(block)
    except ValidationError as error:
        raise ConfigError(
            *(
                f"spec.ipam.{'.'.join(map(str, fault['loc']))}: found {fault['input']!r}: {fault['msg']}"
                for fault in error.errors()
            )
        ) from error


NETWORKS = Resource(
    model=MultiNicNetwork,
    group=GROUP,
    version=VERSION,
    kind="MultiNicNetwork",
    plural="multinicnetworks",
    namespaced=False,
    short_names=("mnn",),
    name_length=63,
    columns=(
        PrinterColumn("Subnet", "string", ".spec.subnet"),
        PrinterColumn("Plugin", "string", ".spec.plugin.type"),
        PrinterColumn("Config", "string", ".status.configStatus"),
        PrinterColumn("Routes", "string", ".status.routeStatus"),
        PrinterColumn("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
        PrinterColumn("Nodes", "integer", ".status.discovery.cidrProcessed"),
        PrinterColumn("Strategy", "string", ".spec.attachPolicy.strategy", priority=1),
        PrinterColumn("Message", "string", ".status.message", priority=1),
        PrinterColumn("Age", "date", ".metadata.creationTimestamp"),
    ),
)
