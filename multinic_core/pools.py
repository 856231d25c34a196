"""A pool of addresses and the indexes held in it, as values that an IPAM reads.

Held indexes are kept as disjoint ranges in order, so that a pool of 2^24 addresses with a million held ones answers
"which is the next free index?" by one binary search. The daemon's journal owns one :class:`HeldIndexes` per pool and
changes it when a transaction commits; an IPAM only reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sortedcontainers import SortedDict

from multinic_core.plan import IPNetwork


class HeldIndexes:
    """A set of integers stored as disjoint, non-adjacent, inclusive ranges in ascending order."""

    __slots__ = ("_ends",)

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        joined: list[tuple[int, int]] = []
        for start, end in sorted(ranges):
            if joined and start <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(joined[-1][1], end))
            else:
                joined.append((start, end))
        self._ends: SortedDict[int, int] = SortedDict(joined)
        """Start of each range to its end."""

    def _around(self, index: int) -> tuple[int, int] | None:
        """The range that starts last at or below this index."""
        at = self._ends.bisect_right(index) - 1
        return self._ends.peekitem(at) if at >= 0 else None

    def __contains__(self, index: int) -> bool:
        around = self._around(index)
        return around is not None and index <= around[1]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The ranges, ascending."""
        return iter(self._ends.items())

    def __len__(self) -> int:
        """How many indexes are held."""
        return sum(end - start + 1 for start, end in self)

    def highest(self) -> int:
        """The highest index that is held; -1 when none is."""
        return self._ends.peekitem(-1)[1] if self._ends else -1

    def next_free(self, index: int) -> int:
        """The smallest index at or above this one that is not held."""
        around = self._around(index)
        return around[1] + 1 if around is not None and index <= around[1] else index

    def add(self, index: int) -> None:
        """Hold one index. Raises ValueError when it is held already."""
        below = self._around(index)
        if below is not None and index <= below[1]:
            raise ValueError(f"index {index} is held already")
        end = self._ends.pop(index + 1, index)
        start = below[0] if below is not None and below[1] == index - 1 else index
        self._ends[start] = end

    def remove(self, index: int) -> None:
        """Free one index. Raises ValueError when it is not held."""
        around = self._around(index)
        if around is None or index > around[1]:
            raise ValueError(f"index {index} is not held")
        start, end = around
        if start == index:
            del self._ends[start]
        else:
            self._ends[start] = index - 1
        if index < end:
            self._ends[index + 1] = end


def free_in_all(sets: Iterable[HeldIndexes], start: int, limit: int) -> int | None:
    """The smallest index from ``start`` on and below ``limit`` that none of these sets holds, or None."""
    sets = list(sets)
    index, free = start, -1
    while index < limit and index != free:
        free = index
        for held in sets:
            index = held.next_free(index)
    return index if index < limit else None


@dataclass(frozen=True, slots=True)
class Pool:
    """The addresses of one node on one NIC for one network, with what is held of them now."""

    name: str
    network: IPNetwork
    """The block that addresses come from (``podCIDR``)."""
    prefix_length: int
    """Of the addresses given: that of the interface block (``vlanCIDR``)."""
    parent: str
    """ifname of the NIC."""
    excludes: tuple[IPNetwork, ...] = ()
    held: HeldIndexes = field(default_factory=HeldIndexes)
    """Indexes that attachments hold."""
    cursor: int = 0
    """Index given last; 0 before the first."""
