"""The values that blocks are computed from: the NICs there are, what a network asks for, one entry under work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address, ip_interface, ip_network

from multinic_core.addressing import interface_block, reserved_addresses
from multinic_core.model import CIDRHost, HostInterface
from multinic_core.plan import IPNetwork
from multinic_core.pools import HeldIndexes


@lru_cache(maxsize=4096)
def _network(text: str) -> IPNetwork | None:
    """The network of a NIC, shared by all NICs on it; None when the text is no network."""
    try:
        return ip_interface(text).network
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _text(network: IPNetwork) -> str:
    return str(network)


@dataclass(frozen=True, slots=True)
class HostNic:
    """One NIC that has a network, as a HostInterface shows it."""

    host: str
    ifname: str
    network: IPNetwork
    address: str
    """IP address of the node on that network, or ""."""
    secondary: tuple[str, ...] = ()
    """Further addresses of the node on the NIC."""

    @property
    def net_address(self) -> str:
        """The network in the form that a CIDR writes."""
        return _text(self.network)

    @property
    def held(self) -> tuple[IPNetwork, ...]:
        """All addresses that the node has on the NIC, each as a network of one."""
        return tuple(ip_network(text) for text in (self.address, *self.secondary) if text)


@dataclass(frozen=True, slots=True)
class BlockRequest:
    """What a network asks of its blocks, validated."""

    name: str
    plugin: str
    """Main plugin of the network."""
    subnet: IPNetwork | None
    """None: the NIC networks themselves are cut."""
    interface_bits: int
    host_bits: int
    excludes: tuple[IPNetwork, ...] = ()
    exclude_texts: tuple[str, ...] = ()
    """The excludes as the user wrote them."""
    vlan_mode: str = ""
    master_nets: tuple[IPNetwork, ...] = ()
    """In the user's order; empty: every network that a NIC has."""
    reserved_indexes: tuple[int, ...] = ()
    """Of a NIC network's addresses, those that no pod gets where NIC networks are cut; negative ones from its end."""

    def reserved(self, network: IPNetwork) -> tuple[IPNetwork, ...]:
        """The addresses of this NIC network that no pod gets, whatever the user excludes."""
        return reserved_addresses(network, self.reserved_indexes) if self.subnet is None else ()

    def interface_block(self, network: IPNetwork, interface_index: int) -> IPNetwork:
        """The interface block of the NIC network ``network``, which has this index.

        Raises:
            ValueError: the index is not within the blocks, or the NIC network has too few bits for ``host_bits``.
        """
        if self.subnet is None and network.prefixlen + self.host_bits > network.max_prefixlen:
            raise ValueError(f"{network} has no {self.host_bits} host bits")
        return interface_block(self.subnet, self.interface_bits, network, interface_index)


@dataclass(slots=True)
class Entry:
    """One NIC network while its rows are matched and numbered."""

    network: IPNetwork
    index: int
    interface_block: IPNetwork
    rows: list[CIDRHost] = field(default_factory=list)
    """Index, node, NIC and address; the pod block and the pool's name are filled in at the end."""
    taken: HeldIndexes = field(default_factory=HeldIndexes)
    """Host indexes that are held or excluded here."""


def host_nics(nodes: Iterable[HostInterface]) -> tuple[HostNic, ...]:
    """The NICs that have a network, sorted by node and name; a name that is repeated within a node counts once."""
    found: dict[tuple[str, str], HostNic] = {}
    for node in nodes:
        for interface in node.spec.interfaces:
            network = _network(interface.net_address or "")
            try:
                address = str(ip_address(interface.host_ip)) if interface.host_ip else ""
                secondary = tuple(str(ip_address(text)) for text in interface.secondary_ips or ())
            except ValueError:
                network = None
            if network is None:
                continue  # written by hand and not an address; such a NIC serves nobody
            nic = HostNic(node.name, interface.interface_name, network, address, secondary)
            found.setdefault((nic.host, nic.ifname), nic)
    return tuple(found[key] for key in sorted(found))
