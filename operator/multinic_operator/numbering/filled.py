"""Blocks of a compact network that are full of the nodes' own addresses, where NIC networks themselves are cut. Pure.

A list leaves such blocks out when it gives a node its index. By arithmetic a node has the block of its index whatever
lies in it, so that here it can only be said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from multinic_core.addressing import excluded_blocks, merged, overlaps
from multinic_core.model import HostInterface
from multinic_core.plan import IPNetwork
from multinic_core.pools import HeldIndexes
from multinic_core.rows import Row, Rows
from multinic_operator.numbering.fleet import Fleet
from multinic_operator.numbering.layout import BlockRequest

NAMES_IN_MESSAGE = 5


def filled_blocks(
    request: BlockRequest, rows: Rows, fleet: Fleet, host_of: Callable[[str], HostInterface | None]
) -> list[str]:
    """One sentence for each NIC network where nodes have blocks that are full of addresses of nodes."""
    if request.subnet is not None:
        return []
    problems = []
    for net, place in rows.places.items():
        kept = [each for each in (*request.excludes, *request.reserved(place.block)) if overlaps(each, place.block)]
        if full := _full(place.block, request.host_bits, [nic.held for nic in fleet.nics_on([net])], kept):
            names = {fleet.by_index[own] for first, last in full for own in fleet.by_index.irange(first, last)}
            names |= fleet.claimants.get(rows.network, set())
            hosts = [host for name in sorted(names) if (host := host_of(name)) is not None]
            found = [
                (host.name, row)
                for host in hosts
                for row in rows.of(host)
                if row.entry is place.entry and row.host_index in full
            ]
            if found:
                problems.append(_told(request, net, found))
    return problems


def _full(
    block: IPNetwork, host_bits: int, nics: Iterable[tuple[IPNetwork, ...]], kept: list[IPNetwork]
) -> HeldIndexes:
    """Indexes of the pod blocks of which nothing is left."""
    held = [address for nic in nics for address in nic if overlaps(address, block)]
    size = 1 << (block.max_prefixlen - block.prefixlen - host_bits)
    if size > len(held) + sum(each.num_addresses for each in kept):
        return HeldIndexes()
    return HeldIndexes(excluded_blocks(block, host_bits, merged([*kept, *held])))


def _told(request: BlockRequest, net: str, found: list[tuple[str, Row]]) -> str:
    names = [f"{node} ({row.interface_name}: {row.pod_cidr})" for node, row in found[:NAMES_IN_MESSAGE]]
    more = f" and {len(found) - len(names)} more" if len(found) > len(names) else ""
    return (
        f"spec.ipam.hostBlock: found {request.host_bits}, which cuts blocks on the NIC network {net} that are full of"
        f" addresses of nodes; none is left for pods of {', '.join(names)}{more}; expected fewer bits, so larger blocks"
    )
