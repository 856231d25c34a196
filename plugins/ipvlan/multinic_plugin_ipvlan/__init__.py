"""ipvlan: many pods share one parent NIC and its MAC address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from multinic_core import AttachmentRequest, MainPlugin, NetworkConfig, NodeView, Plan, hookimpl
from multinic_core.args import PluginArgs, read_args, read_plugin_block
from multinic_core.links import plan_child_links
from multinic_core.model import HostInterface, MultiNicNetwork

MODES = {"l2": 0, "l3": 1, "l3s": 2}
"""``mode`` to kernel value. Source: linux/if_link.h, IPVLAN_MODE_*."""
FLAGS = {"bridge": 0, "private": 1, "vepa": 2}
"""``flag`` to kernel value. Source: linux/if_link.h, IPVLAN_F_*."""

SHARED_MAC = "all ipvlan links of a NIC have its MAC address; a network of type macvlan gives each link its own"


class IpvlanArgs(PluginArgs):
    """Arguments of ipvlan."""

    mode: Literal["l2", "l3", "l3s"] = "l2"
    """``ip link add … type ipvlan mode MODE``."""
    flag: Literal["bridge", "private", "vepa"] = "bridge"
    """Whether pods on one NIC reach each other: ``ip link add … type ipvlan mode MODE FLAG``."""
    mtu: int | None = Field(default=None, ge=0, le=65535)
    """Bytes, at most the parent's; 0 or absent: the parent's. ``ip link add … mtu MTU``."""
    vlan: int | None = Field(default=None, ge=1, le=4094)
    """Links lie on the VLAN of this id of their NIC: ``ip link add link NIC name NIC.VLAN type vlan id VLAN``."""
    source_routing: bool = Field(default=False, alias="sourceRouting")
    """Replies leave through the NIC that was asked: ``ip rule add from ADDRESS lookup TABLE`` for each link."""
    rate_limit: bool = Field(default=False, alias="rateLimit")
    """A pod sends no more over a NIC than its policy promised: ``tc qdisc replace dev LINK root tbf rate RATE``."""
    master: str | None = None
    """Accepted for old manifests; the attachment policy chooses the NICs."""


class Ipvlan:
    """The main plugin ``ipvlan``."""

    name = "ipvlan"
    link_kinds = frozenset({"ipvlan"})
    args_model = IpvlanArgs

    def network_config(self, network: MultiNicNetwork, nodes: Sequence[HostInterface]) -> NetworkConfig:
        """The arguments that the user wrote, with their JSON types.

        Raises:
            ConfigError: an unknown argument, mode or flag, an ``mtu`` that is no number of bytes, or a
                ``vlan`` that is no id.
        """
        args = read_args(IpvlanArgs, network.spec.plugin.args or {})
        return NetworkConfig(args.model_dump(exclude_unset=True, by_alias=True))

    def plan(self, request: AttachmentRequest, node: NodeView) -> Plan:
        """One ipvlan link per chosen NIC.

        Raises:
            ConfigError: unknown ``mode`` or ``flag``, absent parent, ``mtu`` above the parent's, or a MAC address that
                the pod asks for.
        """
        args = read_plugin_block(IpvlanArgs, request.config)
        attributes = {"IFLA_IPVLAN_MODE": MODES[args.mode], "IFLA_IPVLAN_FLAGS": FLAGS[args.flag]}
        return plan_child_links(
            request,
            node,
            "ipvlan",
            mtu=args.mtu or None,
            vlan=args.vlan,
            attributes=attributes,
            source_routing=args.source_routing,
            rate_limit=args.rate_limit,
            arp=args.mode == "l2",  # the other modes never ask for, nor tell, a MAC address
            mac_of_parent=SHARED_MAC,
        )


@hookimpl
def multinic_register_main_plugins() -> Sequence[MainPlugin]:
    return [Ipvlan()]
