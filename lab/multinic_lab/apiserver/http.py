"""HTTP/1.1 over trio by h11: one task per connection, requests answered in order, watches streamed in chunks.

The rest of the server sees ``Request`` in and one of three answers out: a whole ``Response``, a ``Stream`` that
writes chunks until it returns or the client goes away, or a ``Hang`` that never answers (fault injection).
Everything is bounded: header and body size, the wait for a request, the number of connections.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

import h11
import trio

log = logging.getLogger(__name__)

MAX_BODY = 3 * 1024 * 1024
"""Largest request body in bytes. Source: kube-apiserver's own limit for a request."""
IDLE_SECONDS = 300.0
"""How long a kept-alive connection may stay silent between requests."""
MAX_CONNECTIONS = 4096
"""Connections served at once; further ones wait to be accepted."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, fully read."""

    method: str
    path: str
    """Percent-decoded, without the query."""
    query: dict[str, str]
    """First value of each query parameter."""
    headers: dict[str, str]
    """Names in lower case; last value wins."""
    body: bytes = b""

    def flag(self, name: str) -> bool:
        """A boolean query parameter as Kubernetes clients write it."""
        return self.query.get(name, "").lower() in ("1", "true", "t")


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = ()


Send = Callable[[bytes], Awaitable[None]]


class DroppedError(Exception):
    """Raised by a stream to cut the connection without an orderly end."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A chunked answer; ``produce`` is cancelled when the client closes the connection."""

    produce: Callable[[Send], Awaitable[None]]
    content_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer at all until ``released``; then the connection is cut."""

    released: trio.Event = field(default_factory=trio.Event)


Answer = Response | Stream | Hang
Handler = Callable[[Request], Awaitable[Answer]]


class _TooLargeError(Exception):
    pass


class _Connection:
    """One client connection."""

    def __init__(self, stream: trio.abc.Stream, handler: Handler) -> None:
        self._stream = stream
        self._handler = handler
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=256 * 1024)

    async def run(self) -> None:
        while True:
            try:
                with trio.fail_after(IDLE_SECONDS):
                    request = await self._read_request()
            except trio.TooSlowError:
                return
            except _TooLargeError:
                await self._write(Response(413, b"request body too large", "text/plain"), close=True)
                return
            except h11.RemoteProtocolError as error:
                if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                    body = str(error).encode()
                    await self._write(Response(error.error_status_hint, body, "text/plain"), close=True)
                return
            if request is None:
                return
            answer = await self._handler(request)
            match answer:
                case Response():
                    await self._write(answer, head_only=request.method == "HEAD")
                case Stream():
                    if not await self._pump(answer):
                        return
                case Hang(released=released):
                    await self._until_gone(released.wait)
                    return
            if self._h11.our_state is h11.MUST_CLOSE or self._h11.their_state is h11.MUST_CLOSE:
                return
            try:
                self._h11.start_next_cycle()
            except h11.ProtocolError:
                return

    async def _event(self) -> object:
        while True:
            event = self._h11.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._h11.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
            self._h11.receive_data(bytes(await self._stream.receive_some(65536)))

    async def _read_request(self) -> Request | None:
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        body = bytearray()
        while not isinstance(event := await self._event(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                return None
            body += event.data
            if len(body) > MAX_BODY:
                raise _TooLargeError
        path, _, query = head.target.decode("latin-1").partition("?")
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in head.headers}
        values: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            values.setdefault(name, value)
        return Request(head.method.decode("latin-1"), unquote(path), values, headers, bytes(body))

    async def _send(self, event: h11.Event) -> None:
        data = self._h11.send(event)
        if data:
            await self._stream.send_all(data)

    async def _write(self, response: Response, *, close: bool = False, head_only: bool = False) -> None:
        headers = [("Content-Type", response.content_type), ("Content-Length", str(len(response.body)))]
        headers += response.headers
        if close:
            headers.append(("Connection", "close"))
        data = self._h11.send(h11.Response(status_code=response.status, headers=headers)) or b""
        if not head_only:
            data += self._h11.send(h11.Data(data=response.body)) or b""
        data += self._h11.send(h11.EndOfMessage()) or b""
        await self._stream.send_all(data)

    async def _pump(self, answer: Stream) -> bool:
        """Run a stream; True when it ended in order and the connection can go on."""
        headers = [("Content-Type", answer.content_type), ("Transfer-Encoding", "chunked"), *answer.headers]
        await self._send(h11.Response(status_code=200, headers=headers))

        async def send(data: bytes) -> None:
            await self._send(h11.Data(data=data))

        async def produce() -> None:
            await answer.produce(send)

        try:
            if not await self._until_gone(produce):
                return False
        except DroppedError:
            return False
        await self._send(h11.EndOfMessage())
        return True

    async def _until_gone(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Run ``work`` unless the client closes first; True when the work came to its end."""
        done = False
        dropped = False
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                while data := await self._stream.receive_some(65536):
                    self._h11.receive_data(bytes(data))
                nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            try:
                await work()
                done = True
            except DroppedError:
                dropped = True
            nursery.cancel_scope.cancel()
        if dropped:
            raise DroppedError
        return done


async def serve_connections(listeners: Sequence[trio.SocketListener], handler: Handler) -> None:
    """Serve every connection to ``listeners`` until cancelled; cancelling closes them all."""
    limit = trio.CapacityLimiter(MAX_CONNECTIONS)

    async def serve_one(stream: trio.SocketStream) -> None:
        async with limit:
            try:
                await _Connection(stream, handler).run()
            except* (trio.BrokenResourceError, trio.ClosedResourceError, h11.LocalProtocolError):
                log.debug("connection.lost")
            finally:
                await trio.aclose_forcefully(stream)

    await trio.serve_listeners(serve_one, list(listeners))
