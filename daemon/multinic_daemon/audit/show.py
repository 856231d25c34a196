"""An audit as one table for people, or one JSON object for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table

from multinic_core.cli.terminal import table
from multinic_daemon.audit.findings import Finding, Verdict
from multinic_daemon.audit.looks import Result
from multinic_daemon.audit.repair import Repaired
from multinic_daemon.audit.world import NotCompared, World

COLUMNS = ("VERDICT", "WHAT", "SUBJECT", "JOURNAL", "KERNEL", "SANDBOX", "POD", "MIRROR")


def as_table(findings: Sequence[Finding]) -> Table:
    """One line for each finding, what differs first."""
    rank = {Verdict.DEAD: 0, Verdict.DIFFERENCE: 1, Verdict.FINE: 2}
    rows = (
        (each.verdict, each.kind, each.subject, each.journal, each.kernel, each.sandbox, each.pod, each.mirror)
        for each in sorted(findings, key=lambda finding: rank[finding.verdict])
    )
    answer = table("", COLUMNS, rows)
    for column in answer.columns[:2]:
        column.no_wrap = True  # whatever long path stands further on
    return answer


def sources(world: World) -> dict[str, str]:
    """Each source to "compared", or to what of it was not and why."""
    hidden = world.kernel.hidden
    optional = {"pods": world.pods, "mirror": world.mirror, "host routes": world.wishes}
    return {
        "journal": "compared",
        "kernel": "compared",
        "sandboxes": f"compared, but for {hidden} processes that may not be looked into" if hidden else "compared",
        **{
            name: f"not compared: {seen.reason}" if isinstance(seen, NotCompared) else "compared"
            for name, seen in optional.items()
        },
    }


def summary(result: Result) -> Iterator[str]:
    """The lines after the table: sources left out, what to do, and the verdict."""
    for name, said in sources(result.world).items():
        if said != "compared":
            yield f"{name}: {said}"
    remedies = {finding.kind: finding.remedy for finding in result.differences}
    yield from (f"{kind}: {remedy}" for kind, remedy in remedies.items())
    count, dead = len(result.differences), sum(each.verdict is Verdict.DEAD for each in result.differences)
    rows = f"{len(result.world.rows)} attachments"
    if not count:
        yield f"{rows}, no difference"
    else:
        yield f"{rows}, {count} difference{'s' if count > 1 else ''}, {dead} proven dead"


def told(repaired: Repaired) -> str:
    """One line for one row that was to be freed."""
    if repaired.problem:
        return f"not freed: {repaired.finding.subject}: {repaired.problem}"
    return f"freed: {repaired.finding.subject}: {', '.join(repaired.freed) or 'it held no address'}"


def as_json(node: str, result: Result, repaired: Sequence[Repaired]) -> dict[str, Any]:
    """Everything an audit found and did."""
    return {
        "node": node,
        "daemon": result.world.daemon,
        "sources": sources(result.world),
        "attachments": len(result.world.rows),
        "differences": len(result.differences),
        "findings": [
            {
                "verdict": each.verdict,
                "kind": each.kind,
                "subject": each.subject,
                "journal": each.journal,
                "kernel": each.kernel,
                "sandbox": each.sandbox,
                "pod": each.pod,
                "mirror": each.mirror,
                "remedy": each.remedy,
                "row": each.row,
            }
            for each in result.findings
        ],
        "repaired": [
            {"subject": each.finding.subject, "row": each.finding.row, "freed": each.freed, "problem": each.problem}
            for each in repaired
        ],
    }
