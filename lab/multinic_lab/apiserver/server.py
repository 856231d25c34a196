"""The server with its sockets: listening, started as a trio service, and reachable by a kubeconfig file."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trio
import yaml

from .api import Api, LogProvider
from .faults import Faults
from .http import serve_connections
from .store import Store


@dataclass(slots=True)
class ApiServer:
    """A running API server."""

    url: str
    port: int
    api: Api

    @property
    def store(self) -> Store:
        return self.api.store

    @property
    def faults(self) -> Faults:
        return self.api.faults

    @property
    def logs(self) -> LogProvider | None:
        """What answers ``kubectl logs``; None answers 404."""
        return self.api.logs

    @logs.setter
    def logs(self, provider: LogProvider | None) -> None:
        self.api.logs = provider


async def serve_api(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    extra_sockets: Sequence[socket.socket] = (),
    store: Store | None = None,
    bookmark_seconds: float = 30.0,
    history: int = 4096,
    task_status: trio.TaskStatus[ApiServer] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the Kubernetes API until cancelled; ``task_status.started`` gets the ``ApiServer``.

    Args:
        host, port: where to listen; port 0 takes a free one.
        extra_sockets: listening TCP sockets to serve as well (made in other network namespaces, say); closed at end.
        store: objects to begin with, perhaps those of a server that has ended; None for an empty store. The usual
            namespaces are added either way.
        bookmark_seconds: how often idle watches are sent a bookmark.
        history: changes that a new store keeps of each kind; a watcher that falls further behind has to list again.

    Raises:
        OSError: the address cannot be listened on.
    """
    listeners = await trio.open_tcp_listeners(port, host=host)
    taken = listeners[0].socket.getsockname()[1]
    for extra in extra_sockets:
        extra.setblocking(False)
        listeners.append(trio.SocketListener(trio.socket.from_stdlib_socket(extra)))
    api = Api(store or Store(window=history), Faults(), bookmark_seconds=bookmark_seconds)
    shown = f"[{host}]" if ":" in host else host
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_connections, listeners, api.handle)
            task_status.started(ApiServer(f"http://{shown}:{taken}", taken, api))
    finally:
        api.controllers.close()


def write_kubeconfig(path: str | os.PathLike[str], url: str, *, name: str = "multinic-lab") -> Path:
    """Write a kubeconfig that leads to ``url``; readable by its owner only. Returns the path."""
    file = Path(path)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url}}],
        "users": [{"name": name, "user": {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return file
