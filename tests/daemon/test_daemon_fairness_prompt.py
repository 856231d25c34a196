"""A call that is alone waits for the kernel without a turn of the loop, but never holds it up for long."""

import threading
from collections.abc import Callable

import pytest
import trio
from multinic_daemon.engine import lanes
from multinic_daemon.engine.lanes import Lane

NETWORK = "net-a"


async def work(lane: Lane, talk: Callable[[], object]) -> tuple[object, bool]:
    """What the talk gave, and whether another task, ready from the beginning, had its turn before."""
    turned = False

    async def other() -> None:
        nonlocal turned
        turned = True

    async with lane.enter(NETWORK), trio.open_nursery() as nursery:
        with await lane.worker(NETWORK) as worker:
            nursery.start_soon(other)
            result = await worker.run(talk)
            return result, turned


@pytest.fixture
def patient(monkeypatch):
    """A limit that no busy machine reaches."""
    monkeypatch.setattr(lanes, "PROMPT_SECONDS", 30.0)


async def test_a_lone_call_takes_no_turn_of_the_loop(patient):
    """Its result is there before another task that was ready has run."""
    assert await work(Lane("make links", 4, 8, prompt=True), lambda: 7) == (7, False)


async def test_the_lane_must_be_prompt(patient):
    """Removing links takes a grace period, for which the loop is not held up."""
    assert await work(Lane("remove links", 4, 8), lambda: 7) == (7, True)


async def test_with_another_call_in_progress_the_loop_turns(patient):
    """Whoever else is there has work for the loop."""
    lane = Lane("make links", 4, 8, prompt=True)
    async with lane.enter("net-b"):
        assert await work(lane, lambda: 7) == (7, True)


async def test_a_talk_that_is_not_prompt_gives_the_loop_back():
    """It may take for ever: here it ends only when the loop has turned."""
    turned = threading.Event()

    async def turn() -> None:
        turned.set()

    lane = Lane("make links", 4, 8, prompt=True)
    with trio.fail_after(60):
        async with lane.enter(NETWORK), trio.open_nursery() as nursery:
            with await lane.worker(NETWORK) as worker:
                nursery.start_soon(turn)
                assert await worker.run(lambda: turned.wait(20)) is True


@pytest.mark.parametrize("prompt", [True, False])
async def test_what_a_talk_raises_is_raised(patient, prompt):
    """Either way of waiting passes it on."""

    def refuse() -> None:
        raise ZeroDivisionError("no")

    worker = await Lane("make links", 4, 8, prompt=prompt).worker(NETWORK)
    with worker, pytest.raises(ZeroDivisionError, match="no"):
        await worker.run(refuse)


async def test_many_calls_one_after_another_leave_nothing_behind(patient):
    """A late word of a talk that is over wakes nobody."""
    lane = Lane("make links", 4, 8, prompt=True)
    assert [await work(lane, lambda n=n: n) for n in range(200)] == [(n, False) for n in range(200)]
    with trio.move_on_after(0.01):
        await trio.sleep_forever()
    assert lane.idle
