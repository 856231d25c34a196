"""Rates follow what the counters of NICs say."""

import errno
from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from multinic_daemon.discovery import rates as rates_module
from multinic_daemon.discovery.rates import INTERVAL_SECONDS, SMOOTHING_SECONDS, Rates, Reading, advanced
from multinic_daemon.netlink.statistics import Carried

from multinic_core import KernelError, Nic, NodeView

STEADY = (8e6, 16e6)
"""1 MB/s sent and 2 MB/s received."""

seconds = st.floats(0.01, 1000)
counters = st.integers(0, 2**60)


def after(readings: list[tuple[float, int, int]], last: Reading | None = None) -> Reading:
    """The last of readings (time, sent, received) of one link."""
    for at, sent, received in readings:
        last = advanced(last, 7, Carried(sent, received), at)
    assert last is not None
    return last


def test_nothing_is_said_before_the_second_reading():
    """One reading of a counter is no rate."""
    assert after([(0, 10**9, 10**9)]).rate is None
    assert after([(0, 0, 0), (2, 2_000_000, 4_000_000)]).rate == STEADY


@given(st.lists(seconds, min_size=1, max_size=20), st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_steady_load_shows_as_it_is(pauses: list[float], sent: int, received: int):
    """However long the intervals are, a NIC that carries so many bytes a second is said to do so."""
    now, reading = 0.0, advanced(None, 7, Carried(0, 0), 0.0)
    for pause in pauses:
        now += pause
        reading = advanced(reading, 7, Carried(round(sent * now), round(received * now)), now)
    # a byte more or less at the end of an interval of 10 ms is 800 bit/s
    assert reading.rate == (pytest.approx(8 * sent, abs=900), pytest.approx(8 * received, abs=900))


@given(st.lists(st.tuples(seconds, counters, counters), min_size=2, max_size=20))
def test_a_rate_is_never_negative_nor_above_the_highest_interval(steps: list[tuple[float, int, int]]):
    """Whatever counters do, also going backwards."""
    now, highest, reading = 0.0, 0.0, None
    for pause, sent, received in steps:
        last, now = reading, now + pause
        reading = advanced(last, 7, Carried(sent, received), now)
        if last is not None:
            elapsed = now - last.at_seconds
            highest = max(highest, 8 * (sent - last.carried.transmitted) / elapsed)
        if reading.rate is not None:
            assert 0 <= reading.rate[0] <= highest * (1 + 1e-9)
            assert reading.rate[1] >= 0


def test_a_new_load_shows_in_parts_and_a_burst_fades():
    """After one interval 39 per cent of a new load, after four 86; of one that ended the rest."""
    idle = after([(0, 0, 0), (5, 0, 0)])
    grown = [(5.0 * n + 5, 10**6 * 5 * n, 0) for n in range(1, 5)]
    one, four = after(grown[:1], idle).rate, after(grown, idle).rate
    assert (one, four) == ((pytest.approx(8e6 * 0.3935, rel=1e-3), 0), (pytest.approx(8e6 * 0.8647, rel=1e-3), 0))
    faded = after([(30, 2 * 10**7, 0), (35, 2 * 10**7, 0)], after(grown, idle)).rate
    assert faded == (pytest.approx(8e6 * 0.8647 * 0.3679, rel=1e-3), 0)
    assert (INTERVAL_SECONDS, SMOOTHING_SECONDS) == (5, 10)


@pytest.mark.parametrize("reset", [(0, 0), (2_000_000, 0), (0, 5_000_000)])
def test_an_interval_in_which_a_counter_goes_backwards_is_passed_over(reset: tuple[int, int]):
    """A driver that was loaded again makes neither a negative rate nor one of terabits."""
    known = after([(0, 0, 0), (2, 2_000_000, 4_000_000)])
    broken = after([(4, *reset)], known)
    assert broken.rate == STEADY
    assert after([(6, reset[0] + 2_000_000, reset[1] + 4_000_000)], broken).rate == pytest.approx(STEADY)


def test_another_link_under_the_name_begins_anew():
    """The counters of a link that was made again belong to another one."""
    known = after([(0, 0, 0), (2, 2_000_000, 4_000_000)])
    assert advanced(known, 8, Carried(9, 9), 4) == Reading(8, Carried(9, 9), 4)


class FakeKernel:
    """Counters by ifindex, which the test moves on; ``fail`` answers with an error number."""

    def __init__(self) -> None:
        self.carried: dict[int, Carried] = {}
        self.fail = 0

    def read(self, _: Any, ifindex: int) -> Carried:
        if self.fail:
            raise KernelError("statistics", self.fail)
        if ifindex not in self.carried:
            raise KernelError("statistics", errno.ENODEV)
        return self.carried[ifindex]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    """Answers in place of the real one, in the thread of the test, whose clock no other thread overtakes."""
    made = FakeKernel()

    async def run_here(call: Callable[..., Any], *arguments: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return call(*arguments)

    monkeypatch.setattr(rates_module, "read_carried", made.read)
    monkeypatch.setattr(trio.to_thread, "run_sync", run_here)
    return made


async def test_rates_of_the_nics_of_the_view_are_kept_fresh(kernel: FakeKernel, autojump_clock: Any):
    """Each interval brings a new value; a NIC that leaves, or that is in a pod, is absent."""
    view = NodeView("n1", {"eth1": Nic("eth1", 3, 1500), "eth2": Nic("eth2", 4, 1500)})
    rates = Rates(lambda: view)
    kernel.carried = {3: Carried(0, 0)}
    async with trio.open_nursery() as nursery:
        await nursery.start(rates.serve)
        await trio.sleep(1)
        assert rates() == {}
        kernel.carried = {3: Carried(5_000_000, 10_000_000), 4: Carried(0, 0)}
        await trio.sleep(5)
        first = rates()
        assert first == {"eth1": pytest.approx(STEADY)}
        kernel.carried = {3: Carried(10_000_000, 20_000_000), 4: Carried(0, 0)}
        await trio.sleep(5)
        assert rates() == {"eth1": pytest.approx(STEADY), "eth2": (0, 0)}
        assert "eth2" not in first
        view = NodeView("n1", {"eth2": Nic("eth2", 4, 1500)})
        await trio.sleep(5)
        assert rates() == {"eth2": (0, 0)}
        nursery.cancel_scope.cancel()


async def test_a_kernel_that_does_not_answer_makes_rates_unknown_and_is_asked_again(
    kernel: FakeKernel, autojump_clock: Any, caplog: pytest.LogCaptureFixture
):
    """Old rates are not told as new ones; the daemon lives on, and says so once."""
    rates = Rates(lambda: NodeView("n1", {"eth1": Nic("eth1", 3, 1500)}))
    kernel.carried = {3: Carried(0, 0)}
    async with trio.open_nursery() as nursery:
        await nursery.start(rates.serve)
        await trio.sleep(6)
        assert rates() == {"eth1": (0, 0)}
        kernel.fail = errno.ETIMEDOUT
        await trio.sleep(15)
        assert rates() == {}
        assert [record.message for record in caplog.records] == ["rates not known, will retry"]
        kernel.fail = 0
        await trio.sleep(10)
        assert rates() == {"eth1": (0, 0)}
        nursery.cancel_scope.cancel()
