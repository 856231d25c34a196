"""What addresses ought to be given, said again in the plainest way: the model that engine and journal are held to.

Values only, and no search cleverer than a list: a mistake here should be seen by reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace


class Full(Exception):  # noqa: N818  # an answer, not a fault
    """A pool has no free index."""


class Taken(Exception):  # noqa: N818
    """An index asked for is held, excluded or not a pod's."""


@dataclass(frozen=True, slots=True)
class PoolModel:
    """One pool: indexes 0 to ``size`` - 1, of which the first and the last are nobody's."""

    size: int
    excluded: frozenset[int] = frozenset()
    held: frozenset[int] = frozenset()
    cursor: int = 0
    """The index given last, unless it was asked for by name."""

    @property
    def free(self) -> list[int]:
        """In the order in which they would be given."""
        usable = range(1, self.size - 1)
        order = [index for index in usable if index > self.cursor] + [index for index in usable if index <= self.cursor]
        return [index for index in order if index not in self.excluded | self.held]

    def give(self, wanted: int | None = None) -> tuple[int, PoolModel]:
        """Hold the next index, or the one wanted.

        Raises:
            Full, Taken: it cannot be.
        """
        if wanted is None:
            if not self.free:
                raise Full
            index = self.free[0]
            return index, replace(self, held=self.held | {index}, cursor=index)
        if wanted not in self.free:
            raise Taken
        return wanted, replace(self, held=self.held | {wanted})

    def take_back(self, index: int) -> PoolModel:
        return replace(self, held=self.held - {index})


Pools = Mapping[str, PoolModel]
Given = Mapping[str, int]
"""Pool name to index."""


def give(pools: Pools, names: Iterable[str], wanted: Mapping[str, int]) -> tuple[dict[str, int], dict[str, PoolModel]]:
    """One index of each of these pools in turn, or nothing at all: what was given, and the pools afterwards.

    Args:
        wanted: pool name to an index asked for.

    Raises:
        Full, Taken: the first pool that says no says it.
    """
    given: dict[str, int] = {}
    after = dict(pools)
    for name in names:
        given[name], after[name] = after[name].give(wanted.get(name))
    return given, after


def take_back(pools: Pools, given: Given) -> dict[str, PoolModel]:
    """The pools after these indexes have been freed."""
    return dict(pools) | {name: pools[name].take_back(index) for name, index in given.items()}
