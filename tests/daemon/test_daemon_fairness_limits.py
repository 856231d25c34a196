"""A plugin that does not end is broken off, named, and left alone for a while; the loop goes on."""

import signal
import threading
import time
from contextlib import suppress

import pytest
import trio
from multinic_daemon.engine import limits
from multinic_daemon.engine.limits import limited
from multinic_daemon.standalone.turn import alarm
from multinic_daemon.testing import Rig

from multinic_core.errors import PluginError
from multinic_core.registry import Owner


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Limits that tests can wait for, and nothing remembered."""
    monkeypatch.setattr(limits, "PROCESSOR_SECONDS", 0.02)
    monkeypatch.setattr(limits, "WALL_SECONDS", 0.06)
    monkeypatch.setattr(limits, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(limits, "UNWIND_SECONDS", 0.02)
    monkeypatch.setattr(limits, "_resting", {})


def spin() -> None:
    while True:
        pass


def wait() -> None:
    threading.Event().wait(20)


def catch_everything() -> None:
    for _ in range(3):
        with suppress(BaseException):
            spin()
    spin()


def test_somebody_elses_alarm_goes_on() -> None:
    """Of a standalone call it is the only bound on a kernel that hangs after a plugin was asked."""
    rung = threading.Event()
    with alarm(600, rung.set):
        handler = signal.getsignal(signal.SIGALRM)
        assert limited("one", lambda: 1) == 1
        with pytest.raises(PluginError):
            limited("two", spin)
        assert signal.getsignal(signal.SIGALRM) is handler
        left, interval = signal.getitimer(signal.ITIMER_REAL)
        assert (0 < left < 600, interval) == (True, 0.0)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert not rung.is_set()


@pytest.mark.parametrize("function", [spin, wait, catch_everything])
def test_one_that_does_not_end_is_broken_off(function) -> None:  # type: ignore[no-untyped-def]
    """Whether it works, waits or catches what it is thrown."""
    with pytest.raises(PluginError, match="strategy 'x' of y: did not end and was broken off after"):
        limited("strategy 'x' of y", function)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_time_in_which_this_process_was_not_let_run_is_not_counted() -> None:
    """As on a machine so busy that a collection of garbage takes a second: alarms arrive as one."""

    def starved() -> str:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        try:
            threading.Event().wait(4 * limits.WALL_SECONDS)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        return "done"

    assert limited("strategy 'x' of y", starved) == "done"


def test_one_that_was_broken_off_is_left_alone_and_ever_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its calls are refused at once; after its rest it is asked again, and once it ends all is forgotten."""
    now = [time.monotonic()]
    monkeypatch.setattr(limits, "REST_FACTOR", 1000)

    def rest() -> float:
        with pytest.raises(PluginError):
            limited("x", spin)
        return limits._resting["x"].seconds

    first = rest()
    with pytest.raises(PluginError, match="not asked again for"):
        limited("x", lambda: pytest.fail("asked while resting"))
    assert limited("y", lambda: 1) == 1
    limits._resting["x"].until = 0
    assert rest() == min(limits.LONGEST_REST_SECONDS, 2 * first)
    limits._resting["x"].until = 0
    assert limited("x", lambda: 2) == 2
    assert limits._resting == {}
    assert now[0] <= time.monotonic()


def test_results_and_errors_pass() -> None:
    """What ends in time is not touched."""
    assert limited("x", lambda: [1]) == [1]
    with pytest.raises(ZeroDivisionError):
        limited("x", lambda: 1 // 0)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_other_threads_have_no_alarm() -> None:
    """Where there are no signals the function just runs."""
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.append(limited("x", lambda: 3)))
    thread.start()
    thread.join()
    assert got == [3]


class Endless:
    """A strategy, IPAM or main plugin that never answers."""

    args_model = None
    link_kinds = frozenset({"macvlan"})

    def __init__(self, name: str) -> None:
        self.name = name

    def select(self, request: object, candidates: object) -> object:
        return spin()

    allocate = plan = select


@pytest.mark.parametrize(
    ("register", "name", "said"),
    [
        ("strategies", "none", "strategy"),
        ("ipams", "multi-nic-ipam", "IPAM"),
        ("main_plugins", "macvlan", "main plugin"),
    ],
)
async def test_each_kind_of_plugin_is_bounded_and_named(rig: Rig, register: str, name: str, said: str) -> None:
    """The call fails with the plugin's and its distribution's name, and the next network's pods start."""
    found = getattr(rig.registry, register)
    found.objects[name], found.owners[name] = Endless(name), Owner("slow-plugin", "9", "slow")
    with trio.fail_after(60):
        message = await rig.refused(PluginError, "ADD")
        assert message.startswith(f"{said} {name!r} of slow-plugin 9 (slow): did not end")
        assert "not asked again" in await rig.refused(PluginError, "ADD")
    rig.assert_clean()
