"""Two looks, a short moment apart: what only one of them shows is a pod that comes or goes, and no difference.

The moment is longer where the mirror differs, which may lag behind. What is proven dead was so in both looks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

import trio

from multinic_daemon.audit.findings import Finding, Kind, Verdict
from multinic_daemon.audit.judge import judge
from multinic_daemon.audit.mirror import MIRROR_SECONDS, given_between
from multinic_daemon.audit.world import World

LOOK_SECONDS = 0.5
"""Between two looks."""
MIRROR_KINDS = frozenset({Kind.NOT_MIRRORED, Kind.ONLY_MIRRORED, Kind.MIRROR_DIFFERS})

Look = Callable[[World | None], Awaitable[World]]
"""Sees the node; the argument is what was seen before, None at the first look."""


@dataclass(frozen=True, slots=True)
class Result:
    """An audit: the last look, and what it found."""

    world: World
    findings: tuple[Finding, ...]

    @property
    def differences(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.verdict is not Verdict.FINE)


async def examine(look: Look) -> Result:
    """Look, and where something differs look again."""
    world = await look(None)
    findings = judge(world)
    suspects = [finding for finding in findings if finding.verdict is not Verdict.FINE]
    if not suspects:
        return Result(world, findings)
    lagging = any(finding.kind in MIRROR_KINDS for finding in suspects)
    await trio.sleep(LOOK_SECONDS + (MIRROR_SECONDS if lagging else 0))
    first, world = world, await look(world)
    suspects = [
        finding
        for finding in suspects
        if finding.place is None or not given_between(finding.place, first.cursors, world.cursors)
    ]
    return Result(world, confirmed(suspects, judge(world)))


def confirmed(before: Iterable[Finding], now: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """What the second look shows, without differences that the first did not show. Pure."""
    verdicts = {finding.identity: finding.verdict for finding in before}
    answer: list[Finding] = []
    for finding in now:
        earlier = verdicts.get(finding.identity)
        if finding.verdict is Verdict.DEAD and earlier is Verdict.DIFFERENCE:
            answer.append(replace(finding, verdict=Verdict.DIFFERENCE))
        elif finding.verdict is Verdict.FINE or earlier is not None:
            answer.append(finding)
    return tuple(answer)
