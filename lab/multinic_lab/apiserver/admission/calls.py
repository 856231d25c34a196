"""One call of a webhook: HTTPS to its URL or to an endpoint of its Service, verified by the authority it names."""

import base64
import json
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import h11
import trio

from ..errors import Json
from ..store import Store

MAX_ANSWER = 3 * 1024 * 1024


class CallError(Exception):
    """A webhook that could not be asked or did not answer as it must; says why."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a webhook is, and who its certificate must speak for."""

    host: str
    port: int
    server_name: str
    path: str
    shown: str
    """As messages name it."""


def address_of(store: Store, client: Json) -> Address:
    """The address that a ``clientConfig`` leads to now.

    Raises:
        CallError: it names a Service that has no endpoint, or a URL that is not https.
    """
    if service := client.get("service"):
        return _endpoint(store, service)
    url = urlsplit(str(client.get("url") or ""))
    if url.scheme != "https" or not url.hostname:
        raise CallError(f"url: found {client.get('url')!r}, expected one of scheme https")
    return Address(url.hostname, url.port or 443, url.hostname, url.path or "/", url.geturl())


def _endpoint(store: Store, service: Json) -> Address:
    namespace, name, port = service.get("namespace", ""), service.get("name", ""), service.get("port") or 443
    host = f"{name}.{namespace}.svc"
    shown = f"https://{host}:{port}{service.get('path') or '/'}"
    found = store.get(("", "services", namespace, name))
    if found is None:
        raise CallError(f'Post "{shown}": service "{name}" not found')
    ports = (found.obj.get("spec") or {}).get("ports") or ()
    if (wanted := next((one for one in ports if one.get("port") == port), None)) is None:
        raise CallError(f'Post "{shown}": no service port {port} found for service "{name}"')
    endpoints = store.get(("", "endpoints", namespace, name))
    for subset in (endpoints.obj.get("subsets") or ()) if endpoints else ():
        for one in subset.get("ports") or ():
            if one.get("name", "") == wanted.get("name", "") and subset.get("addresses"):
                return Address(subset["addresses"][0]["ip"], one["port"], host, service.get("path") or "/", shown)
    raise CallError(f'Post "{shown}": no endpoints available for service "{name}"')


def _context(client: Json) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if bundle := client.get("caBundle"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=base64.b64decode(bundle).decode())
    return context


async def post(store: Store, client: Json, body: Json, seconds: float) -> Json:
    """The JSON object that the webhook answers with.

    Raises:
        CallError: it could not be reached and verified in time, or answered with something else.
    """
    address = address_of(store, client)
    try:
        with trio.fail_after(seconds):
            status, content = await _exchange(address, _context(client), json.dumps(body).encode())
    except trio.TooSlowError as error:
        raise CallError(f'Post "{address.shown}": no answer within {seconds:g} seconds') from error
    except trio.BrokenResourceError as error:  # trio tells of TLS in the cause
        raise CallError(f'Post "{address.shown}": {error.__cause__ or error}') from error
    except (OSError, ValueError, h11.RemoteProtocolError) as error:
        raise CallError(f'Post "{address.shown}": {error}') from error
    if status != 200:
        raise CallError(f'Post "{address.shown}": status {status}: {content[:200]!r}')
    try:
        answer: Any = json.loads(content)
    except ValueError as error:
        raise CallError(f'Post "{address.shown}": the answer is not JSON: {error}') from error
    if not isinstance(answer, dict):
        raise CallError(f'Post "{address.shown}": the answer is not a JSON object')
    return answer


async def _exchange(address: Address, context: ssl.SSLContext, body: bytes) -> tuple[int, bytes]:
    plain = await trio.open_tcp_stream(address.host, address.port)
    stream = trio.SSLStream(plain, context, server_hostname=address.server_name, https_compatible=True)
    http = h11.Connection(h11.CLIENT)
    headers = [
        ("Host", f"{address.server_name}:{address.port}"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    try:
        head = h11.Request(method="POST", target=address.path, headers=headers)
        events = (head, h11.Data(data=body), h11.EndOfMessage())
        await stream.send_all(b"".join(http.send(event) or b"" for event in events))
        status, content = 0, bytearray()
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(bytes(await stream.receive_some(65536)))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                content += event.data
                if len(content) > MAX_ANSWER:
                    raise ValueError(f"the answer is longer than {MAX_ANSWER} bytes")
            elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                return status, bytes(content)
    finally:
        await trio.aclose_forcefully(stream)
