"""What 64 callers at once are told over the socket is what one clerk, serving them one by one, would have told them."""

import json
import os
import random
import time
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from multinic_daemon.calls.request import CniReply, CniRequest
from multinic_daemon.calls.server import serve_socket
from multinic_daemon.engine import handler
from multinic_daemon.testing import NODE, Rig, pool_object
from multinic_daemon.testing.linearizable import Call, linearize
from multinic_daemon.testing.reference import Full, PoolModel, give, take_back

from multinic_core.model import IPPOOLS

CLIENTS = 64
CALLS_EACH = 6
HISTORIES = 40 if os.environ.get("MULTINIC_MODEL") == "soak" else 3
SIZES = {"eth1": 32, "eth2": 64}
"""NIC to the size of its pool: 30 addresses for 60 containers are not enough, so some are refused."""
CONTAINERS = 60
POOL_EXHAUSTED = 102

State = tuple[tuple[PoolModel, ...], frozenset[tuple[str, tuple[int, ...]]]]
"""The pools in the order of the NICs, and container with the indexes that it holds."""
EMPTY: State = (tuple(PoolModel(size) for size in SIZES.values()), frozenset())


def clerk(state: State, asked: tuple[str, str]) -> tuple[State, Any]:
    """The sequential specification: ADD gives the next address of each pool or says that one is full."""
    (command, container), (pools, held) = asked, state
    own = next((given for name, given in held if name == container), None)
    by_name = dict(zip(SIZES, pools, strict=True))
    if command == "ADD":
        if own is not None:
            return state, own
        try:
            given, after = give(by_name, SIZES, {})
        except Full:
            return state, POOL_EXHAUSTED
        indexes = tuple(given.values())
        return (tuple(after.values()), held | {(container, indexes)}), indexes
    if own is None:
        return state, None
    after = take_back(by_name, dict(zip(SIZES, own, strict=True)))
    return (tuple(after.values()), held - {(container, own)}), None


def is_refusal(answer: Any) -> bool:
    return answer == POOL_EXHAUSTED


async def ask(path: Path, rig: Rig, number: str, command: str, container: str) -> Any:
    """One call over the socket, as the executable makes it: indexes given, an error's code, or None."""
    variables = {
        "CNI_PLUGIN": "multi-nic",
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": rig.pod(container),
        "CNI_IFNAME": "net1",
        "CNI_PATH": number,
    }
    frame = b"".join(f"{key}={value}\0".encode() for key, value in variables.items()) + b"\0"
    stream = await trio.open_unix_socket(str(path))
    async with stream:
        await stream.send_all(frame + json.dumps(rig.netconf()).encode())
        await stream.send_eof()
        reply = b"".join([part async for part in stream])
    if reply[:1] == b"1":
        return json.loads(reply[1:])["code"]
    if command == "DEL":
        return None
    return tuple(int(ip["address"].partition("/")[0].rpartition(".")[2]) for ip in json.loads(reply[1:])["ips"])


async def record(folder: Path, seed: int) -> list[Call]:
    """Let 64 clients ask at random, several about the same container, and write down what each saw."""
    rig = Rig(folder, nics=len(SIZES))
    for pool in await rig.kubernetes.list(IPPOOLS):
        await rig.kubernetes.delete(IPPOOLS, pool.name)
    for number, (ifname, size) in enumerate(SIZES.items()):
        base = f"192.168.{64 * number}.0"
        rig.kubernetes.seed(
            IPPOOLS, pool_object("net-a", ifname, f"{base}/{33 - size.bit_length()}", f"{base}/18", node=NODE)
        )
    history: list[tuple[int, Call]] = []
    hints: dict[str, int] = {}
    point: ContextVar[list[int]] = ContextVar("point")

    async def noting(request: CniRequest) -> CniReply:
        """When the journal changed for a call, or else when it was answered: the order to try first."""
        point.set(noted := [])
        try:
            return await handler(rig.engine)(request)
        finally:
            hints[request.path] = noted[0] if noted else time.monotonic_ns()

    def note(change: Any) -> Any:
        def noted(*arguments: Any) -> Any:
            point.get().append(time.monotonic_ns())
            return change(*arguments)

        return noted

    rig.journal.begin = note(rig.journal.begin)  # type: ignore[method-assign]
    rig.journal.forget = note(rig.journal.forget)  # type: ignore[method-assign]

    async def client(number: int) -> None:
        chance = random.Random(seed * CLIENTS + number)
        for turn in range(CALLS_EACH):
            name = f"{number}/{turn}"
            asked = (chance.choice(["ADD", "ADD", "DEL"]), f"c{chance.randrange(CONTAINERS)}")
            began = time.monotonic_ns()
            answer = await ask(path, rig, name, *asked)
            history.append((hints[name], Call(began, time.monotonic_ns(), asked, answer)))

    path = folder / "cni.sock"
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_socket, path, noting))
        async with trio.open_nursery() as clients:
            for number in range(CLIENTS):
                clients.start_soon(client, number)
        nursery.cancel_scope.cancel()
    rig.journal.close()
    return [call for _, call in sorted(history, key=lambda each: each[0])]


@pytest.mark.parametrize("seed", range(HISTORIES))
async def test_64_clients_see_one_clerk(tmp_path: Path, seed: int) -> None:
    """There is an order of all calls that explains every answer and contradicts no caller's clock."""
    history = await record(tmp_path, seed)
    assert len(history) == CLIENTS * CALLS_EACH
    answers = [call.answer for call in history]
    assert POOL_EXHAUSTED in answers
    assert len({answer for answer in answers if isinstance(answer, tuple)}) > SIZES["eth1"] / 2
    order = linearize(history, EMPTY, clerk, is_refusal)
    assert order is not None
    assert sorted(order, key=id) == sorted(history, key=id)


A, B = (("ADD", "a"), (1, 1)), (("ADD", "b"), (2, 2))


def calls(*told: tuple[int, int, tuple[tuple[str, str], Any]]) -> list[Call]:
    return [Call(began, ended, *what) for began, ended, what in told]


@pytest.mark.parametrize(
    ("history", "possible"),
    [
        (calls((0, 1, A), (2, 3, B)), True),
        (calls((0, 1, B), (2, 3, A)), False),
        (calls((0, 3, B), (1, 2, A)), True),
        (calls((0, 1, A), (2, 3, (("ADD", "b"), (1, 1)))), False),
        (calls((0, 1, A), (2, 3, A)), True),
        (calls((0, 1, A), (2, 3, (("ADD", "a"), (2, 2)))), False),
        (calls((0, 1, (("ADD", "a"), POOL_EXHAUSTED))), False),
        (calls((0, 1, A), (2, 9, (("DEL", "a"), None)), (3, 4, A)), True),
        (calls((0, 9, (("DEL", "a"), None)), (1, 2, A), (3, 4, (("ADD", "a"), (2, 2)))), True),
        (calls((0, 1, A), (2, 3, (("DEL", "a"), None)), (4, 5, A)), False),
        (calls((0, 1, A), (2, 3, (("DEL", "a"), None)), (4, 5, (("ADD", "a"), (2, 2)))), True),
    ],
)
def test_checker_tells_possible_histories_from_others(history: list[Call], possible: bool) -> None:
    """Order by the callers' clocks, addresses given twice, answers that change, refusals without need."""
    assert (linearize(history, EMPTY, clerk, is_refusal) is not None) == possible


async def test_checker_refuses_a_spoilt_history(tmp_path: Path) -> None:
    """A recorded history followed by one answer that cannot be: an address that is held, given to another."""
    history = await record(tmp_path, 99)
    order = linearize(history, EMPTY, clerk, is_refusal)
    assert order is not None
    held = {}
    for call in order:
        held[call.asked[1]] = call.answer if call.asked[0] == "ADD" and isinstance(call.answer, tuple) else None
    taken = next(answer for answer in held.values() if answer)
    end = max(call.ended for call in history)
    state = EMPTY
    for call in order:
        state, _ = clerk(state, call.asked)
    wrong = [Call(end + 1, end + 2, ("ADD", "stranger"), taken)]
    assert linearize(wrong, state, clerk, is_refusal) is None
