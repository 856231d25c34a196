"""Work queues: one place for each key, in order of time, and retries that never end the process."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import trio
from multinic_operator.queue import Controller, Queue, Timing

from multinic_core.errors import ApiError


async def test_a_key_comes_up_once_however_often_it_was_added(autojump_clock: Any) -> None:
    """Added three times it is taken once, at the earliest time."""
    queue = Queue()
    queue.add("a", 5)
    queue.add("a", 1)
    queue.add("a", 3)
    queue.add("b", 2)
    start = trio.current_time()
    taken = [(await queue.get(), round(trio.current_time() - start, 3)) for _ in range(2)]
    assert taken == [("a", 1), ("b", 2)]
    assert len(queue) == 0


async def test_keys_that_are_due_come_in_the_order_of_adding(autojump_clock: Any) -> None:
    """No key starves another."""
    queue = Queue()
    for key in "cab":
        queue.add(key)
    assert [await queue.get() for _ in range(3)] == ["c", "a", "b"]


async def test_an_earlier_key_wakes_who_waits_for_a_later_one(autojump_clock: Any) -> None:
    """Waiting is until the first due time, also of keys that are added meanwhile."""
    queue = Queue()
    queue.add("late", 100)
    start = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def add_later() -> None:
            await trio.sleep(3)
            queue.add("early")

        nursery.start_soon(add_later)
        assert await queue.get() == "early"
    assert trio.current_time() - start == pytest.approx(3)


async def test_a_failing_key_backs_off_and_does_not_hold_up_others(autojump_clock: Any) -> None:
    """Delays double from the first to the last retry delay; a success starts them anew; others go on."""
    times: list[float] = []
    others: list[str] = []
    failing = True

    async def reconcile(key: str) -> float | None:
        await trio.lowlevel.checkpoint()
        if key != "bad":
            others.append(key)
            return None
        times.append(trio.current_time())
        if failing:
            raise ApiError("no", status=500)
        return None

    controller = Controller("test", reconcile)
    controller.queue.add("bad")
    for _ in range(12):
        await controller.step()
    delays = [later - earlier for earlier, later in pairwise(times)]
    assert delays[:3] == pytest.approx([Timing().first_retry, Timing().first_retry * 2, Timing().first_retry * 4])
    assert delays[-1] == pytest.approx(Timing().last_retry)
    controller.queue.add("good")
    await controller.step()
    assert others == ["good"]
    failing = False
    await controller.step()
    failing = True
    controller.queue.add("bad")
    await controller.step()
    await controller.step()
    assert times[-1] - times[-2] == pytest.approx(Timing().first_retry)


async def test_a_broken_handler_is_retried_like_a_failing_one(autojump_clock: Any, caplog: Any) -> None:
    """An exception that nobody foresaw is logged with its traceback and ends nothing."""
    calls: list[str] = []

    async def reconcile(key: str) -> float | None:
        await trio.lowlevel.checkpoint()
        calls.append(key)
        if len(calls) == 1:
            raise ZeroDivisionError("oops")
        return None

    controller = Controller("test", reconcile)
    controller.queue.add("a")
    await controller.step()
    await controller.step()
    assert calls == ["a", "a"]
    assert any(record.exc_info for record in caplog.records)


async def test_the_server_may_ask_for_more_patience(autojump_clock: Any) -> None:
    """A Retry-After above our own delay is kept to."""
    times: list[float] = []

    async def reconcile(key: str) -> float | None:
        await trio.lowlevel.checkpoint()
        times.append(trio.current_time())
        raise ApiError("busy", status=429, retry_after_seconds=7)

    controller = Controller("test", reconcile)
    controller.queue.add("a")
    await controller.step()
    await controller.step()
    assert times[1] - times[0] == pytest.approx(7)


async def test_a_reconcile_may_ask_to_be_called_again(autojump_clock: Any) -> None:
    """The seconds it returns are the time to the next call."""
    times: list[float] = []

    async def reconcile(key: str) -> float | None:
        await trio.lowlevel.checkpoint()
        times.append(trio.current_time())
        return 4.0

    controller = Controller("test", reconcile)
    controller.queue.add("a")
    await controller.step()
    await controller.step()
    assert times[1] - times[0] == pytest.approx(4)
