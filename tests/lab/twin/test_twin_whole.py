"""A small twin from nothing to the end: who writes what, and who does not."""

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner
from multinic_lab.twin import phases
from multinic_lab.twin import run as runs
from multinic_lab.twin.phases import PHASES, Phase, measured
from multinic_lab.twin.report import document, growth
from multinic_lab.twin.size import Size
from multinic_lab.twin.twin import Twin, open_twin

from multinic_core.cli import multinic

SIZE = Size(nodes=40, nics=4)
LARGER = Size(nodes=60, nics=16)
"""So many rows that the CIDR lists none."""
SECONDS = 240.0


@dataclass
class Course:
    """What happened to a twin."""

    phases: dict[str, Phase] = field(default_factory=dict)
    pools: dict[str, set[str]] = field(default_factory=dict)
    """Phase to the IPPools that are new or other than before."""
    hosts: dict[str, Any] = field(default_factory=dict)
    """The HostInterfaces in the end."""


def there(twin: Twin, plural: str) -> dict[str, Any]:
    """Name to object."""
    records = twin.api.store.collection("multinic.fms.io", plural).records
    return {name: record.obj for (_, name), record in records.items()}


async def run(size: Size, folder: Path) -> Course:
    """All phases."""
    course = Course()
    with trio.fail_after(SECONDS):
        async with open_twin(size, processes=2, sample=2, folder=folder) as twin:
            for name, act in PHASES.items():
                before = dict(there(twin, "ippools"))
                course.phases[name] = await measured(twin, name, partial(act, twin))
                now = there(twin, "ippools")
                course.pools[name] = {pool for pool, obj in now.items() if before.get(pool) != obj}
            course.hosts = there(twin, "hostinterfaces")
    return course


def of(phase: Phase, agent: str) -> dict[str, int]:
    """Resource to writes of one agent, renewals left out."""
    return {
        what: count
        for text, count in phase.writes.items()
        for who, _, what in [text.partition(" ")]
        if who == agent and what != "renewals"
    }


async def test_what_each_event_costs_without_lists(tmp_path: Path) -> None:
    """A node that joins is one write of its index and few others; no other node writes; a restart writes nothing."""
    course = await run(LARGER, tmp_path)
    found, hosts = course.phases, course.hosts
    boot, join, leave = found["boot"], found["one node joins"], found["one NIC goes"]
    assert of(boot, "multinic-daemon")["hostinterfaces"] == LARGER.nodes
    assert of(boot, "multinic-operator")["hostinterfaces/status"] == LARGER.nodes
    assert "ippools" not in of(boot, "multinic-operator")
    assert of(join, "multinic-operator")["hostinterfaces/status"] == 1
    assert join.operator_writes <= 8
    assert of(join, "multinic-daemon")["hostinterfaces"] == 1
    assert of(leave, "multinic-daemon") == {"hostinterfaces": 1}
    assert leave.operator_writes <= 2
    assert of(found["network edited"], "multinic-operator")["cidrs"] == 1
    assert "hostinterfaces" not in of(found["network edited"], "multinic-daemon")
    assert found["operator restarted"].operator_writes == 0
    assert max(phase.largest_bytes for phase in found.values()) < 100_000
    indexes = {host["status"]["hostIndex"] for host in hosts.values()}
    assert indexes == set(range(LARGER.nodes + 1))


async def test_what_each_event_costs_with_lists(tmp_path: Path) -> None:
    """Where the CIDR lists nodes, the operator writes each pool of a node that joins, and a restart writes nothing.

    Pools are counted by what came of it: a slow watch lets the operator ask for one again, and that changes nothing.
    """
    course = await run(SIZE, tmp_path)
    found, hosts = course.phases, course.hosts
    assert len(course.pools["boot"]) == SIZE.nodes * SIZE.nics
    join = found["one node joins"]
    assert len(course.pools["one node joins"]) == SIZE.nics
    assert not course.pools["one NIC goes"]
    assert of(join, "multinic-operator")["hostinterfaces/status"] == 1
    assert of(join, "multinic-daemon")["hostinterfaces"] == 1
    assert of(found["one NIC goes"], "multinic-daemon") == {"hostinterfaces": 1}
    assert found["operator restarted"].operator_writes == 0
    assert {host["status"]["hostIndex"] for host in hosts.values()} == set(range(SIZE.nodes + 1))


def phase(name: str, writes: int) -> Phase:
    return Phase(name, 1.0, writes, 0, 0, 0, 10 * writes, 100 * writes, 1, "cidrs/twin", 1.0, 50.0, 1.0, 1.0, {}, {})


def test_the_command_prints_phases_and_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table for each size and one of exponents; with --json one object."""
    found = {size: [phase("boot", 3 * size)] for size in (100, 500)}

    async def pretend(*_: Any, **__: Any) -> dict[int, list[Phase]]:
        return found

    monkeypatch.setattr(runs, "run_twins", pretend)
    told = CliRunner().invoke(multinic, ["lab", "twin", "--nodes", "100,500"]).output
    assert "100 nodes with 8 NICs" in told
    assert "Growth exponents from 100, 500 nodes" in told
    assert growth(found)["boot"]["writes"] == pytest.approx(1.0)
    as_json = CliRunner().invoke(multinic, ["lab", "twin", "--nodes", "100,500", "--json"]).output
    assert json.loads(as_json) == json.loads(json.dumps(document(found, 8)))


def test_a_size_that_cannot_be_is_a_usage_error() -> None:
    """Named with what would be accepted, before anything starts."""
    done = CliRunner().invoke(multinic, ["lab", "twin", "--nodes", "9000", "--alone"])
    assert done.exit_code == 2
    assert "--nodes: found 9000, expected a number from 2 to" in done.output


def test_a_phase_that_does_not_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command says which one, and where more is to be found, with status 1."""
    monkeypatch.setattr(phases, "STEP_SECONDS", 0.1)

    async def endless(_: Any) -> dict[str, float]:
        await trio.sleep_forever()

    monkeypatch.setattr(phases, "PHASES", {"boot": endless})
    done = CliRunner().invoke(multinic, ["lab", "twin", "--nodes", "20", "--alone"])
    assert done.exit_code == 1
    assert "20 nodes: boot: not over after 0.1 s; --logs keeps what the processes said" in done.output
