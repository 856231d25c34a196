"""Which index a node gets in the whole cluster. Decided once, when the operator first sees its HostInterface.

A node that comes back gets what it had; one that stands in lists of CIDRs, or whose pools hold addresses, gets the
index it has there; any other gets one more than the highest that is held, then a gap, then that of the node that left
longest ago. The only side effect is on the :class:`Fleet` that is handed in.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_network

from multinic_core.model import CIDR, IndexClaim, IPPool
from multinic_core.pools import HeldIndexes, free_in_all
from multinic_core.rows import Rows
from multinic_operator.numbering.fleet import Fleet
from multinic_operator.numbering.recall import index_within


def choose_index(fleet: Fleet, limits: Iterable[int], listed: HeldIndexes) -> int:
    """The index for a node that nothing is remembered of; forgets a node that left when that is the only way.

    Args:
        limits: how many host blocks each network has that the node is in. The smallest that has room decides; a node
            for which none has gets an index beyond, and claims where it needs a block.
        listed: indexes in lists, of second NICs for one; given only when no other is left.
    """
    above = max(fleet.above(), listed.highest() + 1)
    ordered = sorted(set(limits))
    for limit in ordered:
        for start, sets in ((above, []), (0, [fleet.held, listed]), (0, [fleet.held])):
            if (index := free_in_all(sets, start, limit)) is not None:
                return index
    if ordered and (recycled := recycle_index(fleet, lambda index: index < ordered[-1])) is not None:
        return recycled
    return above


def recycle_index(fleet: Fleet, usable: Callable[[int], bool]) -> int | None:
    """Forget the node that left longest ago of those whose index is usable and held by nobody else; gives the index."""
    for node, departure in fleet.departed.items():
        if usable(departure.host_index) and fleet.holders(departure.host_index) == 1:
            fleet.forget(node)
            return departure.host_index
    return None


def listed_indexes(cidrs: Iterable[CIDR], node: str = "") -> Mapping[str, Sequence[int]]:
    """Node to the indexes that it has in lists of CIDRs, best first: of the longest list, there the most frequent.

    Args:
        node: look for this one only; "" for all.
    """
    counted: list[tuple[int, str, dict[str, Counter[int]]]] = []
    for cidr in cidrs:
        own: dict[str, Counter[int]] = defaultdict(Counter)
        rows = 0
        for entry in cidr.spec.cidr:
            rows += len(entry.hosts)
            for row in entry.hosts if not node else [row for row in entry.hosts if row.host_name == node]:
                own[row.host_name][row.host_index] += 1
        counted.append((-rows, cidr.name, own))
    found: dict[str, list[int]] = defaultdict(list)
    for _, _, own in sorted(counted, key=lambda item: item[:2]):
        for node, indexes in own.items():
            found[node] += [
                index
                for index, _ in sorted(indexes.items(), key=lambda item: (-item[1], item[0]))
                if index >= 0 and index not in found[node]
            ]
    return found


def held_claims(pools: Iterable[IPPool], compact: Mapping[str, Rows]) -> list[IndexClaim]:
    """What pools with addresses in use say about the indexes of their node in compact networks, sorted.

    It is the last memory of a node whose HostInterface was deleted by hand while nobody looked.
    """
    claims: list[IndexClaim] = []
    for pool in pools:
        rows = compact.get(pool.spec.net_attach_def)
        if rows is None or not pool.spec.allocations:
            continue
        try:
            interface_block, pod_block = ip_network(pool.spec.vlan_cidr), ip_network(pool.spec.pod_cidr)
        except ValueError:
            continue
        index = index_within(interface_block, pod_block, rows.host_bits)
        place = next((place for place in rows.places.values() if place.block == interface_block), None)
        if index is not None and place is not None:
            claims.append(
                IndexClaim(
                    network=rows.network,
                    net_address=place.entry.net_address,
                    interface_name=pool.spec.interface_name,
                    host_index=index,
                )
            )
    return sorted(claims, key=lambda c: (c.network, c.net_address, c.interface_name, c.host_index))
