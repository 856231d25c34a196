"""All comparisons of one look, in one order. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from multinic_daemon.audit.attachments import judge_addresses, judge_rows, judge_strangers
from multinic_daemon.audit.findings import Finding, Kind, Verdict
from multinic_daemon.audit.mirror import judge_mirror
from multinic_daemon.audit.routing import judge_routing
from multinic_daemon.audit.vlans import judge_vlans
from multinic_daemon.audit.world import World


def judge(world: World) -> tuple[Finding, ...]:
    """One finding or more for each row of the journal, then one for each other thing that differs."""
    return (
        *judge_rows(world),
        *judge_addresses(world),
        *judge_strangers(world),
        *judge_vlans(world),
        *judge_mirror(world),
        *judge_routing(world),
        *_tombstones(world),
    )


def _tombstones(world: World) -> Iterator[Finding]:
    for each in world.tombstones:
        named = f"DEL of {each.key.ifname} of {each.key.container_id} in {each.key.network}" if each.key else each.file
        known = any(row.record.key == each.key for row in world.rows)
        yield Finding(
            Kind.TOMBSTONE,
            named,
            Verdict.DIFFERENCE,
            journal="has the row" if known else "no such row",
            sandbox=each.file,
        )
