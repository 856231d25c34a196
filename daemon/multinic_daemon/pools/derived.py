"""This node's pools in a network whose CIDR lists no nodes: objects as the operator would write them, by arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_interface, ip_network

from multinic_core.addressing import covers
from multinic_core.model import CIDR, HostInterface, IPPool
from multinic_core.plan import IPNetwork
from multinic_core.poolobjects import pool_object
from multinic_core.rows import held_addresses, nic_network, rows_of


def derive_pools(cidr: CIDR, own: HostInterface, hosts: Iterable[HostInterface]) -> dict[str, IPPool]:
    """Name to pool, without allocations, for every block that this node has.

    Args:
        hosts: of all nodes, where NIC networks themselves are cut; their addresses are not given to pods.

    Raises:
        ValueError: the CIDR cannot be read.
    """
    excludes = [ip_interface(text).network for text in cidr.spec.config.exclude_cidrs or ()]
    # The network, with which the CIDR goes as its pools do. Blocking its deletion takes a right that a daemon lacks
    # (OwnerReferencesPermissionEnforcement).
    found = [owner for owner in cidr.metadata.owner_references or () if owner.controller]
    owners = [owner.model_copy(update={"block_owner_deletion": None}) for owner in found]
    rows = rows_of(cidr, own)
    blocks = [ip_network(row.pod_cidr) for row in rows]
    taken = list(node_addresses(hosts, blocks)) if not cidr.spec.config.subnet else []
    pools = [
        pool_object(
            cidr.name,
            own.name,
            row.interface_name,
            row.pod_cidr,
            row.entry.vlan_cidr,
            owners=owners,
            excludes=excludes,
            addresses=[
                *(address for network, address in taken if network == nic_network(row.entry.net_address)),
                *map(ip_network, row.entry.reserved or ()),
            ],
        )
        for row in rows
    ]
    return {pool.name: pool for pool in pools}


def node_addresses(hosts: Iterable[HostInterface], blocks: Iterable[IPNetwork]) -> Iterator[tuple[str, IPNetwork]]:
    """NIC network and address, of every address of a NIC that is in one of these blocks."""
    blocks = list(blocks)
    for host in hosts:
        for network, address in held_addresses(host):
            if any(covers(block, address) for block in blocks):
                yield network, address


def why_none(cidr: CIDR, node: str, own: HostInterface | None) -> str:
    """What a node waits for that has no block in this network, or in some NIC network of it."""
    if own is None:
        return f"HostInterface {node!r}: is not there yet"
    if own.status is None or own.status.host_index is None:
        return f"HostInterface {node!r}: status.hostIndex: missing, the operator has not given this node an index yet"
    return f"HostInterface {node!r}: not every NIC has a block in CIDR {cidr.name!r} by index {own.status.host_index}"
