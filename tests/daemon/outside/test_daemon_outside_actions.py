"""Actions of plugins during ADD, CHECK and DEL, and that one which hangs delays nobody else."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from multinic_daemon.outside import actions
from multinic_daemon.testing import Rig, refuse
from multinic_daemon.testing.executables import Acting, FileAction, Others

from multinic_core.errors import (
    ActionError,
    CheckFailedError,
    ConfigError,
    DaemonUnavailableError,
    KernelError,
    UnsupportedFieldError,
)

PLUGIN = {"type": "acting"}
KEYS = [f"c1.net1-{number}" for number in range(3)]


@pytest.fixture
def action(rig: Rig) -> FileAction:
    """The action that plans of ``acting`` name."""
    made = FileAction(rig.folder / "actions")
    rig.registry.main_plugins.objects["acting"] = Acting()
    rig.registry.actions.objects[made.name] = made
    return made


@pytest.fixture
def hung() -> Iterator[threading.Event]:
    """Lets what hangs in a test go on, at the latest at its end."""
    event = threading.Event()
    yield event
    event.set()


async def test_actions_are_done_before_links_and_taken_back_after_them(rig: Rig, action: FileAction) -> None:
    """What is outside the node is there before the first link, and goes when the last one is gone."""
    seen: list[tuple[str, list[str], list[str]]] = []
    rig.kernel.before_step = lambda step: seen.append((step, action.done(), rig.pod_links()))
    await rig.call("ADD", plugin=PLUGIN)
    assert seen[0] == ("link net1-0", KEYS, [])
    action.before = lambda verb: seen.append((verb, action.done(), rig.pod_links()))
    seen.clear()
    await rig.call("DEL", plugin=PLUGIN)
    assert [step for step, _, _ in seen] == ["remove", "undo", "undo", "undo"]
    assert seen[1][1:] == (KEYS, [])
    assert action.done() == []
    rig.assert_clean()


async def test_failing_action_leaves_nothing(rig: Rig, action: FileAction) -> None:
    """What an action raises is named with the action and its link, and what was done before is taken back."""
    (action.folder / "refuse-do-c1.net1-1").touch()
    message = await rig.refused(ActionError, "ADD", plugin=PLUGIN)
    assert message == "action 'fake-action' for link 'net1-1': do: raised ValueError('refused as told')"
    assert action.done() == []
    rig.assert_clean()


async def test_refusal_of_the_kernel_takes_actions_back(rig: Rig, action: FileAction) -> None:
    """No link, no action."""
    rig.kernel.before_step = refuse("link net1-2")
    await rig.refused(KernelError, "ADD", plugin=PLUGIN)
    assert action.done() == []
    rig.assert_clean()


async def test_failing_undo_keeps_the_row_and_its_addresses(rig: Rig, action: FileAction) -> None:
    """An address is free when what was done outside for it is known to be gone; the others are taken back at once."""
    await rig.call("ADD", plugin=PLUGIN)
    (action.folder / "refuse-undo-c1.net1-1").touch()
    await rig.refused(ActionError, "DEL", plugin=PLUGIN)
    (record,) = rig.journal.of_interface("c1", "net1")
    assert (record.state, action.done(), set(rig.held().values())) == ("deleting", ["c1.net1-1"], {1})
    (action.folder / "refuse-undo-c1.net1-1").unlink()
    await rig.call("DEL", plugin=PLUGIN)
    assert action.done() == []
    rig.assert_clean()


async def test_check_asks_actions(rig: Rig, action: FileAction) -> None:
    """What an action finds to differ fails CHECK, and so does one that raises."""
    result = await rig.call("ADD", plugin=PLUGIN)
    await rig.call("CHECK", plugin=PLUGIN, prevResult=result)
    (action.folder / "done-c1.net1-0").unlink()
    (action.folder / "refuse-check-c1.net1-1").touch()
    message = await rig.refused(CheckFailedError, "CHECK", plugin=PLUGIN, prevResult=result)
    assert "c1.net1-0 is not done; action 'fake-action' for link 'net1-1': check: raised" in message


async def test_action_that_is_not_installed_is_named(rig: Rig, action: FileAction) -> None:
    """A plan may name only actions that are there."""
    del rig.registry.actions.objects[action.name]
    assert "'fake-action'" in await rig.refused(ConfigError, "ADD", plugin=PLUGIN)
    rig.assert_clean()


async def test_action_waits_for_addresses_of_ipam_executables(rig: Rig) -> None:
    """It is planned with them, so that is what it gets; an IPAM that needs the link first cannot serve it."""
    others = Others.on(rig)
    seen: list[list[str]] = []
    others.action.before = lambda verb: seen.append(others.executables.calls())
    await others.call("ADD", "acting")
    assert seen == [[f"ADD net1-{number} fake-ipam" for number in range(3)]] * 3
    (others.executables.folder / "dhcp").symlink_to(others.executables.folder / "fake-ipam")
    ipam = {"type": "dhcp"}
    message = await rig.refused(UnsupportedFieldError, "ADD", "c2", plugin=PLUGIN, ipam=ipam)
    assert "ipam.type: found 'dhcp'" in message


async def test_action_without_a_thread_holds_nothing_up(
    rig: Rig, action: FileAction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the machine has no more threads the pod is refused; when it has, the next one is attached."""
    start = trio.lowlevel.start_thread_soon

    def refuse_actions(talk: Callable[[], object], *rest: Any) -> None:
        if getattr(getattr(talk, "func", None), "__self__", None) is action:
            raise RuntimeError("can't start new thread")
        start(talk, *rest)

    await rig.call("ADD", plugin=PLUGIN)
    with monkeypatch.context() as patch:
        patch.setattr(trio.lowlevel, "start_thread_soon", refuse_actions)
        assert "can't start new thread" in await rig.refused(ActionError, "DEL", plugin=PLUGIN)
        assert rig.engine.outside.undoing.idle
    await rig.call("DEL", plugin=PLUGIN)
    assert action.done() == []
    rig.assert_clean()


async def test_hung_action_delays_nobody_else(
    rig: Rig, action: FileAction, hung: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While actions of one network hang, more of them than there are workers, pods of another are attached."""
    rig.add_network("net-b", 3, prefix="172.30")
    action.before = lambda verb: assert_let_go(hung)
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(rig.call, "ADD", f"c{number}")
        for number in range(20, 40):
            nursery.start_soon(lambda name: rig.call("ADD", name, plugin=PLUGIN), f"c{number}")
        while rig.engine.outside.doing.busy().count("holds 8 of 16") == 0:
            await trio.sleep(0.01)
        action.before = lambda verb: None
        with trio.fail_after(60):
            await rig.call("ADD", "other", name="net-b", plugin=PLUGIN)
            await rig.call("ADD", "same-network")
        assert "other.net1-0" in action.done()
        hung.set()
    assert rig.engine.outside.doing.idle


def assert_let_go(event: threading.Event) -> None:
    assert event.wait(120)


async def test_call_of_a_hung_action_ends_and_its_undo_waits_for_it(
    rig: Rig, action: FileAction, hung: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call does not wait for ever; its row stays until the action has ended, so undo never runs beside do."""
    monkeypatch.setattr(actions, "ACTION_SECONDS", 0.05)
    verbs: list[str] = []

    def before(verb: str) -> None:
        verbs.append(verb)
        if verb == "do":
            assert_let_go(hung)

    action.before = before
    message = await rig.refused(DaemonUnavailableError, "ADD", plugin=PLUGIN)
    assert "did not end within 0.05 seconds" in message
    (record,) = rig.journal.of_interface("c1", "net1")
    assert (record.state, verbs) == ("deleting", ["do"])
    assert "an earlier action" in await rig.refused(DaemonUnavailableError, "DEL", plugin=PLUGIN)
    monkeypatch.setattr(actions, "ACTION_SECONDS", 120.0)
    hung.set()
    await rig.call("DEL", plugin=PLUGIN)
    assert verbs == ["do", "undo", "undo", "undo"]
    assert action.done() == []
    rig.assert_clean()
    assert rig.engine.outside.doing.idle


async def test_attachment_without_others_passes_no_lane_of_theirs(rig: Rig) -> None:
    """Where nobody else has a part, nothing of all this is entered."""
    rig.engine.outside.doing.workers = 0
    rig.engine.outside.doing._free = 0
    result = await rig.call("ADD")
    await rig.call("CHECK", prevResult=result)
    await rig.call("DEL")
