"""How a bench says what it found: one table for people, or one JSON object for programs.

The object is ``{"name", "machine", "figures": {…}, "targets": [{"name", "value", "limit", "ok"}]}``. A missed target
is a finding, not a failure: the exit status is 1 only when the bench itself could not be carried out.
"""

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Target:
    """A value that ought not to exceed a limit."""

    name: str
    value: float
    limit: float

    @property
    def ok(self) -> bool:
        return self.value <= self.limit


@dataclass(slots=True)
class Report:
    """The findings of one bench."""

    name: str
    figures: dict[str, Any]
    targets: list[Target]
    tables: list[Table]
    """For people; every number in them is in ``figures``."""
    machine: dict[str, Any] = field(default_factory=lambda: machine())


class BenchError(Exception):
    """The bench could not be carried out; says why and what would help."""


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was in the last minute."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "processors": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Median, least and ninth decile in milliseconds."""
    ordered = sorted(seconds)
    tenth = ordered[min(len(ordered) - 1, round(0.9 * (len(ordered) - 1)))]
    return {
        "median_ms": round(median(ordered) * 1e3, 2),
        "least_ms": round(ordered[0] * 1e3, 2),
        "p90_ms": round(tenth * 1e3, 2),
    }


def show(report: Report, *, as_json: bool) -> None:
    """Print the findings to stdout."""
    if as_json:
        targets = [asdict(target) | {"ok": target.ok} for target in report.targets]
        document = {
            "name": report.name,
            "machine": report.machine,
            "figures": report.figures,
            "targets": targets,
        }
        print(json.dumps(document, indent=2))
        return
    console = Console(highlight=False)
    for table in report.tables:
        console.print(table)
    console.print(_target_table(report.targets))
    console.print(", ".join(f"{key} {value}" for key, value in report.machine.items()), style="dim")


def _target_table(targets: Sequence[Target]) -> Table:
    table = Table("target", "limit", "found", "", title="Targets", title_justify="left")
    for target in targets:
        verdict = "[green]met[/]" if target.ok else "[red]missed[/]"
        table.add_row(target.name, f"{target.limit:.2f}", f"{target.value:.2f}", verdict)
    return table


def carry_out(bench: Callable[[], Report], *, as_json: bool) -> int:
    """Run a bench and print what it found; gives the exit status."""
    try:
        report = bench()
    except BenchError as error:
        print(f"bench not carried out: {error}", file=sys.stderr)
        return 1
    show(report, as_json=as_json)
    return 0


def ratios(figures: Mapping[str, Mapping[str, float]], one: str, other: str) -> float:
    """The medians' ratio of two summaries."""
    return round(figures[one]["median_ms"] / figures[other]["median_ms"], 3)


def checkout() -> Path:
    """The folder that holds ``bench``."""
    return Path(__file__).resolve().parents[2]
