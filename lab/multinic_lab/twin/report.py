"""What twins of several sizes cost, as tables for people and one object for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from multinic_core.cli.terminal import table
from multinic_lab.twin.growth import exponent
from multinic_lab.twin.phases import Phase

Found = Mapping[int, Sequence[Phase]]
"""Nodes to the phases of that twin."""

COLUMNS = (
    "phase",
    "seconds",
    "operator's writes",
    "daemons' writes",
    "renewals",
    "reads",
    "to watchers",
    "to daemons, one watch each",
    "largest object",
    "operator CPU, s",
    "operator, MiB",
    "nodes' CPU, s",
    "server's CPU, s",
)
PARTS = ("known", "routed", "ready", "stopped", "working")
"""Parts of phases, in the order in which they are shown."""
GROWING: Mapping[str, Callable[[Phase], float]] = {
    "seconds": lambda phase: phase.seconds,
    "writes": lambda phase: phase.operator_writes + phase.daemon_writes,
    "bytes to watchers": lambda phase: phase.sent_bytes,
    "bytes to daemons, one watch each": lambda phase: phase.sent_to_nodes_bytes,
    "operator CPU": lambda phase: phase.operator_cpu_seconds,
}
NOTES = (
    "renewals: Leases written with nothing new, a matter of time. Nodes of one process share their watches; one watch"
    " each is computed from what a process was sent. Host routes are computed in full for {sample} nodes of each of"
    " {processes} processes; the others report them as made once what they follow from has arrived."
)


def phase_table(nodes: int, nics: int, phases: Sequence[Phase]) -> Table:
    """What each phase of one twin has cost."""
    rows = [
        [
            phase.name,
            f"{phase.seconds:.2f}",
            str(phase.operator_writes),
            str(phase.daemon_writes),
            str(phase.renewals),
            str(phase.reads),
            size_text(phase.sent_bytes),
            size_text(phase.sent_to_nodes_bytes),
            f"{size_text(phase.largest_bytes)}, {phase.largest.partition('/')[0]}",
            f"{phase.operator_cpu_seconds:.1f}",
            f"{phase.operator_peak_mib:.0f}",
            f"{phase.nodes_cpu_seconds:.1f}",
            f"{phase.server_cpu_seconds:.1f}",
        ]
        for phase in phases
    ]
    return table(f"{nodes} nodes with {nics} NICs", COLUMNS, rows)


def parts_table(nodes: int, phases: Sequence[Phase]) -> Table:
    """When parts of the phases were done."""
    rows = [
        [phase.name, *(f"{phase.parts[part]:.2f}" if part in phase.parts else "" for part in PARTS)] for phase in phases
    ]
    return table(f"Seconds until, {nodes} nodes", ("phase", *PARTS), rows)


def growth(found: Found) -> dict[str, dict[str, float | None]]:
    """Phase to what grows, to its exponent over all sizes."""
    names = [phase.name for phase in next(iter(found.values()))]
    return {
        name: {
            what: exponent({nodes: of(phases[position]) for nodes, phases in found.items()})
            for what, of in GROWING.items()
        }
        for position, name in enumerate(names)
    }


def growth_table(found: Found) -> Table:
    """The exponents."""
    rows = [
        [name, *("–" if value is None else f"{value:.2f}" for value in values.values())]
        for name, values in growth(found).items()
    ]
    sizes = ", ".join(map(str, found))
    return table(f"Growth exponents from {sizes} nodes (1: linear, 0: none)", ["phase", *GROWING], rows)


def document(found: Found, nics: int) -> dict[str, Any]:
    """Everything, for programs."""
    phases = {str(nodes): {phase.name: asdict(phase) for phase in each} for nodes, each in found.items()}
    return {"nics": nics, "nodes": phases, "growth": growth(found)}


def size_text(count: float) -> str:
    """Bytes in the largest unit of which there is one."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
