"""The fabric: one bridge per NIC network in a namespace of its own, and nodes wired to it.

A veth pair is made with one end as a port of the bridge and the other directly in the node's namespace, so the
machine's own network namespace never sees a link. Nodes are set as a cluster's nodes are: they forward
(``ip_forward=1``, as every container network asks for) and their reverse-path filter is loose (``rp_filter=2``),
because an answer may come over another NIC than the main table names. Between nodes there is nothing but switching:
neighbours on one network find each other by ARP. All methods block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv4Interface, IPv6Interface
from typing import Literal, TypeVar

from multinic_core.errors import ConfigError
from multinic_lab.machine import links, netns
from multinic_lab.machine.layout import Layout
from multinic_lab.machine.spec import LabSpec, NicSpec, NodeSpec

T = TypeVar("T")
NicAction = Literal["up", "down", "rename", "readdress", "mtu", "remove", "add"]

_FABRIC_SYSCTLS = (
    ("net/ipv6/conf/default/accept_dad", "0"),
    # Frames between ports are switched, never handed to packet filters.
    ("net/bridge/bridge-nf-call-iptables", "0"),
    ("net/bridge/bridge-nf-call-ip6tables", "0"),
    ("net/bridge/bridge-nf-call-arptables", "0"),
)
_NODE_SYSCTLS = (
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "2"),
    ("net/ipv4/conf/default/rp_filter", "2"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/forwarding", "1"),
    ("net/ipv6/conf/default/accept_dad", "0"),
)


class Fabric:
    """The links of one lab."""

    def __init__(self, spec: LabSpec, layout: Layout) -> None:
        self.spec, self.layout = spec, layout
        self._ports = 0

    def build(self, progress: Callable[[str], None]) -> None:
        """Make the fabric's namespace and every node's. On failure the caller removes all by name."""
        netns.add(self.layout.fabric_netns, self._prepare_fabric)
        progress(f"fabric with {len(self.spec.networks)} networks")
        for node in self.spec.nodes:
            self._build_node(node)
            progress(f"{node.name} with {len(node.nics)} NICs")

    def _prepare_fabric(self) -> None:
        netns.set_sysctls(_FABRIC_SYSCTLS)
        links.loopback_up()
        for network in self.spec.networks:
            links.add_bridge(_bridge(network.index), network.bridge_addresses)

    def _build_node(self, node: NodeSpec) -> None:
        netns.add(self.layout.node_netns(node.name), _prepare_node)
        self.in_fabric(partial(self._wire, node.name, node.nics))
        self.in_node(node.name, partial(self._set_up, node))

    def _wire(self, node: str, nics: Iterable[NicSpec]) -> None:
        path = str(netns.path_of(self.layout.node_netns(node)))
        for nic in nics:
            links.add_nic(f"port{self._ports}", _bridge(nic.network), path, nic.ifname, nic.mtu)
            self._ports += 1

    def _set_up(self, node: NodeSpec) -> None:
        versions = {address.version for address in node.primary.addresses}
        bridge = [address for address in self.spec.management.bridge_addresses if address.version in versions]
        for nic in node.nics:
            gateways = [str(address.ip) for address in bridge] if nic is node.primary else []
            links.configure(nic.ifname, nic.addresses, gateways)

    def in_fabric(self, function: Callable[[], T]) -> T:
        return netns.run_in(netns.path_of(self.layout.fabric_netns), function)

    def in_node(self, node: str, function: Callable[[], T]) -> T:
        return netns.run_in(netns.path_of(self.layout.node_netns(node)), function)

    def change_nic(
        self,
        node: str,
        action: NicAction,
        ifname: str,
        *,
        new_name: str = "",
        addresses: Iterable[IPv4Interface | IPv6Interface] = (),
        mtu: int = 1500,
        network: int | None = None,
    ) -> None:
        """Do to a NIC what happens to NICs.

        Args:
            action: ``rename`` takes ``new_name``; ``readdress`` takes ``addresses``; ``mtu`` takes ``mtu``; ``add``
            takes
                ``network``, ``addresses`` and ``mtu``; the others only the name.

        Raises:
            ConfigError: no such node or network, or an argument is missing.
            KernelError: the kernel refuses, for example because there is no such NIC.
        """
        self.spec.node(node)
        addresses = tuple(addresses)
        if action == "add":
            if network not in {known.index for known in self.spec.networks}:
                raise ConfigError(f"network: {network!r} is not one of {[n.index for n in self.spec.networks]}")
            nic = NicSpec(ifname=ifname, network=network, addresses=addresses, mtu=mtu)
            self.in_fabric(partial(self._wire, node, [nic]))
            self.in_node(node, partial(links.configure, ifname, addresses))
        elif action == "rename":
            if not new_name:
                raise ConfigError("new_name: is needed to rename a NIC")
            self.in_node(node, partial(links.rename, ifname, new_name))
        elif action == "readdress":
            self.in_node(node, partial(links.readdress, ifname, addresses))
        elif action == "mtu":
            self.in_node(node, partial(links.set_mtu, ifname, mtu))
        elif action == "remove":
            self.in_node(node, partial(links.remove, ifname))
        else:
            self.in_node(node, partial(links.set_state, ifname, action))


def _bridge(index: int) -> str:
    return f"net{index}"


def _prepare_node() -> None:
    netns.set_sysctls(_NODE_SYSCTLS)
    links.loopback_up()
