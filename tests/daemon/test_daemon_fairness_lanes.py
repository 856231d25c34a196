"""Lanes: first come, first served within a network; in turn between networks; never all for one."""

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from multinic_daemon.engine.lanes import Lane


async def test_networks_are_served_in_turn_and_each_in_its_order() -> None:
    """A network that asked for a hundred workers delays another by one turn, not by a hundred."""
    lane, served = Lane("work", 2, 1000), list[str]()

    async def work(network: str, number: int) -> None:
        with await lane.worker(network):
            served.append(f"{network}{number}")
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        with await lane.worker("z"):  # leaves one worker, so that all that follows is one after another
            for number in range(100):
                nursery.start_soon(work, "a", number)
                await trio.testing.wait_all_tasks_blocked()
            for number in range(3):
                nursery.start_soon(work, "b", number)
                await trio.testing.wait_all_tasks_blocked()
    a = [name for name in served if name[0] == "a"]
    b = [name for name in served if name[0] == "b"]
    assert a == [f"a{number}" for number in range(100)]
    assert b == ["b0", "b1", "b2"]
    assert lane.idle


async def test_one_that_stops_waiting_leaves_the_line() -> None:
    """Cancelled while waiting, it takes no worker and holds up nobody behind it."""
    lane, got = Lane("work", 1, 10), list[str]()

    async def work(name: str, scope: trio.CancelScope) -> None:
        with scope, await lane.worker("a"):
            got.append(name)

    scopes = [trio.CancelScope() for _ in range(3)]
    async with trio.open_nursery() as nursery:
        with await lane.worker("b"):
            for number, scope in enumerate(scopes):
                nursery.start_soon(work, str(number), scope)
                await trio.testing.wait_all_tasks_blocked()
            scopes[1].cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert got == []
    assert got == ["0", "2"]
    assert lane.idle


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=120),
)
def test_laws_of_sharing(total: int, steps: list[tuple[str, bool]]) -> None:
    """Whatever comes and goes: nobody is left waiting who may have a worker, no two hold the same, and none is lost.

    A network may have one as long as it holds fewer than are free, so its own half at most when it is alone.
    """

    async def main() -> None:
        lane = Lane("work", total, 1000)
        held: dict[str, list[trio.Event]] = {name: [] for name in "abcde"}
        waiting = dict.fromkeys("abcde", 0)

        async def work(network: str) -> None:
            waiting[network] += 1
            with await lane.worker(network):
                waiting[network] -= 1
                done = trio.Event()
                held[network].append(done)
                await done.wait()

        async with trio.open_nursery() as nursery:
            for network, comes in steps:
                if comes:
                    nursery.start_soon(work, network)
                elif held[network]:
                    held[network].pop(0).set()
                await trio.testing.wait_all_tasks_blocked()
                free = total - sum(map(len, held.values()))
                assert free >= 0
                for name, count in waiting.items():
                    assert not count or len(held[name]) >= free
                assert len(steps) > 0
            while any(held.values()):
                for events in held.values():
                    while events:
                        events.pop().set()
                await trio.testing.wait_all_tasks_blocked()
        assert lane.idle

    trio.run(main)


@given(st.integers(1, 64), st.lists(st.sampled_from("abcdefgh"), max_size=300))
def test_a_network_that_hangs_never_takes_the_last_worker(total: int, coming: list[str]) -> None:
    """However many come and stay, each of the next networks finds a worker, as many as the total can be halved."""
    lane = Lane("work", total, 1000)

    async def main() -> None:
        for network in coming:
            with trio.move_on_after(0):
                await lane.worker(network)
        seen = len(set(coming))
        if total >= 2 ** (seen + 1):
            with trio.fail_after(0):
                await lane.worker("new")

    trio.run(main)
