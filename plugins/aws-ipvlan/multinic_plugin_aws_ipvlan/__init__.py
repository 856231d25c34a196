"""aws-ipvlan: ipvlan links whose addresses EC2 knows.

A VPC delivers a packet only to the elastic network interface (ENI) that has its destination for one of its private
addresses. So each address of a pod becomes a secondary private address of the ENI that is the link's NIC, before there
is a link, and is taken from it again when the link is gone (:mod:`.action`).
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Interface

from multinic_core import AttachmentRequest, MainPlugin, NetworkConfig, NodeView, Plan, hookimpl
from multinic_core.args import read_args, read_plugin_block
from multinic_core.errors import ConfigError
from multinic_core.hookspecs import Action
from multinic_core.links import plan_child_links
from multinic_core.model import HostInterface, MultiNicNetwork
from multinic_core.outside import Act
from multinic_core.plan import IPInterface, Nic
from multinic_plugin_aws_ipvlan.action import ACTION, PrivateAddress
from multinic_plugin_aws_ipvlan.args import AwsIpvlanArgs

MODES = {"l2": 0, "l3": 1, "l3s": 2}
"""``mode`` to kernel value. Source: linux/if_link.h, IPVLAN_MODE_*."""
BRIDGE = 0
"""Pods on one NIC reach each other. Source: linux/if_link.h, IPVLAN_F_*."""

RESERVED = (0, 1, 2, 3, -1)
"""Indexes of a subnet's addresses that a VPC keeps. Source: AWS, Amazon VPC User Guide, subnet CIDR blocks."""

SHARED_MAC = "a VPC drops what an elastic network interface sends from another MAC address than its own"


class AwsIpvlan:
    """The main plugin ``aws-ipvlan``."""

    name = "aws-ipvlan"
    link_kinds = frozenset({"ipvlan"})
    args_model = AwsIpvlanArgs

    def network_config(self, network: MultiNicNetwork, nodes: Sequence[HostInterface]) -> NetworkConfig:
        """The arguments that the user wrote, with their JSON types.

        Raises:
            ConfigError: an argument is unknown or does not fit, or addresses are to come from a subnet of their own.
        """
        args = read_args(AwsIpvlanArgs, network.spec.plugin.args or {})
        subnet = network.spec.subnet
        if subnet and network.spec.multi_nic_ipam:
            raise ConfigError(
                f"spec.subnet: found {subnet!r}, expected '': EC2 gives a network interface addresses of its own subnet"
                " only, from which address blocks are cut when there is no spec.subnet"
            )
        return NetworkConfig(args.model_dump(exclude_unset=True, by_alias=True), reserved_indexes=RESERVED)

    def plan(self, request: AttachmentRequest, node: NodeView) -> Plan:
        """One ipvlan link per chosen NIC, and an action for each of its addresses.

        Raises:
            ConfigError: an argument that does not fit, absent parent or one without an IPv4 address, ``mtu`` above the
                parent's, a MAC address that the pod asks for, or an address that EC2 cannot give.
        """
        args = read_plugin_block(AwsIpvlanArgs, request.config)
        links = plan_child_links(
            request,
            node,
            "ipvlan",
            mtu=args.mtu or None,
            attributes={"IFLA_IPVLAN_MODE": MODES[args.mode], "IFLA_IPVLAN_FLAGS": BRIDGE},
            source_routing=args.source_routing,
            rate_limit=args.rate_limit,
            arp=args.mode == "l2",  # the other modes never ask for, nor tell, a MAC address
            mac_of_parent=SHARED_MAC,
        )
        acts: list[Act] = []
        problems: list[str] = []
        for link in request.links:
            nic = node.nics[link.parent]
            primary = next((address for address in nic.addresses if isinstance(address, IPv4Interface)), None)
            for address in link.addresses:
                subject = f"link {link.ifname!r} on NIC {nic.ifname!r}"
                if problem := _unfit(address, nic, primary):
                    problems.append(f"{subject}: {problem}")
                    continue
                acts.append(Act(ACTION, _arguments(nic, primary, address, args.region), link.ifname))
        if problems:
            raise ConfigError(*problems)
        return Plan((*acts, *links.steps))


def _unfit(address: IPInterface, nic: Nic, primary: IPv4Interface | None) -> str:
    """Why EC2 cannot give this address to the ENI, or ""."""
    if not isinstance(address, IPv4Interface):
        return f"found address {address}, expected IPv4, which aws-ipvlan has EC2 assign"
    if primary is None:
        found = ", ".join(map(str, nic.addresses)) or "none"
        return f"the NIC's addresses are {found}, expected an IPv4 address, by which EC2 knows the network interface"
    if address.ip in {own.ip for own in nic.addresses}:
        return f"found address {address.ip}, which is one of the NIC's own; expected one that no host has"
    return ""


def _arguments(nic: Nic, primary: IPv4Interface | None, address: IPInterface, region: str | None) -> dict[str, str]:
    """What :class:`.action.PrivateAddress` needs, also when NIC and arguments are others by then."""
    assert primary is not None
    return {
        "nic": nic.ifname,
        "mac": nic.mac_address,
        "primary": str(primary.ip),
        "address": str(address.ip),
        "region": region or "",
    }


@hookimpl
def multinic_register_main_plugins() -> Sequence[MainPlugin]:
    return [AwsIpvlan()]


@hookimpl
def multinic_register_actions() -> Sequence[Action]:
    return [PrivateAddress()]
