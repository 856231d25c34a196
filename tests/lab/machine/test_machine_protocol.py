"""The stream between controller and agent."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
import trio
import trio.testing
from multinic_lab.machine.client import AgentClient, AgentGoneError, OperationError, connect
from multinic_lab.machine.protocol import (
    Event,
    Failure,
    ProtocolError,
    Request,
    Response,
    lines,
    read_answer,
    read_request,
)


@pytest.mark.parametrize(
    "answer",
    [
        Response(3, {"rows": [1, "ü", None]}),
        Response(4),
        Response(5, failure=Failure("ConfigError", "spec: is wrong", "more")),
        Event("pod", {"node": "n1", "state": "running"}),
    ],
)
def test_answers_read_back_as_they_were_written(answer):
    """Reading the line of an answer or event gives an equal value."""
    assert read_answer(answer.line()) == answer


def test_requests_read_back_as_they_were_written():
    """Reading the line of a request gives an equal value."""
    request = Request(7, "exec", {"argv": ["a\nb"], "pod": "x/y"})
    assert request.line().count(b"\n") == 1
    assert read_request(request.line()) == request


@pytest.mark.parametrize("line", [b"no json", b"[]", b'{"id": "x", "op": "up"}', b'{"id": 1, "op": "up", "args": []}'])
def test_what_is_no_request_is_refused(line):
    """A line that is not a request of this protocol is an error that quotes it."""
    with pytest.raises(ProtocolError, match=r"line|request"):
        read_request(line)


async def test_lines_do_not_depend_on_how_bytes_arrive():
    """Lines come out whole however the stream cuts them, and an unfinished one at the end is dropped."""
    ours, theirs = trio.testing.memory_stream_one_way_pair()
    found = []

    async def collect() -> None:
        found.extend([line async for line in lines(theirs)])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect)
        for piece in (b"o", b"ne\ntwo\n\nth", b"ree\nfo"):
            await ours.send_all(piece)
            await trio.testing.wait_all_tasks_blocked()
        await ours.aclose()
    assert found == [b"one", b"two", b"three"]


@asynccontextmanager
async def talking() -> AsyncIterator[tuple[AgentClient, trio.StapledStream, list[Event]]]:
    """A client, the agent's end of its stream, and the events it heard."""
    ours, theirs = trio.testing.memory_stream_pair()
    events: list[Event] = []
    await theirs.send_all(Event("hello").line())

    async def once() -> trio.abc.Stream:
        return ours

    async with connect(once, on_event=events.append) as client:
        yield client, theirs, events


async def read_some(stream: trio.StapledStream, count: int) -> list[Request]:
    requests: list[Request] = []
    async with aclosing(lines(stream)) as incoming:
        async for line in incoming:
            requests.append(read_request(line))
            if len(requests) == count:
                break
    return requests


async def test_answers_find_their_calls_in_any_order():
    """Concurrent calls each get their own answer, though answers come in another order and between events."""
    results = {}

    async def call(client: AgentClient, op: str) -> None:
        results[op] = await client.call(op, of=op)

    async with talking() as (client, agent, events), trio.open_nursery() as nursery:
        nursery.start_soon(call, client, "one")
        nursery.start_soon(call, client, "two")
        for request in reversed(await read_some(agent, 2)):
            await agent.send_all(Event("log", {"n": request.id}).line())
            await agent.send_all(Response(request.id, request.args["of"] * 2).line())
    assert results == {"one": "oneone", "two": "twotwo"}
    assert [event.name for event in events] == ["hello", "log", "log"]


async def test_a_failure_is_raised_with_its_kind():
    """An error of the agent is raised at the call, with kind, message and details."""
    async with talking() as (client, agent, _), trio.open_nursery() as nursery:

        async def answer() -> None:
            (request,) = await read_some(agent, 1)
            await agent.send_all(Response(request.id, failure=Failure("KernelError", "no such link", "d")).line())

        nursery.start_soon(answer)
        with pytest.raises(OperationError, match="links: no such link") as caught:
            await client.call("links")
    assert (caught.value.kind, caught.value.details) == ("KernelError", "d")


async def test_a_cancelled_call_is_cancelled_at_the_agent():
    """Cancelling a call sends ``cancel`` with the number of its request."""
    async with talking() as (client, agent, _):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.call, "exec")
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        first, second = await read_some(agent, 2)
    assert (second.op, second.args) == ("cancel", {"request": first.id})


async def test_calls_fail_when_the_agent_goes():
    """A call that waits when the stream ends raises, and so does every later one."""
    async with talking() as (client, agent, _):
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(AgentGoneError, match="exec"):
                    await client.call("exec")

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await agent.aclose()
        with pytest.raises(AgentGoneError, match="up"):
            await client.call("up")


async def test_an_agent_that_is_still_starting_is_tried_again(autojump_clock):
    """Streams that are refused or end before the hello are opened again; the first with a hello is used."""
    tries = []

    async def open_stream() -> trio.abc.Stream:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionRefusedError
        ours, theirs = trio.testing.memory_stream_pair()
        if len(tries) == 2:
            await theirs.aclose()
        else:
            await theirs.send_all(Event("hello").line())
        return ours

    async with connect(open_stream):
        pass
    assert len(tries) == 3


async def test_no_agent_at_all_is_an_error_in_time(autojump_clock):
    """When nobody answers within the time limit, connecting raises."""

    async def open_stream() -> trio.abc.Stream:
        raise ConnectionRefusedError

    with pytest.raises(ExceptionGroup) as caught:
        async with connect(open_stream, timeout_seconds=5):
            pass
    assert caught.group_contains(AgentGoneError, match="within 5 s")
