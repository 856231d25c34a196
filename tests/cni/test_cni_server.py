"""The installed executables against the daemon's own server."""

import json

import trio
from multinic_daemon.calls.request import CniReply, CniRequest
from multinic_daemon.calls.server import serve_socket

from multinic_core.errors import PoolExhaustedError


async def test_a_result_and_an_error_cross_the_socket(executables, nursery):
    """What the handler answers is printed; what it raises is printed as CNI error JSON, and the daemon lives on."""

    async def handler(request: CniRequest) -> CniReply:
        if request.command == "ADD":
            raise PoolExhaustedError("pool 'n-192.168.0.0-26': 62 of 62 addresses held")
        return CniReply(0, json.dumps([request.plugin, request.container_id]).encode())

    await nursery.start(serve_socket, executables.socket, handler)
    failed = await executables.run("ADD", {"cniVersion": "0.3.1"})
    assert (failed.status, failed.answer) == (
        1,
        {"cniVersion": "0.3.1", "code": 102, "msg": "pool 'n-192.168.0.0-26': 62 of 62 addresses held"},
    )
    checked = await executables.run("CHECK")
    assert (checked.status, checked.answer) == (0, ["multi-nic", "c1"])
    nursery.cancel_scope.cancel()


async def test_32_calls_at_once_are_worked_on_at_once(executables, nursery):
    """No request waits for another: answers are held back until all 32 are in, and each goes to its own caller."""
    waiting, all_in = [], trio.Event()

    async def handler(request: CniRequest) -> CniReply:
        waiting.append(request.container_id)
        if len(waiting) == 32:
            all_in.set()
        await all_in.wait()
        return CniReply(0, json.dumps(request.container_id).encode())

    await nursery.start(serve_socket, executables.socket, handler)
    answers = {}

    async def one(identity: str) -> None:
        answers[identity] = (await executables.run("ADD", CNI_CONTAINERID=identity)).answer

    async with trio.open_nursery() as callers:
        for number in range(32):
            callers.start_soon(one, f"c{number}")
    assert answers == {f"c{number}": f"c{number}" for number in range(32)}
    nursery.cancel_scope.cancel()


async def test_a_call_during_a_restart_is_served_by_the_next_daemon(executables, nursery):
    """The old daemon finishes what it has begun, and an ADD that comes when it is gone waits for the new one."""
    begun, finish = trio.Event(), trio.Event()

    async def slow(_: CniRequest) -> CniReply:
        begun.set()
        await finish.wait()
        return CniReply(0, b'"old"')

    async def quick(_: CniRequest) -> CniReply:
        return CniReply(0, b'"new"')

    answers = []

    async def add() -> None:
        answers.append((await executables.run("ADD")).answer)

    async with trio.open_nursery() as callers:
        async with trio.open_nursery() as old:
            await old.start(serve_socket, executables.socket, slow)
            callers.start_soon(add)
            await begun.wait()
            old.cancel_scope.cancel()
            finish.set()
        callers.start_soon(add)
        await nursery.start(serve_socket, executables.socket, quick)
    assert sorted(answers) == ["new", "old"]
    nursery.cancel_scope.cancel()
