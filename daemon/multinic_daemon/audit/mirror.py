"""Addresses held by the journal against ``IPPool.spec.allocations``. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from multinic_core.model import PoolAllocation
from multinic_core.plan import Allocation
from multinic_daemon.audit.attachments import subject_of
from multinic_daemon.audit.findings import Finding, Kind, Verdict
from multinic_daemon.audit.world import NotCompared, Row, World

MIRROR_SECONDS = 5.0
"""The mirror may lag behind the journal by so much."""


def judge_mirror(world: World) -> Iterator[Finding]:
    """What only one of them has, and what they say differently; nothing of what has just changed."""
    if isinstance(world.mirror, NotCompared):
        return
    mirrored = {(pool, each.index): each for pool, entries in world.mirror.items() for each in entries}
    held = {(each.pool, each.index): (row, each) for row in world.rows for each in row.allocations}
    missing: dict[int, list[str]] = defaultdict(list)
    wrong: dict[int, list[str]] = defaultdict(list)
    for place, (row, allocation) in held.items():
        if not _settled(row, world):
            continue
        entry = mirrored.get(place)
        if entry is None:
            missing[row.record.id].append(_absence(allocation, world.mirror))
        elif differs := _differs(row, allocation, entry):
            wrong[row.record.id].append(differs)
    rows = {row.record.id: row for row in world.rows}
    for kind, found in ((Kind.NOT_MIRRORED, missing), (Kind.MIRROR_DIFFERS, wrong)):
        for number, sentences in found.items():
            row = rows[number]
            yield Finding(
                kind,
                subject_of(row),
                Verdict.DIFFERENCE,
                journal=", ".join(str(each.address) for each in row.allocations),
                mirror="; ".join(sentences),
                row=number,
            )
    for (pool, index), entry in sorted(mirrored.items()):
        if (pool, index) not in held:
            yield Finding(
                Kind.ONLY_MIRRORED,
                f"{entry.address} of {pool}",
                Verdict.DIFFERENCE,
                journal="free",
                mirror=f"held by {entry.namespace}/{entry.pod}",
            )


def _settled(row: Row, world: World) -> bool:
    record = row.record
    return row.finished and record.boot_id == world.boot_id and world.time - record.updated > MIRROR_SECONDS


def _absence(allocation: Allocation, mirror: Mapping[str, tuple[PoolAllocation, ...]]) -> str:
    if allocation.pool not in mirror:
        return f"no IPPool {allocation.pool!r} of this node"
    return f"{allocation.address.ip} missing in {allocation.pool}"


def _differs(row: Row, allocation: Allocation, entry: PoolAllocation) -> str:
    pod = row.record.pod
    if entry.address.partition("/")[0] != str(allocation.address.ip):
        return f"index {entry.index} of {allocation.pool} is {entry.address}"
    if pod.name and (pod.namespace, pod.name) != (entry.namespace, entry.pod):
        return f"{entry.address} held by {entry.namespace}/{entry.pod}"
    return ""
