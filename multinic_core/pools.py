"""A pool of addresses and the indexes held in it, as values that an IPAM reads.

Held indexes are kept as disjoint ranges in order, so that a pool of 2^24 addresses with a million held ones answers
"which is the next free index?" by one binary search. The daemon's journal owns one :class:`HeldIndexes` per pool and
changes it when a transaction commits; an IPAM only reads.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from multinic_core.plan import IPNetwork


class HeldIndexes:
    """A set of integers stored as disjoint, non-adjacent, inclusive ranges in ascending order."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in sorted(ranges):
            if self._ends and start <= self._ends[-1] + 1:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    def __contains__(self, index: int) -> bool:
        at = bisect_right(self._starts, index) - 1
        return at >= 0 and index <= self._ends[at]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The ranges, ascending."""
        return zip(self._starts, self._ends, strict=True)

    def __len__(self) -> int:
        """How many indexes are held."""
        return sum(end - start + 1 for start, end in self)

    def next_free(self, index: int) -> int:
        """The smallest index at or above this one that is not held."""
        at = bisect_right(self._starts, index) - 1
        return self._ends[at] + 1 if at >= 0 and index <= self._ends[at] else index

    def add(self, index: int) -> None:
        """Hold one index. Raises ValueError when it is held already."""
        if index in self:
            raise ValueError(f"index {index} is held already")
        at = bisect_right(self._starts, index)
        joins_left = at > 0 and self._ends[at - 1] == index - 1
        joins_right = at < len(self._starts) and self._starts[at] == index + 1
        if joins_left and joins_right:
            self._ends[at - 1] = self._ends[at]
            del self._starts[at], self._ends[at]
        elif joins_left:
            self._ends[at - 1] = index
        elif joins_right:
            self._starts[at] = index
        else:
            self._starts.insert(at, index)
            self._ends.insert(at, index)

    def remove(self, index: int) -> None:
        """Free one index. Raises ValueError when it is not held."""
        if index not in self:
            raise ValueError(f"index {index} is not held")
        at = bisect_right(self._starts, index) - 1
        start, end = self._starts[at], self._ends[at]
        if start == end:
            del self._starts[at], self._ends[at]
        elif index == start:
            self._starts[at] = index + 1
        elif index == end:
            self._ends[at] = index - 1
        else:
            self._ends[at] = index - 1
            self._starts.insert(at + 1, index + 1)
            self._ends.insert(at + 1, end)


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
