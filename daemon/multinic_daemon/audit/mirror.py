"""Addresses held by the journal against ``IPPool.spec.allocations``. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from ipaddress import ip_interface

from multinic_core.model import PoolAllocation
from multinic_core.plan import Allocation
from multinic_daemon.audit.findings import Finding, Kind, Verdict
from multinic_daemon.audit.world import NotCompared, Row, World

INDEX_LIMIT = 2**63 - 1
"""Above it an API server takes no index, and the mirror has this one."""
MIRROR_SECONDS = 5.0
"""The mirror may lag behind the journal by so much."""


Entries = Mapping[tuple[str, str], PoolAllocation]
"""By pool and address; an index above 2^63 is held by no API."""


def mirrored(world: World) -> Entries | None:
    """What the mirror has; None when it was not compared."""
    if isinstance(world.mirror, NotCompared):
        return None
    return {(pool, _address(each.address)): each for pool, entries in world.mirror.items() for each in entries}


def mirror_text(row: Row, entries: Entries | None) -> str:
    """What the mirror says of a row."""
    if entries is None:
        return "not compared"
    count = sum((each.pool, str(each.address.ip)) in entries for each in row.allocations)
    return f"{count} of {len(row.allocations)} addresses" if row.allocations else ""


def judge_mirror(world: World) -> Iterator[Finding]:
    """What only one of them has, and what they say differently; nothing of what has just changed."""
    entries = mirrored(world)
    if entries is None or isinstance(world.mirror, NotCompared):
        return
    held = {(each.pool, str(each.address.ip)): (row, each) for row in world.rows for each in row.allocations}
    missing: dict[int, list[str]] = defaultdict(list)
    wrong: dict[int, list[str]] = defaultdict(list)
    for place, (row, allocation) in held.items():
        if not _settled(row, world):
            continue
        entry = entries.get(place)
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
                row.subject,
                Verdict.DIFFERENCE,
                journal=", ".join(str(each.address) for each in row.allocations),
                mirror="; ".join(sentences),
                row=number,
            )
    for (pool, address), entry in entries.items():
        if (pool, address) not in held:
            yield Finding(
                Kind.ONLY_MIRRORED,
                f"{address} of {pool}",
                Verdict.DIFFERENCE,
                journal="free",
                mirror=f"held by {entry.namespace}/{entry.pod}",
                place=(pool, entry.index),
            )


def given_between(place: tuple[str, int], before: Mapping[str, int], now: Mapping[str, int]) -> bool:
    """Whether an index was given after one look and before the next: the cursor of its pool has gone over it.

    An address that is given and freed again and again is behind in the mirror at each look, and stale at none.
    """
    pool, index = place
    first, last = before.get(pool, 0), now.get(pool, 0)
    if first <= last:
        return first < index <= last
    return index > first or index <= last


def _settled(row: Row, world: World) -> bool:
    record = row.record
    return row.finished and record.boot_id == world.boot_id and world.time - record.updated > MIRROR_SECONDS


def _absence(allocation: Allocation, mirror: Mapping[str, tuple[PoolAllocation, ...]]) -> str:
    if allocation.pool not in mirror:
        return f"no IPPool {allocation.pool!r} of this node"
    return f"{allocation.address.ip} missing in {allocation.pool}"


def _differs(row: Row, allocation: Allocation, entry: PoolAllocation) -> str:
    pod = row.record.pod
    if pod.name and (pod.namespace, pod.name) != (entry.namespace, entry.pod):
        return f"{entry.address} held by {entry.namespace}/{entry.pod}"
    if entry.index != min(allocation.index, INDEX_LIMIT):
        return f"{entry.address} with index {entry.index}, expected {allocation.index}"
    return ""


def _address(text: str) -> str:
    """An entry's address as we write it; others may have written it with a prefix length or in another notation."""
    try:
        return str(ip_interface(text).ip)
    except ValueError:
        return text
