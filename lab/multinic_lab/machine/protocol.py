"""JSON lines between controller and agent.

Controller to agent, one object a line: ``{"id": 7, "op": "exec", "args": {…}}``. Agent to controller: ``{"id": 7,
"result": …}`` or ``{"id": 7, "error": {"kind": "ConfigError", "message": "…"}}`` in any order, and between them
``{"event": "log", …}``. The op ``cancel`` with ``request`` ends another one. The agent's first line is the event
``hello``.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import trio

VERSION = 1
MAX_LINE = 64 << 20
"""Bytes; a longer line means that the other side is not speaking this protocol."""
_CHUNK = 65_536


class ProtocolError(Exception):
    """The other side sent what is not of this protocol."""


@dataclass(frozen=True, slots=True)
class Request:
    id: int
    op: str
    args: dict[str, Any] = field(default_factory=dict)

    def line(self) -> bytes:
        return _line({"id": self.id, "op": self.op, "args": self.args})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an operation failed."""

    kind: str
    """Class name of the error in the agent."""
    message: str
    details: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    id: int
    result: Any = None
    failure: Failure | None = None

    def line(self) -> bytes:
        if self.failure is None:
            return _line({"id": self.id, "result": self.result})
        found = self.failure
        return _line({"id": self.id, "error": {"kind": found.kind, "message": found.message, "details": found.details}})


@dataclass(frozen=True, slots=True)
class Event:
    """Something the agent tells unasked: ``hello``, ``log``, ``daemon``, ``pod``, ``progress``."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)

    def line(self) -> bytes:
        return _line({**self.fields, "event": self.name})


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise ProtocolError(f"a line is not JSON: {line[:200]!r}") from error
    if not isinstance(document, dict):
        raise ProtocolError(f"a line is not a JSON object: {line[:200]!r}")
    return document


def read_request(line: bytes) -> Request:
    """Parse one line to the agent. Raises ProtocolError."""
    document = _object(line)
    number, op, args = document.get("id"), document.get("op"), document.get("args", {})
    if not isinstance(number, int) or not isinstance(op, str) or not isinstance(args, dict):
        raise ProtocolError(f"a request needs id (number), op (text) and args (object): {line[:200]!r}")
    return Request(number, op, args)


def read_answer(line: bytes) -> Response | Event:
    """Parse one line from the agent. Raises ProtocolError."""
    document = _object(line)
    name = document.pop("event", None)
    if isinstance(name, str):
        return Event(name, document)
    number = document.get("id")
    if not isinstance(number, int):
        raise ProtocolError(f"a line is neither an event nor an answer: {line[:200]!r}")
    error = document.get("error")
    if error is None:
        return Response(number, document.get("result"))
    return Response(number, failure=Failure(error.get("kind", ""), error.get("message", ""), error.get("details", "")))


async def lines(stream: trio.abc.ReceiveStream) -> AsyncGenerator[bytes, None]:
    """The lines of ``stream`` without their newlines, until it ends; an unfinished last line is dropped.

    Raises:
        ProtocolError: a line is longer than ``MAX_LINE``.
    """
    buffer = bytearray()
    while True:
        try:
            data = await stream.receive_some(_CHUNK)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        if not data:
            return
        searched = len(buffer)
        buffer += data
        while (end := buffer.find(b"\n", searched)) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            searched = 0
            if line:
                yield line
        if len(buffer) > MAX_LINE:
            raise ProtocolError(f"a line is longer than {MAX_LINE} bytes")
