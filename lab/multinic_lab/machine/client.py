"""The controller's side: call the agent's operations, hear its events, start an agent on this machine."""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import IO, Any

import trio

from multinic_lab.machine.protocol import Event, Failure, ProtocolError, Request, Response, lines, read_answer

logger = logging.getLogger(__name__)

OnEvent = Callable[[Event], None]
END_SECONDS = 90.0
"""How long a local agent may take to remove what it made."""


class AgentGoneError(Exception):
    """The stream to the agent ended."""


class OperationError(Exception):
    """The agent answered with an error.

    Attributes:
        kind: class name of the error in the agent, such as ``ConfigError``.
        details: a further paragraph, or "".
    """

    def __init__(self, op: str, failure: Failure) -> None:
        super().__init__(f"{op}: {failure.message}")
        self.op, self.kind, self.details = op, failure.kind, failure.details


class _Pending:
    __slots__ = ("answer", "done")

    def __init__(self) -> None:
        self.answer: Response | None = None
        self.done = trio.Event()


class AgentClient:
    """A connection to one agent; calls may run concurrently. Made by ``connect`` or ``open_agent``."""

    def __init__(self, stream: trio.abc.Stream, on_event: OnEvent) -> None:
        self._stream, self._on_event = stream, on_event
        self._pending: dict[int, _Pending] = {}
        self._number = 0
        self._outgoing, self._to_send = trio.open_memory_channel[Request](math.inf)
        self._greeted = trio.Event()
        self._gone = False

    async def call(self, op: str, /, **args: Any) -> Any:
        """Run one operation in the agent and return its result. Cancelling the call cancels the operation.

        Raises:
            OperationError: the agent says that it failed.
            AgentGoneError: the stream ended before the answer.
        """
        if self._gone:
            raise AgentGoneError(f"{op}: the agent is gone")
        pending = _Pending()
        number = self._send(op, args)
        self._pending[number] = pending
        try:
            await pending.done.wait()
        except trio.Cancelled:
            self._send("cancel", {"request": number})
            raise
        finally:
            del self._pending[number]
        if pending.answer is None:
            raise AgentGoneError(f"{op}: the agent went away before it answered")
        if pending.answer.failure is not None:
            raise OperationError(op, pending.answer.failure)
        return pending.answer.result

    def _send(self, op: str, args: dict[str, Any]) -> int:
        self._number += 1
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            self._outgoing.send_nowait(Request(self._number, op, args))
        return self._number

    async def _write(self) -> None:
        async for request in self._to_send:
            try:
                await self._stream.send_all(request.line())
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def _read(self) -> None:
        try:
            async with contextlib.aclosing(lines(self._stream)) as incoming:
                async for line in incoming:
                    self._take(read_answer(line))
        finally:
            self._gone = True
            self._greeted.set()
            for pending in self._pending.values():
                pending.done.set()

    def _take(self, answer: Response | Event) -> None:
        if isinstance(answer, Event):
            self._greeted.set()
            self._on_event(answer)
        elif (pending := self._pending.get(answer.id)) is not None:
            pending.answer = answer
            pending.done.set()

    async def _wait_greeted(self) -> bool:
        await self._greeted.wait()
        return not self._gone


def _ignore(event: Event) -> None:
    """Events nobody asked for."""


@asynccontextmanager
async def connect(
    open_stream: Callable[[], Awaitable[trio.abc.Stream]],
    *,
    on_event: OnEvent = _ignore,
    timeout_seconds: float = 60.0,
) -> AsyncIterator[AgentClient]:
    """A client over the stream that ``open_stream`` gives, once the agent has said hello.

    A stream that ends before the hello is opened again: an agent that is still starting does not listen yet.

    Raises:
        AgentGoneError: there was no hello within ``timeout_seconds``.
    """
    async with trio.open_nursery() as nursery:
        client: AgentClient | None = None
        with trio.move_on_after(timeout_seconds):
            while client is None:
                with contextlib.suppress(OSError, trio.BrokenResourceError):
                    candidate = AgentClient(await open_stream(), on_event)
                    nursery.start_soon(candidate._read)
                    if await candidate._wait_greeted():
                        client = candidate
                        break
                    await candidate._stream.aclose()
                await trio.sleep(0.1)
        if client is None:
            nursery.cancel_scope.cancel()
            raise AgentGoneError(f"no agent said hello within {timeout_seconds:.0f} s")
        nursery.start_soon(client._write)
        try:
            yield client
        finally:
            # Closed before the cancellation: a checkpoint after it would put Cancelled in the place of a real error.
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(client._stream)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_agent(
    *,
    on_event: OnEvent = _ignore,
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
    module: str = "multinic_lab.machine",
    log: IO[bytes] | None = None,
) -> AsyncIterator[AgentClient]:
    """Start an agent on this machine (needs root) and end it, and all it made, with the block.

    Args:
        module: what is run, when not the agent itself; it gets its stream by ``--fds``.
        log: takes its standard error; None: ours does.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        number = str(theirs.fileno())
        process = await trio.lowlevel.open_process(
            [python, "-m", module, "--fds", number, number],
            stdin=subprocess.DEVNULL,
            stderr=log,
            pass_fds=(theirs.fileno(),),
            env=dict(env) if env is not None else None,
            start_new_session=True,
        )
    ours.setblocking(False)
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))

    async def once() -> trio.abc.Stream:
        if process.poll() is not None:
            raise AgentGoneError(f"the agent ended with status {process.returncode} before it said hello")
        return stream

    try:
        async with connect(once, on_event=on_event) as client:
            yield client
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)
            with trio.move_on_after(END_SECONDS):
                await process.wait()
            if process.poll() is None:
                logger.error("agent does not end", extra={"pid": process.pid})
                process.kill()
                await process.wait()


__all__ = ["AgentClient", "AgentGoneError", "OperationError", "ProtocolError", "connect", "open_agent"]
