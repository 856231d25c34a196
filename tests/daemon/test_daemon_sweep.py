"""What could not be removed at once is removed as soon as the kernel or the journal allows it, with no help."""

import errno
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from multinic_daemon.calls.request import CniRequest, encode_request
from multinic_daemon.recovery.recovery import recover
from multinic_daemon.recovery.sweep import LAST_SECONDS, serve_sweep
from multinic_daemon.recovery.tombstones import replay
from multinic_daemon.testing import Rig, make_link, refuse

from multinic_core.errors import KernelError
from multinic_core.model import IPPOOLS

SOON_SECONDS = 10.0


@asynccontextmanager
async def sweeping(rig: Rig) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_sweep, rig.engine)
        yield
        nursery.cancel_scope.cancel()


def refuse_removals(times: int) -> Callable[[str], None]:
    """A kernel that refuses so many removals, then none."""
    left = [times]

    def check(step: str) -> None:
        if step == "remove" and left[0]:
            left[0] -= 1
            refuse("remove")(step)

    return check


async def until_clean(rig: Rig, container: str = "c1") -> None:
    with trio.fail_after(SOON_SECONDS):
        while rig.journal.of_interface(container, "net1"):
            await trio.sleep(0.1)
    rig.assert_clean(container)


@pytest.mark.parametrize("times", [1, 4])
async def test_refused_del_is_finished_within_seconds(rig: Rig, autojump_clock: Any, times: int) -> None:
    """Though no runtime asks again."""
    async with sweeping(rig):
        await rig.call("ADD")
        rig.kernel.before_step = refuse_removals(times)
        await rig.refused(KernelError, "DEL")
        await until_clean(rig)


async def test_what_is_refused_on_and_on_is_told_with_the_way_out(
    rig: Rig, autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """As for a device whose driver's module is gone; and it is tried for as long as it takes."""

    def check(step: str) -> None:
        if step == "remove":
            raise KernelError("binding", errno.ENODEV, details="load the driver's module")

    async with sweeping(rig):
        await rig.call("ADD")
        rig.kernel.before_step = check
        await rig.refused(KernelError, "DEL")
        with trio.fail_after(20 * LAST_SECONDS):
            while not any("tried on and on" in record.getMessage() for record in caplog.records):
                await trio.sleep(LAST_SECONDS)
        (told,) = [record for record in caplog.records if "tried on and on" in record.getMessage()]
        assert vars(told)["way_out"] == "load the driver's module"
        rig.kernel.before_step = refuse_removals(0)
        await trio.sleep(LAST_SECONDS)
        await until_clean(rig)


async def test_failed_add_that_could_not_be_taken_back_is_finished(rig: Rig, autojump_clock: Any) -> None:
    """Its links and its addresses go, though no runtime asks again."""
    refuse_first = refuse_removals(2)

    def check(step: str) -> None:
        refuse_first(step)
        refuse("link net1-2")(step)

    async with sweeping(rig):
        rig.kernel.before_step, rig.kernel.undo = check, False
        await rig.refused(KernelError, "ADD")
        assert rig.pod_links() == ["net1-0", "net1-1"]
        await until_clean(rig)


async def test_what_the_start_could_not_finish_is_finished(rig: Rig, autojump_clock: Any) -> None:
    """A row that the last daemon left, on a kernel that does not let go at once."""
    await rig.call("ADD")
    rig.journal.mark_deleting(rig.journal.of_interface("c1", "net1")[0])
    rig.restart()
    rig.kernel.before_step = refuse_removals(3)
    assert await recover(rig.engine) == 1
    async with sweeping(rig):
        await until_clean(rig)


def tombstone(rig: Rig, name: str) -> Path:
    """A DEL of container c1 as the executable leaves it when no daemon is there."""
    folder = rig.folder / "run" / "tombstones"
    folder.mkdir(exist_ok=True)
    body = json.dumps(rig.netconf()).encode()
    request = CniRequest("multi-nic", "DEL", "c1", rig.pod(), "net1", "", "/opt/cni/bin", body)
    (folder / name).write_bytes(encode_request(request))
    return folder / name


@pytest.mark.parametrize("step", ["remove", "survey"])
async def test_tombstone_that_was_refused_is_honoured_within_seconds(rig: Rig, autojump_clock: Any, step: str) -> None:
    """Of a row of ours, and of a pod that was taken over, with the daemon that found it; no start is needed."""
    if step == "survey":
        entry = {"pod": "web-0", "namespace": "default", "index": 7, "address": "192.168.0.7"}
        await rig.kubernetes.patch(IPPOOLS, "net-a-192.168.0.0-24", {"spec": {"allocations": [entry]}})
        make_link(rig.pod(), "net1-0", "192.168.0.7/18")
    else:
        await rig.call("ADD")
    file, left = tombstone(rig, "a1"), [3]

    def check(found: str) -> None:
        if found == step and left[0]:
            left[0] -= 1
            refuse(step)(found)

    rig.kernel.before_step = check
    assert await replay(rig.engine, file.parent) == 1
    async with sweeping(rig):
        with trio.fail_after(SOON_SECONDS):
            while file.exists():
                await trio.sleep(0.1)
    rig.assert_clean()


async def test_tombstone_does_not_touch_the_next_attachment(rig: Rig, autojump_clock: Any) -> None:
    """One that waits until its interface is attached anew was meant for what is gone."""
    rig.now = time.time() - 60
    await rig.call("ADD")
    file = tombstone(rig, "a1")
    rig.kernel.before_step = refuse_removals(2)
    assert await replay(rig.engine, file.parent) == 1
    rig.now = time.time() + 60
    rig.kernel.before_step = lambda step: None
    await rig.call("ADD")
    async with sweeping(rig):
        with trio.fail_after(SOON_SECONDS):
            while file.exists():
                await trio.sleep(0.1)
    assert len(rig.pod_links()) == 3
    assert rig.journal.of_interface("c1", "net1")[0].state == "ready"


async def test_tombstone_that_waits_for_an_add_leaves_what_that_makes(rig: Rig, autojump_clock: Any) -> None:
    """Its attachment had gone already; the one that is being made under the name is another."""
    file = tombstone(rig, "a1")
    async with trio.open_nursery() as nursery, rig.engine.locks(("c1", "net1")):
        for wait in (partial(rig.call, "ADD"), partial(replay, rig.engine, file.parent)):
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
    assert not file.exists()
    assert len(rig.pod_links()) == 3


async def test_journal_that_cannot_be_written_for_a_while(rig: Rig, autojump_clock: Any) -> None:
    """A failed ADD that could not even be marked is finished when the journal can be written again."""

    def check(step: str) -> None:
        if step == "link net1-1":
            rig.journal._db.execute("PRAGMA query_only = ON")
        refuse("link net1-1")(step)

    async with sweeping(rig):
        rig.kernel.before_step, rig.kernel.undo = check, False
        await rig.refused(KernelError, "ADD")
        await trio.sleep(3)
        assert rig.pod_links() == ["net1-0"]
        rig.journal._db.execute("PRAGMA query_only = OFF")
        await until_clean(rig)


async def test_attempts_become_rare_and_stop_with_the_row(rig: Rig, autojump_clock: Any) -> None:
    """A kernel that refuses for an hour is asked twice a minute, and never again when nothing is left."""
    async with sweeping(rig):
        await rig.call("ADD")
        rig.kernel.before_step = refuse("remove")
        await rig.refused(KernelError, "DEL")
        rig.kernel.calls.clear()
        await trio.sleep(3600)
        assert 3600 / LAST_SECONDS <= rig.kernel.calls.count("remove") <= 3600 / LAST_SECONDS + 7
        rig.kernel.before_step = lambda step: None
        await trio.sleep(LAST_SECONDS + 1)
        rig.assert_clean()
        rig.kernel.calls.clear()
        await trio.sleep(3600)
        assert rig.kernel.calls == []


async def test_next_attachment_under_the_same_name_is_left_alone(rig: Rig, autojump_clock: Any) -> None:
    """An ADD that came first has removed the row itself."""
    async with sweeping(rig):
        await rig.call("ADD")
        rig.kernel.before_step = refuse_removals(1)
        await rig.refused(KernelError, "DEL")
        await rig.call("ADD")
        await trio.sleep(SOON_SECONDS)
        assert len(rig.pod_links()) == 3
        assert rig.journal.of_interface("c1", "net1")[0].state == "ready"
        assert rig.kernel.calls.count("remove") == 2


async def test_row_in_the_hands_of_a_call_is_waited_for(rig: Rig, autojump_clock: Any) -> None:
    """An ADD at work on the interface is not disturbed."""
    async with sweeping(rig):
        await rig.call("ADD")
        rig.kernel.before_step = refuse_removals(1)
        await rig.refused(KernelError, "DEL")
        async with rig.engine.locks(("c1", "net1")):
            await trio.sleep(SOON_SECONDS)
            assert len(rig.pod_links()) == 3
        await until_clean(rig)


async def test_namespace_as_the_runtime_knew_it_is_looked_at_too(rig: Rig, autojump_clock: Any) -> None:
    """The path of a row may be an old one; that of the DEL which failed is kept with it."""
    async with sweeping(rig):
        await rig.call("ADD")
        Path(rig.pod()).rename(rig.folder / "netns" / "moved")
        rig.kernel.before_step = refuse_removals(1)
        await rig.refused(KernelError, "DEL", netns=str(rig.folder / "netns" / "moved"))
        await until_clean(rig)
        assert rig.pod_links("moved") == []


async def test_row_that_will_not_go_does_not_stand_before_others(rig: Rig, autojump_clock: Any) -> None:
    """Each has its own pauses."""
    async with sweeping(rig):
        for container in ("c1", "c2"):
            await rig.call("ADD", container)
        rig.kernel.before_step = refuse("remove")
        await rig.refused(KernelError, "DEL")
        await trio.sleep(3600)
        await rig.refused(KernelError, "DEL", "c2")
        rig.kernel.before_step = lambda step: None
        with trio.fail_after(SOON_SECONDS):
            while rig.journal.of_interface("c2", "net1"):
                await trio.sleep(0.1)
        assert rig.pod_links("c2") == []
