"""The way from the nodes to the Kubernetes API, which runs outside the fabric.

A socket listens on the management bridge, inside the fabric's namespace; its connections are joined to the API
server on the host's loopback: by this process where that is its own machine, through the lab kernel's link inside a
guest.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import trio
import yaml

from multinic_lab.kernel.agent import SOCKET
from multinic_lab.kernel.link import forward_to_host
from multinic_lab.machine import netns

logger = logging.getLogger(__name__)
LOOPBACK = IPv4Address("127.0.0.1")
Upstream = Callable[[], Awaitable[trio.SocketStream]]
_BACKLOG = 256
_CHUNK = 65_536


def listen(address: IPv4Address | IPv6Address, port: int) -> socket.socket:
    """A listening socket in the calling thread's network namespace; port 0 lets the kernel choose."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((str(address), port))
    listener.listen(_BACKLOG)
    return listener


def listen_in(namespace: Path, address: IPv4Address | IPv6Address, port: int) -> socket.socket:
    """The same inside another network namespace; blocking."""
    return netns.run_in(namespace, partial(listen, address, port))


def loopback_upstream(port: int) -> Upstream:
    """The API server at 127.0.0.1 of this process's own network namespace."""
    return partial(trio.open_tcp_stream, "127.0.0.1", port)


async def serve_door(
    listener: socket.socket, upstream: Upstream, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Join every connection to a fresh stream of ``upstream``; never returns."""
    listener.setblocking(False)
    door = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    task_status.started()
    await trio.serve_listeners(partial(_join, upstream), [door])


async def _join(upstream: Upstream, client: trio.SocketStream) -> None:
    async with client:
        try:
            server = await upstream()
        except OSError as error:
            logger.warning("API server does not answer: %s", error)
            return
        async with server, trio.open_nursery() as nursery:
            nursery.start_soon(_pump, client, server, nursery.cancel_scope)
            await _pump(server, client, nursery.cancel_scope)
            # A server that has finished leaves nothing to say to it.
            nursery.cancel_scope.cancel()


async def _pump(source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
    """Copy one direction; the end is passed on, a broken connection ends both."""
    try:
        while data := await source.receive_some(_CHUNK):
            await sink.send_all(data)
        await sink.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        scope.cancel()


async def answers(port: int) -> bool:
    """Whether something listens at 127.0.0.1:``port`` of this process's own network namespace."""
    with trio.move_on_after(5):
        try:
            stream = await loopback_upstream(port)()
        except OSError:
            return False
        await stream.aclose()
        return True
    return False


def in_guest() -> bool:
    """Whether this process runs inside the lab kernel and may reach its host over the kernel's link."""
    return Path(SOCKET).exists()


def hand_to_host(listener: socket.socket, port: int) -> None:
    """In a guest: let the lab kernel's link join the connections to the host's 127.0.0.1:``port``; blocking."""
    with listener:
        forward_to_host(listener, port)


def write_kubeconfig(path: Path, server: str, token: str) -> None:
    """A kubeconfig with one context, readable by its owner only."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": server}}],
        "users": [{"name": "lab", "user": {"token": token} if token else {}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "current-context": "lab",
    }
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123 - with a mode
        yaml.safe_dump(document, file, sort_keys=False)


def url(address: IPv4Address | IPv6Address | str, port: int) -> str:
    host = f"[{address}]" if ":" in str(address) else str(address)
    return f"http://{host}:{port}"
