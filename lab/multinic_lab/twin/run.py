"""Twins of several sizes, one after another."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from multinic_core.errors import ConfigError
from multinic_lab.twin.phases import Phase, all_phases
from multinic_lab.twin.size import Size
from multinic_lab.twin.twin import open_twin


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for."""

    sizes: tuple[int, ...]
    """Nodes, the smallest first."""
    nics: int = 8
    processes: int = 2
    """That carry the nodes of each twin."""
    sample: int = 2
    """Nodes of each process whose host routes are computed."""


def sizes_of(text: str, *, alone: bool = False) -> tuple[int, ...]:
    """The sizes that a command line names, sorted: several by commas, or one with smaller ones to compare it with.

    Args:
        alone: leave those out.

    Raises:
        ConfigError: not whole numbers.
    """
    try:
        named = sorted({int(part) for part in text.split(",")})
    except ValueError as error:
        raise ConfigError(f"--nodes: found {text!r}, expected whole numbers separated by commas") from error
    if len(named) > 1 or alone:
        return tuple(named)
    smaller = {named[0] // part for part in (50, 10, 5)}
    return tuple(sorted({size for size in smaller if size >= 10} | set(named)))


async def run_twins(
    wish: Wish, *, folder: Path | None = None, progress: Callable[[str], None] = lambda text: None
) -> dict[int, list[Phase]]:
    """Nodes to what each phase of that twin has cost.

    Args:
        folder: keeps the logs of all processes; None: they are not kept.
        progress: told when a phase is over.

    Raises:
        ConfigError: sizes that cannot be.
        ExceptionGroup: of ``TwinError`` when a phase has not come to its end.
    """
    sizes = [Size(nodes, wish.nics) for nodes in wish.sizes]
    if not 1 <= wish.processes * (wish.sample + 1) <= min(wish.sizes):
        raise ConfigError(
            f"--processes: found {wish.processes}, expected at most {min(wish.sizes) // (wish.sample + 1)},"
            f" so that each of them carries the sample of {wish.sample} nodes and another one"
        )
    found = {}
    with tempfile.TemporaryDirectory(prefix="multinic-twin-") as temporary:
        for size in sizes:
            place = (folder or Path(temporary)) / str(size.nodes)
            place.mkdir(parents=True, exist_ok=True)
            async with open_twin(size, processes=wish.processes, sample=wish.sample, folder=place) as twin:
                found[size.nodes] = await all_phases(twin, progress)
    return found
