"""Which blocks an exclude takes whole, as ranges of indexes. Pure arithmetic, never a loop over indexes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import collapse_addresses

from multinic_core.addressing import covers
from multinic_core.plan import IPNetwork


def excluded_blocks(container: IPNetwork, bits: int, excludes: Sequence[IPNetwork]) -> list[tuple[int, int]]:
    """Indexes of the 2^bits blocks of ``container`` that the excludes take whole, as inclusive ranges."""
    shift = container.max_prefixlen - container.prefixlen - bits
    ranges = []
    for exclude in excludes:
        if covers(exclude, container):
            ranges.append((0, (1 << bits) - 1))
        elif covers(container, exclude) and exclude.max_prefixlen - exclude.prefixlen >= shift:
            first = (int(exclude.network_address) - int(container.network_address)) >> shift
            ranges.append((first, first + (exclude.num_addresses >> shift) - 1))
    return ranges


def merged(excludes: Iterable[IPNetwork]) -> list[IPNetwork]:
    """The excludes with neighbours joined, so that two halves of a block count as the block."""
    ordered = list(excludes)
    joined: list[IPNetwork] = []
    for version in (4, 6):
        joined += collapse_addresses([e for e in ordered if e.version == version])  # type: ignore[type-var]
    return joined
