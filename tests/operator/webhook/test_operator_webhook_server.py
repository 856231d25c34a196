"""The webhook as a server: its one path, its limits, and certificates that change while it serves."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import h11
import pytest
import trio
import trio.testing
from multinic_operator.validation.surroundings import Watch
from multinic_operator.webhook import serve_webhook
from multinic_operator.webhook.certificates import Bundle, renewed
from multinic_operator.webhook.server import MAX_BODY, PATH, serve_https, tls_context
from multinic_operator.world import World

from multinic_core.model import SECRETS, SYSTEM_NAMESPACE, WEBHOOK_CONFIGURATIONS


class Client:
    """One TLS connection to a port of this machine that trusts these authorities."""

    def __init__(self, port: int, trusted: str) -> None:
        self.port = port
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.load_verify_locations(cadata=trusted)
        self.http = h11.Connection(h11.CLIENT)

    async def __aenter__(self) -> Client:
        plain = await trio.open_tcp_stream("127.0.0.1", self.port)
        self.stream = trio.SSLStream(plain, self.context, server_hostname="127.0.0.1", https_compatible=True)
        await self.stream.do_handshake()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await trio.aclose_forcefully(self.stream)

    async def ask(self, body: bytes, path: str = PATH, method: str = "POST") -> tuple[int, Any]:
        """Status and decoded body; the connection can be used again."""
        if self.http.our_state is h11.DONE:
            self.http.start_next_cycle()
        head = h11.Request(method=method, target=path, headers=[("Host", "x"), ("Content-Length", str(len(body)))])
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            await self.stream.send_all(self.http.send(event) or b"")
        status, content = 0, b""
        while not isinstance(event := self.http.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                self.http.receive_data(bytes(await self.stream.receive_some(65536)))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                content += event.data
        return status, json.loads(content)


@asynccontextmanager
async def serving(answer: Any, bundle: Bundle) -> AsyncIterator[int]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_https, listeners, lambda: tls_context(bundle), answer)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return renewed(None, ["127.0.0.1"], datetime.now(UTC))


async def test_one_connection_carries_many_questions(bundle: Bundle) -> None:
    """As API servers keep theirs open."""
    async with (
        serving(lambda body: {"length": len(body)}, bundle) as port,
        Client(port, bundle.authorities[0]) as client,
    ):
        for length in (1, 70_000, 2):
            assert await client.ask(b"x" * length) == (200, {"length": length})


async def test_what_is_wrong_is_told_by_the_status(bundle: Bundle) -> None:
    """Another path, another method, no question, a handler that breaks, too long a body; the server goes on."""

    def answer(body: bytes) -> dict[str, Any]:
        if body == b"break":
            raise RuntimeError("boom")
        raise ValueError("no question")

    async with serving(answer, bundle) as port:
        async with Client(port, bundle.authorities[0]) as client:
            assert (await client.ask(b"", path="/other"))[0] == 404
            assert (await client.ask(b"", method="PUT"))[0] == 405
            assert await client.ask(b"x") == (400, {"message": "no question"})
            assert (await client.ask(b"break"))[0] == 500
        async with Client(port, bundle.authorities[0]) as client:
            head = [("Host", "x"), ("Content-Length", str(MAX_BODY + 1))]
            await client.stream.send_all(client.http.send(h11.Request(method="POST", target=PATH, headers=head)) or b"")
            with trio.fail_after(60), suppress(trio.BrokenResourceError):
                await client.stream.send_all(client.http.send(h11.Data(data=b"x" * (MAX_BODY + 1))) or b"")
                while await client.stream.receive_some(65536):  # until it is hung up on
                    pass
        async with Client(port, bundle.authorities[0]) as client:
            assert (await client.ask(b"x"))[0] == 400


async def test_plain_text_and_silence_end_only_their_own_connection(bundle: Bundle) -> None:
    """Who speaks no TLS is hung up on, and others are served meanwhile."""
    async with serving(lambda body: {}, bundle) as port:
        silent = await trio.open_tcp_stream("127.0.0.1", port)
        plain = await trio.open_tcp_stream("127.0.0.1", port)
        await plain.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
        with trio.fail_after(60):
            while await plain.receive_some(1000):
                pass
        async with Client(port, bundle.authorities[0]) as client:
            assert (await client.ask(b""))[0] == 200
        await silent.aclose()
        await plain.aclose()


async def test_a_configuration_that_comes_later_is_trusted_and_a_lost_secret_replaced(cluster: Any) -> None:
    """Changes in the cluster are seen at once, and new connections get what is in force."""
    world = World.watch(cluster.kube, cluster.registry, now=lambda: datetime.now(UTC))

    async def until(key: str, old: str = "") -> str:
        with trio.fail_after(60):
            while True:
                found = await cluster.kube.get(WEBHOOK_CONFIGURATIONS, "multinic")
                bundle = found.webhooks[0]["clientConfig"].get(key, "")
                if bundle != old:
                    return str(bundle)
                await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        port = await nursery.start(
            lambda task_status: serve_webhook(
                world, Watch(world), host="127.0.0.1", port=0, names=["127.0.0.1"], task_status=task_status
            )
        )
        webhooks = [{"name": "a", "clientConfig": {"url": f"https://127.0.0.1:{port}{PATH}"}}]
        await cluster.kube.create(WEBHOOK_CONFIGURATIONS, {"metadata": {"name": "multinic"}, "webhooks": webhooks})
        first = await until("caBundle")
        await cluster.kube.delete(SECRETS, "multinic-webhook", SYSTEM_NAMESPACE)
        second = await until("caBundle", first)
        with trio.fail_after(60):
            while True:
                try:
                    async with Client(port, base64.b64decode(second).decode()) as client:
                        assert (await client.ask(b"{}"))[0] == 400
                    break
                except trio.BrokenResourceError:
                    await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
