"""Which block each NIC of a node has in a compact network: arithmetic on the CIDR and that node's HostInterface.

A CIDR that would pass 100 KB lists no nodes. Operator and daemons then compute the same rows from the same two objects,
each node by itself: what others have or do never enters, so a node that joins changes nobody's rows but its own.

In one network a NIC has the index that a claim in ``status.exceptions`` gives it; without one it has the node's own,
``status.hostIndex``. It has no row, and so no block, until the operator has spoken, where

* the NIC network of the CIDR has no entry for it, or the node has no index yet;
* the node's index is outside the blocks or its block is excluded whole;
* the node has several NICs in that NIC network, or claims there for other NICs;
* a claim without an index bars the node's own from the network, as somebody else holds it there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_interface, ip_network

from multinic_core.addressing import excluded_blocks, interface_block, merged
from multinic_core.model import CIDR, CIDREntry, CIDRSpec, HostInterface, IndexClaim
from multinic_core.plan import IPNetwork
from multinic_core.pools import HeldIndexes


@dataclass(frozen=True, slots=True)
class Row:
    """The block of one NIC of one node, as ``CIDREntry.hosts`` would list it."""

    entry: CIDREntry
    """Its NIC network, with interface index and interface block."""
    interface_name: str
    host_index: int
    pod_cidr: str
    host_ip: str
    """Address of the node on the NIC, or ""."""


@lru_cache(maxsize=4096)
def nic_network(text: str) -> str:
    """The network of a NIC in the form that a CIDR writes, "" when it is no network."""
    try:
        return str(ip_interface(text).network)
    except ValueError:
        return ""


def claims_in(host: HostInterface, network: str) -> list[IndexClaim]:
    """What the operator decided about this node in this network, apart from its index."""
    exceptions = host.status.exceptions if host.status is not None else None
    return [claim for claim in exceptions or () if claim.network == network]


def nics_by_network(host: HostInterface) -> dict[str, dict[str, str]]:
    """NIC network to ifname to the node's address there, or ""; sorted by ifname, a repeated ifname counts once."""
    found: dict[str, dict[str, str]] = {}
    seen: set[str] = set()
    for nic in sorted(host.spec.interfaces, key=lambda nic: nic.interface_name):
        network = nic_network(nic.net_address or "")
        if network and nic.interface_name not in seen:
            seen.add(nic.interface_name)
            found.setdefault(network, {})[nic.interface_name] = nic.host_ip or ""
    return found


def held_addresses(host: HostInterface) -> Iterator[tuple[str, IPNetwork]]:
    """NIC network and address, of each address that the node has on a NIC; what is no address is passed over."""
    for nic in host.spec.interfaces:
        if network := nic_network(nic.net_address or ""):
            for text in (nic.host_ip, *(nic.secondary_ips or ())):
                if address := _address(text or ""):
                    yield network, ip_network(address)


@dataclass(frozen=True, slots=True)
class Place:
    """One entry of a CIDR, made ready for arithmetic."""

    entry: CIDREntry
    block: IPNetwork
    """Interface block."""
    excluded: HeldIndexes
    """Host indexes whose pod block an exclude takes whole."""


class Rows:
    """The rows of one CIDR; make it once per version of the object."""

    __slots__ = ("host_bits", "limit", "network", "places")

    def __init__(self, network: str, spec: CIDRSpec) -> None:
        """Raises ValueError when the CIDR's addresses cannot be read, or do not fit its cut."""
        config = spec.config
        self.network = network
        self.host_bits = config.host_block
        self.limit = 1 << config.host_block
        """Host indexes are below it."""
        subnet = ip_network(config.subnet) if config.subnet else None
        excludes = merged(ip_interface(text).network for text in config.exclude_cidrs or ())
        self.places: dict[str, Place] = {}
        """NIC network, as the CIDR writes it, to its place."""
        for entry in spec.cidr:
            net = ip_interface(entry.net_address).network
            block = interface_block(subnet, config.interface_block, net, entry.interface_index)
            if block.prefixlen + config.host_block > block.max_prefixlen:
                raise ValueError(f"{block} has no {config.host_block} host bits")
            kept = merged([*excludes, *map(ip_network, entry.reserved or ())])
            whole = HeldIndexes(excluded_blocks(block, config.host_block, kept))
            self.places.setdefault(str(net), Place(entry, block, whole))

    def serves(self, net_address: str, index: int) -> bool:
        """Whether a node's own index can be used on this NIC network."""
        place = self.places.get(net_address)
        return place is not None and 0 <= index < self.limit and index not in place.excluded

    def pod_cidr(self, net_address: str, index: int) -> str:
        """The pod block of this host index, which is below the limit, on a NIC network that has an entry."""
        block = self.places[net_address].block
        length = block.prefixlen + self.host_bits
        base = int(block.network_address) + (index << (block.max_prefixlen - length))
        return f"{type(block.network_address)(base)}/{length}"

    def of(self, host: HostInterface) -> tuple[Row, ...]:
        """The rows of one node, sorted by interface index and ifname."""
        if host.status is None:
            return ()
        own, claimed, closed = host.status.host_index, {}, set()
        barred = own is None
        for claim in claims_in(host, self.network):
            if claim.host_index is None:
                barred = True
            else:
                claimed[claim.net_address, claim.interface_name] = claim.host_index
                closed.add(claim.net_address)
        rows: list[Row] = []
        for net, nics in nics_by_network(host).items():
            place = self.places.get(net)
            if place is None:
                continue
            open_ = not barred and len(nics) == 1 and net not in closed and own is not None and self.serves(net, own)
            for ifname, address in nics.items():
                index = claimed.get((net, ifname), own if open_ else None)
                if index is not None and index < self.limit:
                    rows.append(Row(place.entry, ifname, index, self.pod_cidr(net, index), _address(address)))
        return tuple(sorted(rows, key=lambda row: (row.entry.interface_index, row.interface_name)))


def _address(text: str) -> str:
    try:
        return str(ip_address(text)) if text else ""
    except ValueError:
        return ""


def rows_of(cidr: CIDR, host: HostInterface) -> tuple[Row, ...]:
    """The rows of one node in a compact CIDR; for many nodes make one :class:`Rows` and ask it.

    Raises:
        ValueError: the CIDR cannot be read.
    """
    return Rows(cidr.name, cidr.spec).of(host)
