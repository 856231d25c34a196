"""Answers requests that come over one stream: any number at once, each cancellable, errors as their class and text.

What can be asked for are the public methods of one object; their arguments are checked against their types.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import trio
from pydantic import ValidationError, validate_call

from multinic_core.errors import ConfigError, MultinicError
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


class Answering:
    """The answering side of one stream."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._outgoing, self._to_send = trio.open_memory_channel[bytes](math.inf)
        self._running: dict[int, trio.CancelScope] = {}

    def tell(self, event: str, /, **fields: Any) -> None:
        """Send an event; from the trio thread."""
        self._outgoing.send_nowait(Event(event, fields).line())

    def hello(self, operations: Mapping[str, Operation], pid: int) -> None:
        """The first line that the other side expects."""
        self.tell("hello", protocol=VERSION, pid=pid, operations=sorted(operations))

    async def write(self) -> None:
        """Send what there is to send; returns when the other side is gone."""
        async for line in self._to_send:
            try:
                await self._stream.send_all(line)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def read(self, operations: Mapping[str, Operation], nursery: trio.Nursery) -> None:
        """Carry out requests in the nursery; returns when the other side is gone."""
        try:
            async with aclosing(lines(self._stream)) as incoming:
                async for line in incoming:
                    self._take(read_request(line), operations, nursery)
        except ProtocolError as error:
            logger.error("controller is not understood: %s", error)  # noqa: TRY400 - the message says all

    def _take(self, request: Request, operations: Mapping[str, Operation], nursery: trio.Nursery) -> None:
        if request.op == "cancel":
            if (scope := self._running.get(request.args.get("request", -1))) is not None:
                scope.cancel()
            return
        scope = self._running[request.id] = trio.CancelScope()
        nursery.start_soon(self._answer, request, operations, scope)

    async def _answer(self, request: Request, operations: Mapping[str, Operation], scope: trio.CancelScope) -> None:
        try:
            with scope:
                response = await self._run(request, operations)
            if scope.cancelled_caught:
                response = Response(request.id, failure=Failure("Cancelled", "cancelled by the controller"))
        finally:
            del self._running[request.id]
        self._outgoing.send_nowait(response.line())

    async def _run(self, request: Request, operations: Mapping[str, Operation]) -> Response:
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


def operations_of(commands: object) -> dict[str, Operation]:
    """Name to operation, for every public method of the object's class."""
    names = [name for name in vars(type(commands)) if not name.startswith("_")]
    return {name: validate_call(getattr(commands, name)) for name in names}


def _cause(error: BaseException) -> BaseException:
    """The first of our errors within groups, else the first error of all."""
    found = [error]
    while isinstance(found[0], BaseExceptionGroup):
        found = [*found[0].exceptions, *found[1:]]
    return next((e for e in found if isinstance(e, MultinicError)), found[0])
