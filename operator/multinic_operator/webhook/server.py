"""HTTPS/1.1 over trio: TLS by the standard library, the protocol by h11. One path, questions and answers in JSON.

Everything is bounded: the handshake, each request, its size, the silence between requests, the number of connections.
"""

from __future__ import annotations

import json
import logging
import os
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import h11
import trio

from multinic_operator.webhook.certificates import Bundle

logger = logging.getLogger(__name__)

PATH = "/validate-multinicnetwork"
MAX_BODY = 8 * 1024 * 1024
"""Bytes; a review holds two objects of at most 3 MiB. Source: kube-apiserver's limit for a request."""
REQUEST_SECONDS = 10.0
IDLE_SECONDS = 120.0
CONNECTIONS = 256

Answer = Callable[[bytes], dict[str, Any]]
"""Gives the answer to a body; raises ValueError for one that is no question."""


def tls_context(bundle: Bundle) -> ssl.SSLContext:
    """A context that serves with this bundle. The keys touch no disk: OpenSSL reads them from anonymous memory."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    descriptor = os.memfd_create("certificate")
    try:
        os.write(descriptor, f"{bundle.certificate}{bundle.key}".encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context


class _TooLargeError(Exception):
    pass


class _Connection:
    def __init__(self, stream: trio.abc.Stream, answer: Answer) -> None:
        self._stream = stream
        self._answer = answer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)

    async def serve(self) -> None:
        """Answer one request after another; returns when the client or a limit ends it."""
        while True:
            with trio.move_on_after(IDLE_SECONDS):
                head = await self._event()
                if not isinstance(head, h11.Request):
                    return
                with trio.move_on_after(REQUEST_SECONDS):
                    try:
                        await self._respond(*self._result(head, await self._body()))
                    except _TooLargeError:
                        await self._respond(413, {"message": f"expected a body of at most {MAX_BODY} bytes"})
                    if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
                        self._http.start_next_cycle()
                        continue
            return

    def _result(self, head: h11.Request, body: bytes) -> tuple[int, dict[str, Any]]:
        path = head.target.partition(b"?")[0].decode("latin-1")
        if path != PATH:
            return 404, {"message": f"path: found {path!r}, expected {PATH!r}"}
        if head.method != b"POST":
            return 405, {"message": f"method: found {head.method.decode()!r}, expected 'POST'"}
        try:
            return 200, self._answer(body)
        except ValueError as error:
            return 400, {"message": str(error)}
        except Exception as error:
            logger.exception("webhook request broke")
            return 500, {"message": f"internal error: {error!r}"}

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(bytes(await self._stream.receive_some(65536)))
        return event

    async def _body(self) -> bytes:
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > MAX_BODY:
                raise _TooLargeError
        return bytes(body)

    async def _send(self, *events: h11.Event) -> None:
        await self._stream.send_all(b"".join(self._http.send(event) or b"" for event in events))

    async def _respond(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        await self._send(h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage())


async def serve_https(
    listeners: Sequence[trio.SocketListener], context: Callable[[], ssl.SSLContext], answer: Answer
) -> None:
    """Serve every connection until cancelled; each new one with the certificate that ``context`` gives then."""
    limit = trio.CapacityLimiter(CONNECTIONS)

    async def serve_one(plain: trio.SocketStream) -> None:
        async with limit:
            stream = trio.SSLStream(plain, context(), server_side=True, https_compatible=True)
            try:
                with trio.fail_after(REQUEST_SECONDS):
                    await stream.do_handshake()
                await _Connection(stream, answer).serve()
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, h11.ProtocolError) as error:
                logger.debug("webhook connection lost", extra={"error": repr(error)})
            finally:
                await trio.aclose_forcefully(stream)

    await trio.serve_listeners(serve_one, list(listeners))
