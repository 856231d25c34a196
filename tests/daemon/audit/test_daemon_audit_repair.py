"""Repair: what is proven dead goes through the daemon, and everything else stays."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from multinic_daemon.audit.findings import Finding, Kind, Verdict
from multinic_daemon.audit.repair import Repaired, delete_request, repair, require_daemon
from multinic_daemon.audit.sources.rundir import observe_journal, observe_tombstones
from multinic_daemon.audit.world import Row
from multinic_daemon.calls.request import encode_request, parse_request
from multinic_daemon.testing import Rig

from multinic_core.errors import DaemonUnavailableError


async def mend(rig: Rig, socket: Path, findings: list[Finding], rows: tuple[Row, ...]) -> list[Repaired]:
    """Repair in a thread, as the command does."""
    work = partial(repair, findings, rows, rig.folder / "run", socket)
    return await trio.to_thread.run_sync(lambda: list(work()))


def rows_of(rig: Rig) -> tuple[Row, ...]:
    return observe_journal(rig.folder / "run")[0]


def dead(row: Row, kind: Kind = Kind.OTHER_BOOT, verdict: Verdict = Verdict.DEAD) -> Finding:
    return Finding(kind, row.record.key.container_id, verdict, row=row.record.id)


async def test_dead_rows_are_freed_and_no_other(rig: Rig, serving: Callable[[Rig], Any]) -> None:
    """The row goes with its addresses; a row that only differs stays."""
    await rig.call("ADD", "c1")
    await rig.call("ADD", "c2")
    rows = rows_of(rig)
    findings = [dead(rows[0]), dead(rows[1], Kind.LINKS_MISSING, Verdict.DIFFERENCE)]
    async with serving(rig) as socket:
        (done,) = await mend(rig, socket, findings, rows)
    assert done.problem == ""
    assert done.freed == ("192.168.0.1/18", "192.168.128.1/18", "192.168.64.1/18")
    assert [row.record.key.container_id for row in rows_of(rig)] == ["c2"]


async def test_row_that_changed_meanwhile_is_left_alone(rig: Rig, serving: Callable[[Rig], Any]) -> None:
    """The proof was about the row as it was seen."""
    await rig.call("ADD", "c1")
    seen = rows_of(rig)
    await rig.call("DEL", "c1")
    await rig.call("ADD", "c1")
    async with serving(rig) as socket:
        (done,) = await mend(rig, socket, [dead(seen[0])], seen)
    assert "changed meanwhile" in done.problem
    assert len(rows_of(rig)) == 1


async def test_sandbox_that_is_there_again_is_left_alone(rig: Rig, serving: Callable[[Rig], Any]) -> None:
    """A path that leads somewhere is no proof any more; here it leads to a folder."""
    await rig.call("ADD", "c1")
    rows = rows_of(rig)
    async with serving(rig) as socket:
        (done,) = await mend(rig, socket, [dead(rows[0], Kind.SANDBOX_GONE)], rows)
    assert "there again" in done.problem
    assert rows_of(rig) == rows


async def test_refusal_of_the_daemon_is_told(rig: Rig, serving: Callable[[Rig], Any]) -> None:
    """In the daemon's own words, and the row is still held."""
    await rig.call("ADD", "c1")
    rows = rows_of(rig)

    def refuse(step: str) -> None:
        raise DaemonUnavailableError(f"not now: {step}")

    rig.kernel.before_step = refuse
    async with serving(rig) as socket:
        (done,) = await mend(rig, socket, [dead(rows[0])], rows)
    assert done.problem == "not now: remove"


async def test_row_that_no_del_can_name_is_left_to_the_daemon(rig: Rig, serving: Callable[[Rig], Any]) -> None:
    """An adopted row whose container id nobody knows."""
    await rig.call("ADD", "c1")
    (row,) = rows_of(rig)
    nameless = replace(row, record=replace(row.record, key=replace(row.record.key, container_id="?1")))
    async with serving(rig) as socket:
        (done,) = await mend(rig, socket, [dead(nameless)], (nameless,))
    assert "no DEL can name it" in done.problem


async def test_frame_is_the_del_that_the_runtime_owed(rig: Rig) -> None:
    """What the daemon reads from it is the row's own key."""
    await rig.call("ADD", "c1", executable="multi-nic")
    (row,) = rows_of(rig)
    request = parse_request(encode_request(delete_request(row.record)))
    assert (request.plugin, request.command, request.container_id, request.ifname) == ("multi-nic", "DEL", "c1", "net1")
    assert request.netns == rig.pod("c1")


async def test_without_a_daemon_repair_refuses(tmp_path: Path) -> None:
    """A socket that is not there, and one that nobody serves."""
    for path in (tmp_path / "cni.sock", tmp_path / "plain"):
        (tmp_path / "plain").touch()
        with pytest.raises(DaemonUnavailableError, match="no daemon answers on"):
            require_daemon(path)


async def test_live_daemon_can_repair(rig: Rig, serving: Callable[[Rig], Any]) -> None:
    """Asking whether it is there costs it nothing."""
    async with serving(rig) as socket:
        await trio.to_thread.run_sync(require_daemon, socket)


async def test_tombstones_are_read_with_what_they_name(rig: Rig) -> None:
    """Whole ones by their key, broken ones as they are, unfinished ones not at all."""
    await rig.call("ADD", "c1")
    (row,) = rows_of(rig)
    folder = rig.folder / "run" / "tombstones"
    folder.mkdir()
    (folder / "a").write_bytes(encode_request(delete_request(row.record)))
    (folder / "b").write_bytes(b"nonsense")
    (folder / ".c").write_bytes(b"")
    found = observe_tombstones(rig.folder / "run" / "cni.sock")
    assert [(Path(each.file).name, each.key) for each in found] == [("a", row.record.key), ("b", None)]
