"""Two looks: only what both show counts."""

from dataclasses import replace

import pytest
import trio
from multinic_daemon.audit.findings import Finding, Kind, Verdict
from multinic_daemon.audit.looks import confirmed, examine
from multinic_daemon.audit.world import KernelSeen, NotCompared, Tombstone, World
from multinic_daemon.hostroutes.desired import RoutingState
from trio.testing import MockClock

from multinic_core.model import PoolAllocation

NOTHING = NotCompared("not asked")
EMPTY = World(0.0, "boot-1", True, (), KernelSeen({}, {}, RoutingState({}, (), ())), NOTHING, NOTHING, NOTHING)
WAITING = replace(EMPTY, tombstones=(Tombstone("/t/1", None),))
OTHER = replace(EMPTY, tombstones=(Tombstone("/t/2", None),))
MIRRORED = replace(EMPTY, mirror={"p": (PoolAllocation(pod="a", namespace="b", index=1, address="10.0.0.1"),)})


class Looks:
    """Worlds seen one after the other, and when."""

    def __init__(self, *worlds: World) -> None:
        self.worlds = list(worlds)
        self.times: list[float] = []
        self.before: list[World | None] = []

    async def __call__(self, before: World | None) -> World:
        self.times.append(trio.current_time())
        self.before.append(before)
        return self.worlds.pop(0)


@pytest.mark.parametrize(
    ("worlds", "subjects"),
    [
        pytest.param([EMPTY], [], id="no difference, one look"),
        pytest.param([WAITING, EMPTY], [], id="gone at the second look"),
        pytest.param([WAITING, OTHER], [], id="another one at the second look"),
        pytest.param([WAITING, WAITING], ["/t/1"], id="seen twice"),
    ],
)
async def test_difference_is_told_when_seen_twice(
    worlds: list[World], subjects: list[str], autojump_clock: MockClock
) -> None:
    """What comes or goes between the looks is no difference."""
    looks = Looks(*worlds)
    result = await examine(looks)
    assert [finding.subject for finding in result.differences] == subjects
    assert looks.worlds == []
    assert looks.before == [None, *worlds[:-1]]


async def test_mirror_has_its_time_to_follow(autojump_clock: MockClock) -> None:
    """More than five seconds where the mirror differs, a moment otherwise."""
    slow, quick = Looks(MIRRORED, MIRRORED), Looks(WAITING, WAITING)
    assert len((await examine(slow)).differences) == 1
    await examine(quick)
    assert slow.times[1] - slow.times[0] > 5
    assert quick.times[1] - quick.times[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        pytest.param(0, 0, True, id="nothing given"),
        pytest.param(1, 9, True, id="others given"),
        pytest.param(0, 9, False, id="given between"),
        pytest.param(250, 3, False, id="given between, from the start again"),
        pytest.param(250, 0, True, id="others given up to the end"),
    ],
)
async def test_address_given_between_the_looks_is_not_stale(
    before: int, now: int, told: bool, autojump_clock: MockClock
) -> None:
    """On a busy node an address can be free and not yet unmirrored at both looks."""
    looks = Looks(replace(MIRRORED, cursors={"p": before}), replace(MIRRORED, cursors={"p": now}))
    assert bool((await examine(looks)).differences) is told


def test_death_must_be_proven_twice() -> None:
    """A row that only differed at first is not freed by a second look alone."""
    dead = Finding(Kind.SANDBOX_GONE, "x", Verdict.DEAD, row=1)
    differs = replace(dead, verdict=Verdict.DIFFERENCE)
    assert confirmed([differs], (dead,)) == (differs,)
    assert confirmed([dead], (differs,)) == (differs,)
    assert confirmed([dead], (dead,)) == (dead,)
    assert confirmed([dead], (replace(dead, row=2),)) == ()
