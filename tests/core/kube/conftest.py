"""A scripted HTTP server on loopback: each test says, request by request, what the API server answers or breaks."""

from __future__ import annotations

import inspect
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import h11
import pytest
import trio
import yaml

from multinic_core.kube import connect
from multinic_core.ports import Kubernetes


@dataclass
class Exchange:
    """One request as it came, and the means to answer it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    stream: trio.SocketStream
    connection: h11.Connection

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    async def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        """Answer whole; ``body`` is JSON-ready, or bytes to send as they are."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}
        await self._send(h11.Response(status_code=status, headers=list(fields.items())))
        await self._send(h11.Data(data=data))
        await self._send(h11.EndOfMessage())

    async def refuse(self, status: int, reason: str, headers: dict[str, str] | None = None, **details: Any) -> None:
        failure = {"kind": "Status", "status": "Failure", "reason": reason, "message": f"scripted {reason}"}
        await self.answer(status, failure | {"code": status, "details": details}, headers)

    async def start_watch(self, close_announced: bool = False) -> None:
        fields = [("Content-Type", "application/json")]
        fields.append(("Connection", "close") if close_announced else ("Transfer-Encoding", "chunked"))
        await self._send(h11.Response(status_code=200, headers=fields))

    async def event(self, kind: str, item: dict[str, Any]) -> None:
        await self.raw(json.dumps({"type": kind, "object": item}).encode() + b"\n")

    async def raw(self, data: bytes) -> None:
        await self._send(h11.Data(data=data))

    async def end_watch(self) -> None:
        """End as a server does after timeoutSeconds."""
        await self._send(h11.EndOfMessage())

    async def wait_gone(self) -> None:
        """Returns when the client has closed or reset the connection."""
        try:
            while await self.stream.receive_some(4096):
                pass
        except trio.BrokenResourceError:
            pass

    async def _send(self, event: Any) -> None:
        await self.stream.send_all(self.connection.send(event) or b"")


Step = Callable[[Exchange], Awaitable[None]]


@dataclass
class ScriptedServer:
    """Answers the n-th request with the n-th step; a step that returns in the middle of an answer drops the line."""

    port: int
    script: list[Step] = field(default_factory=list)
    seen: list[Exchange] = field(default_factory=list)

    def plan(self, *steps: Step) -> None:
        self.script += steps

    async def serve_connection(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        body = b""
        async with stream:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    try:
                        connection.receive_data(await stream.receive_some(65536))
                    except trio.BrokenResourceError:
                        return
                elif isinstance(event, h11.Request):
                    request, body = event, b""
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    await self._step(request, body, stream, connection)
                    if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                        return
                    connection.start_next_cycle()
                else:
                    return

    async def _step(self, request: h11.Request, body: bytes, stream: Any, connection: h11.Connection) -> None:
        url = urlsplit(request.target.decode())
        headers = {name.decode(): value.decode() for name, value in request.headers}
        query = dict(parse_qsl(url.query))
        exchange = Exchange(request.method.decode(), url.path, query, headers, body, stream, connection)
        self.seen.append(exchange)
        assert self.script, f"nothing is scripted for {exchange.method} {request.target.decode()}"
        await self.script.pop(0)(exchange)


@pytest.fixture
async def server(nursery: trio.Nursery) -> ScriptedServer:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    scripted = ScriptedServer(listeners[0].socket.getsockname()[1])
    nursery.start_soon(trio.serve_listeners, scripted.serve_connection, listeners)
    return scripted


def write_kubeconfig(file: Path, url: str, **user: str) -> str:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
    file.write_text(yaml.safe_dump(config))
    return str(file)


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Callable[[str], str]:
    """Write a kubeconfig for a URL and give its path."""
    return lambda url: write_kubeconfig(tmp_path / "kubeconfig", url, token="secret")


@pytest.fixture
def unused_tcp_url() -> str:
    """A URL on loopback where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def kube(server: ScriptedServer, kubeconfig: Callable[[str], str]) -> Kubernetes:
    """The real port, led to the scripted server."""
    return connect(kubeconfig(f"http://127.0.0.1:{server.port}"))


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Awaitable[Any]]:
    """Wait until a condition, a plain or an async function, holds; ten seconds at most. Gives its value."""

    async def wait(condition: Callable[[], Any]) -> Any:
        with trio.fail_after(60):
            while True:
                value = condition()
                value = await value if inspect.isawaitable(value) else value
                if value:
                    return value
                await trio.sleep(0.005)

    return wait
