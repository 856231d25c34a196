"""kill -9 at every named instant of every operation: what a new daemon then finds and makes of it."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from multinic_daemon import crashpoints
from multinic_daemon.recovery.recovery import recover
from multinic_daemon.recovery.tombstones import FOLDER, replay
from multinic_daemon.testing import Rig, links
from multinic_daemon.testing.actions import NOTHING
from multinic_daemon.testing.forks import Forks

ACTIONS = "multinic_daemon.testing.actions:main"
SCENARIOS = {
    "add.decided": ["ADD"],
    "add.journaled": ["ADD"],
    "apply.created": ["ADD"],
    "add.applied": ["ADD"],
    "add.ready": ["ADD"],
    "addresses.ready": ["HOLD"],
    "undo.marked": ["REFUSE link net1-1", "ADD"],
    "undo.removed": ["REFUSE link net1-1", "ADD"],
    "undo.released": ["REFUSE link net1-1", "ADD"],
    "replace.marked": ["ADD", "SPOIL", "ADD"],
    "replace.removed": ["ADD", "SPOIL", "ADD"],
    "replace.released": ["ADD", "SPOIL", "ADD"],
    "sweep.marked": ["ADD", "SWEEP"],
    "sweep.removed": ["ADD", "SWEEP"],
    "sweep.released": ["ADD", "SWEEP"],
    "del.marked": ["ADD", "DEL"],
    "del.removed": ["ADD", "DEL"],
    "del.released": ["ADD", "DEL"],
    "gc.marked": ["ADD", "ADD c2", "GC"],
    "gc.removed": ["ADD", "ADD c2", "GC"],
    "gc.released": ["ADD", "ADD c2", "GC"],
    "gc.done": ["ADD", "ADD c2", "GC"],
    "recovery.forgotten": ["ADD", "ADD c2", "REBOOT", "RECOVER"],
    "recovery.marked": ["ADD", "REFUSE remove", "DEL"],
    "recovery.removed": ["ADD", "REFUSE remove", "DEL"],
    "recovery.released": ["ADD", "REFUSE remove", "DEL"],
    "tombstone.honoured": ["ADD", "TOMBSTONE", "REPLAY"],
}
"""Crash point to what leads there; those of start-up are reached by the daemon after the one that failed."""
KEPT = {"add.ready": {"c1"}, "addresses.ready": {"c1"}}
"""Crash point to the containers that a new daemon must still know. Where it is absent: at most those before a GC."""
INSIDE = [
    ["KILL link net1-0", "ADD"],
    ["KILL link net1-2", "ADD"],
    ["ADD", "KILL remove", "DEL"],
    ["ADD", "ADD c2", "KILL remove", "GC"],
]
"""Deaths in the middle of the kernel's own work."""
RETRIES = {"add": ["ADD"], "del-add": ["DEL", "ADD"], "del": ["DEL", "DEL"]}
"""What runtimes do after an answer that never came."""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.close()


def audit(rig: Rig) -> None:
    """Links in every namespace belong to ready rows and the other way round; held addresses are those of rows."""
    records = [*rig.journal.of_network("multi-nic", "net-a"), *rig.journal.of_network("multi-nic-ipam", "net-a")]
    assert {record.state for record in records} <= {"ready"}
    wanted = {(r.netns, link.ifname, r.group) for r in records for link in r.plan.links}
    folder = rig.folder / "netns"
    there = {
        (str(netns), ifname, content["group"])
        for netns in (folder.iterdir() if folder.exists() else ())
        for ifname, content in links(netns).items()
    }
    assert there == wanted
    assert sum(rig.held().values()) == sum(len(rig.journal.allocations(record)) for record in records)


async def start(rig: Rig) -> None:
    """What a new daemon does before it answers."""
    assert await recover(rig.engine) == 0
    assert await replay(rig.engine, rig.folder / "run" / FOLDER) == 0


async def retry(rig: Rig, words: list[str]) -> None:
    """The runtime asks again; in the end everything goes."""
    for word in words:
        await rig.call(word)
        audit(rig)
    await rig.call("DEL")
    await rig.call("DEL", executable="multi-nic-ipam", masters=["eth1", "eth2"])
    await rig.call("GC", "", netns="", **NOTHING)
    audit(rig)
    rig.assert_clean()
    assert rig.pod_links("c2") == []


@pytest.mark.parametrize("words", RETRIES.values(), ids=RETRIES)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_crash_at_a_named_point(tmp_path: Path, forks: Forks, name: str, words: list[str]) -> None:
    """Nothing half made is left once a daemon is back, and the runtime's retry does what it asks."""
    if name.startswith("recovery.") and name != "recovery.forgotten":
        pid = forks.start(
            "multinic_daemon.testing.actions:main", str(tmp_path), *SCENARIOS[name], output=tmp_path / "first"
        )
        assert forks.wait(pid) == 1, "the kernel refused, so the row is there for the next daemon"
        forks.crash(ACTIONS, tmp_path, "RECOVER", at=name)
    else:
        forks.crash(ACTIONS, tmp_path, *SCENARIOS[name], at=name)
    rig = Rig(tmp_path)
    if name == "recovery.forgotten":
        rig.restart(boot="boot-2")
        for netns in (tmp_path / "netns").iterdir():  # a reboot takes the links
            for file in netns.iterdir():
                file.unlink()
    await start(rig)
    audit(rig)
    found = {record.key.container_id for record in rig.journal.of_network("multi-nic", "net-a")}
    found |= {record.key.container_id for record in rig.journal.of_network("multi-nic-ipam", "net-a")}
    assert found == KEPT.get(name, found if name.startswith("gc.") else set())
    await retry(rig, words)
    rig.journal.close()


@pytest.mark.parametrize("words", INSIDE, ids=" ".join)
async def test_crash_inside_the_kernels_work(tmp_path: Path, forks: Forks, words: list[str]) -> None:
    """The same, for deaths between one link and the next."""
    forks.crash(ACTIONS, tmp_path, *words)
    rig = Rig(tmp_path)
    await start(rig)
    audit(rig)
    await retry(rig, ["ADD"])
    rig.journal.close()


async def test_crash_after_the_last_write_keeps_the_attachment(tmp_path: Path, forks: Forks) -> None:
    """The runtime lost the answer; asking again gives it, with the addresses that were held."""
    forks.crash(ACTIONS, tmp_path, "ADD", at="add.ready")
    rig = Rig(tmp_path)
    await start(rig)
    assert len((await rig.call("ADD"))["interfaces"]) == 3
    assert set(rig.held().values()) == {1}
    rig.journal.close()


def test_every_registered_point_is_tested() -> None:
    """Whoever adds a point also kills a process there: some test names it."""
    root = Path(__file__).parents[1]
    named = {
        node.value
        for file in root.rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert [name for name in crashpoints.NAMES if name not in named] == []


def test_every_scenario_is_of_a_registered_point() -> None:
    """A point that was renamed does not live on in the tables here."""
    assert SCENARIOS.keys() <= crashpoints.NAMES.keys()
    assert KEPT.keys() <= SCENARIOS.keys()


def test_a_process_that_nobody_wants_dead_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable, and with another name in it, a point does nothing."""
    monkeypatch.delenv(crashpoints.VARIABLE, raising=False)
    crashpoints.reached("add.ready")
    monkeypatch.setenv(crashpoints.VARIABLE, "add.applied")
    crashpoints.reached("add.ready")
    assert os.getpid()
