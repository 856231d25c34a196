"""One network whose kernel work hangs delays no pod of another; what waits is answered in time and says for what."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import trio
import trio.testing
from multinic_daemon.engine.context import MAKERS, REMOVERS
from multinic_daemon.engine.lanes import Lane
from multinic_daemon.testing import NETWORK, Rig

from multinic_core.errors import DaemonUnavailableError

SOON = 10
"""Seconds that only a daemon which lets itself be delayed needs."""


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    """Here it is threads that hang, so they are real."""
    return trio.testing.MockClock(autojump_threshold=0)


class Hanging:
    """A kernel that never ends what it does for namespaces named so, until told."""

    def __init__(self, rig: Rig) -> None:
        self._go_on = threading.Event()
        self._kernel = rig.kernel
        self.entered = 0

    def _wait(self, netns: str) -> None:
        if "/hang" in netns:
            self.entered += 1
            assert self._go_on.wait(60)

    def apply_plan(self, plan, netns, group):  # type: ignore[no-untyped-def]
        self._wait(netns)
        return self._kernel.apply_plan(plan, netns, group)

    def remove_links(self, netns, group, rules=()):  # type: ignore[no-untyped-def]
        self._wait(netns)
        return self._kernel.remove_links(netns, group, rules)

    def differences(self, plan, netns):  # type: ignore[no-untyped-def]
        return self._kernel.differences(plan, netns)

    def let_go(self) -> None:
        self._go_on.set()


@contextmanager
def hanging(rig: Rig) -> Iterator[Hanging]:
    """Networks ``bad-1`` to ``bad-3`` beside ``net-a``, and a kernel that hangs for their pods."""
    for number in (1, 2, 3):
        rig.add_network(f"bad-{number}", 1, prefix=f"172.{20 + number}")
    rig.engine.kernel = kernel = Hanging(rig)  # type: ignore[assignment]
    try:
        yield kernel
    finally:
        kernel.let_go()


async def all_blocked(kernel: Hanging, expected: int) -> None:
    """Wait until so many talks hang."""
    with trio.fail_after(SOON):
        while kernel.entered < expected:
            await trio.sleep(0.001)


@pytest.mark.parametrize("bad", [1, 3])
async def test_networks_that_hang_delay_no_pod_of_another(rig: Rig, bad: int) -> None:
    """With 40 pods of each bad network hanging in the kernel, 20 pods of a good one start and stop."""
    async with trio.open_nursery() as nursery:
        with hanging(rig) as kernel:
            for number in range(1, bad + 1):
                for pod in range(40):
                    nursery.start_soon(partial(rig.call, "ADD", f"hang-{number}-{pod}", name=f"bad-{number}"))
            await all_blocked(kernel, {1: 8, 3: 12}[bad])
            with trio.fail_after(SOON):
                async with trio.open_nursery() as good:
                    for pod in range(20):
                        good.start_soon(rig.call, "ADD", f"good-{pod}")
                async with trio.open_nursery() as good:
                    for pod in range(20):
                        good.start_soon(rig.call, "DEL", f"good-{pod}")
    assert rig.engine.making.idle
    assert rig.engine.removing.idle
    assert {len(rig.pod_links(f"hang-{number}-{pod}")) for number in range(1, bad + 1) for pod in range(40)} == {1}


def partial_call(rig: Rig, container: str, network: str, command: str = "ADD"):  # type: ignore[no-untyped-def]
    async def call() -> None:
        await rig.call(command, container, name=network)

    return call


async def test_removals_that_hang_delay_no_start_nor_other_removals(rig: Rig) -> None:
    """DELs have workers of their own, shared out in the same way."""
    for pod in range(40):
        await rig.call("ADD", f"hang-{pod}")
    rig.add_network("net-b", 1, prefix="172.30")
    await rig.call("ADD", "good-0", name="net-b")
    async with trio.open_nursery() as nursery:
        with hanging(rig) as kernel:
            for pod in range(40):
                nursery.start_soon(rig.call, "DEL", f"hang-{pod}")
            await all_blocked(kernel, REMOVERS // 2)
            with trio.fail_after(SOON):
                await rig.call("ADD", "good-1")
                await rig.call("DEL", "good-0", name="net-b")
            assert rig.engine.removing.busy().startswith(f"network {NETWORK!r} holds {REMOVERS // 2} of {REMOVERS}")
    assert len(rig.journal.of_network("multi-nic", NETWORK)) == 1


async def test_call_that_gets_no_worker_is_refused_and_leaves_nothing(rig: Rig, autojump_clock: object) -> None:
    """Code 11, naming the network that holds the workers; no row is written and no address held meanwhile."""
    workers = [await rig.engine.making.worker(NETWORK) for _ in range(MAKERS // 2)]
    message = await rig.refused(DaemonUnavailableError, "ADD")
    assert "no worker to make links came free within 40 seconds" in message
    assert f"network {NETWORK!r} holds 8 of 16 workers to make links, one for 40 seconds" in message
    rig.assert_clean()
    for worker in workers:
        worker.__exit__(None, None, None)
    assert len((await rig.call("ADD"))["ips"]) == 3


async def test_more_calls_than_there_is_room_for_are_refused_at_once(rig: Rig) -> None:
    """Each network may fill half of what is free, so another still gets in; nothing waits without bound."""
    rig.add_network("net-b", 1, prefix="172.30")
    rig.engine.making = Lane("make links", 16, 8)
    async with rig.engine.locks(("c1", "net1")), trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(rig.call, "ADD")
        await trio.testing.wait_all_tasks_blocked()
        assert "4 calls to make links are in progress" in await rig.refused(DaemonUnavailableError, "ADD", "c2")
        await rig.call("ADD", "c3", name="net-b")
        nursery.cancel_scope.cancel()
    assert rig.engine.making.idle
    await rig.call("ADD", "c2")


async def test_interface_at_work_for_too_long_is_named(rig: Rig, autojump_clock: object) -> None:
    """A second call for the same interface does not wait for ever."""
    messages: list[str] = []

    async def delete() -> None:
        messages.append(await rig.refused(DaemonUnavailableError, "DEL"))

    async with rig.engine.locks(("c1", "net1")), trio.open_nursery() as nursery:
        nursery.start_soon(delete)
    assert messages[0].startswith("interface 'net1' of container 'c1': another call has been at work on it")


async def test_links_made_too_late_for_an_answer_are_taken_back(rig: Rig, autojump_clock: object) -> None:
    """When the kernel comes back after the runtime was told of a failure, nothing may stay that nobody knows of."""
    done = threading.Event()

    def late(step: str) -> None:
        if step == "link net1-2":
            assert done.wait(SOON)

    rig.kernel.before_step = late
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.refused, DaemonUnavailableError, "ADD")
        while "apply" not in rig.kernel.calls:
            await trio.lowlevel.checkpoint()
        await trio.sleep(75)
        done.set()
    rig.assert_clean()
