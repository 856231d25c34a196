"""The agent: reads requests from one controller, runs them concurrently, and ends with it.

The end comes when the stream closes or on SIGTERM, SIGINT or SIGHUP: running operations are cancelled and the lab
is removed, then the process ends. The launcher (:mod:`multinic_lab.machine.launcher`) does the removing when the
agent is killed.
"""

from __future__ import annotations

import logging
import math
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import trio
from pydantic import ValidationError, validate_call

from multinic_core.errors import ConfigError, MultinicError
from multinic_lab.machine.commands import Commands
from multinic_lab.machine.launching import Launcher
from multinic_lab.machine.protocol import (
    VERSION,
    Event,
    Failure,
    ProtocolError,
    Request,
    Response,
    lines,
    read_request,
)

logger = logging.getLogger(__name__)
Operation = Callable[..., Awaitable[Any]]


class Agent:
    """One agent on one stream."""

    def __init__(self, stream: trio.abc.Stream, launcher: Launcher) -> None:
        self._stream, self._launcher = stream, launcher
        self._outgoing, self._to_send = trio.open_memory_channel[bytes](math.inf)
        self._running: dict[int, trio.CancelScope] = {}

    def tell(self, event: str, /, **fields: Any) -> None:
        """Send an event; from the trio thread."""
        self._outgoing.send_nowait(Event(event, fields).line())

    async def run(self) -> None:
        """Serve the controller until it goes or a signal comes; everything made is removed on return."""
        async with trio.open_nursery() as outer:
            await outer.start(self._launcher.serve)
            outer.start_soon(self._write)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end_on_signal, nursery.cancel_scope)
                commands = Commands(nursery, self._launcher, self.tell)
                self.tell("hello", protocol=VERSION, pid=os.getpid(), operations=sorted(_operations(commands)))
                await self._read(_operations(commands), nursery)
                nursery.cancel_scope.cancel()
            outer.cancel_scope.cancel()

    async def _end_on_signal(self, scope: trio.CancelScope) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async for number in signals:
                logger.info("ending", extra={"signal": number})
                scope.cancel()

    async def _write(self) -> None:
        async for line in self._to_send:
            try:
                await self._stream.send_all(line)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def _read(self, operations: dict[str, Operation], nursery: trio.Nursery) -> None:
        try:
            async with aclosing(lines(self._stream)) as incoming:
                async for line in incoming:
                    self._take(read_request(line), operations, nursery)
        except ProtocolError as error:
            logger.error("controller is not understood: %s", error)  # noqa: TRY400 - the message says all

    def _take(self, request: Request, operations: dict[str, Operation], nursery: trio.Nursery) -> None:
        if request.op == "cancel":
            if (scope := self._running.get(request.args.get("request", -1))) is not None:
                scope.cancel()
            return
        scope = self._running[request.id] = trio.CancelScope()
        nursery.start_soon(self._answer, request, operations, scope)

    async def _answer(self, request: Request, operations: dict[str, Operation], scope: trio.CancelScope) -> None:
        try:
            with scope:
                response = await self._run(request, operations)
            if scope.cancelled_caught:
                response = Response(request.id, failure=Failure("Cancelled", "cancelled by the controller"))
        finally:
            del self._running[request.id]
        self._outgoing.send_nowait(response.line())

    async def _run(self, request: Request, operations: dict[str, Operation]) -> Response:
        try:
            if request.op not in operations:
                raise ConfigError(f"op: {request.op!r} is not one of {sorted(operations)}")  # noqa: TRY301
            return Response(request.id, await operations[request.op](**request.args))
        except ValidationError as error:
            faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            return Response(request.id, failure=Failure("ConfigError", "; ".join(faults)))
        except Exception as error:
            found = _cause(error)
            if not isinstance(found, MultinicError):
                logger.exception("operation failed", extra={"op": request.op})
            details = getattr(found, "details", "")
            return Response(request.id, failure=Failure(type(found).__name__, str(found) or repr(found), details))


def _operations(commands: Commands) -> dict[str, Operation]:
    """Name to operation, for every public method; arguments are checked against their types."""
    names = [name for name in vars(Commands) if not name.startswith("_")]
    return {name: validate_call(getattr(commands, name)) for name in names}


def _cause(error: BaseException) -> BaseException:
    """The first of our errors within groups, else the first error of all."""
    found = [error]
    while isinstance(found[0], BaseExceptionGroup):
        found = [*found[0].exceptions, *found[1:]]
    return next((e for e in found if isinstance(e, MultinicError)), found[0])
