"""macvlan: many pods share one parent NIC, each with a MAC address of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from multinic_core import AttachmentRequest, MainPlugin, NetworkConfig, NodeView, Plan, hookimpl
from multinic_core.args import PluginArgs, read_args, read_plugin_block
from multinic_core.links import plan_child_links
from multinic_core.model import HostInterface, MultiNicNetwork

MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
"""``mode`` to kernel value. Source: linux/if_link.h, MACVLAN_MODE_*."""

PASSTHRU_MAC = "a link of mode passthru has the MAC address of its NIC; other modes give each link its own"


class MacvlanArgs(PluginArgs):
    """Arguments of macvlan."""

    mode: Literal["bridge", "private", "vepa", "passthru"] = "bridge"
    """``ip link add … type macvlan mode MODE``."""
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


class Macvlan:
    """The main plugin ``macvlan``."""

    name = "macvlan"
    link_kinds = frozenset({"macvlan"})
    args_model = MacvlanArgs

    def network_config(self, network: MultiNicNetwork, nodes: Sequence[HostInterface]) -> NetworkConfig:
        """The arguments that the user wrote, with their JSON types.

        Raises:
            ConfigError: an unknown argument, an unknown mode, an ``mtu`` that is no number of bytes, or a
                ``vlan`` that is no id.
        """
        args = read_args(MacvlanArgs, network.spec.plugin.args or {})
        return NetworkConfig(args.model_dump(exclude_unset=True, by_alias=True))

    def plan(self, request: AttachmentRequest, node: NodeView) -> Plan:
        """One macvlan link per chosen NIC.

        Raises:
            ConfigError: unknown ``mode``, absent parent, ``mtu`` above the parent's, or a MAC address that the link
                cannot have.
        """
        args = read_plugin_block(MacvlanArgs, request.config)
        return plan_child_links(
            request,
            node,
            "macvlan",
            mtu=args.mtu or None,
            vlan=args.vlan,
            attributes={"IFLA_MACVLAN_MODE": MODES[args.mode]},
            source_routing=args.source_routing,
            rate_limit=args.rate_limit,
            mac_of_parent=PASSTHRU_MAC if args.mode == "passthru" else "",
        )


@hookimpl
def multinic_register_main_plugins() -> Sequence[MainPlugin]:
    return [Macvlan()]
