"""Labs for tests: an embedded API server, an agent on this machine, and one lab with a prefix of its own.

``open_lab`` is for one test; ``shared_lab`` lives in a thread, so that many tests which change nothing share one.
"""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import trio

from multinic_core.kube import connect
from multinic_core.ports import Kubernetes
from multinic_lab.apiserver import ApiServer, serve_api, write_kubeconfig
from multinic_lab.machine.client import open_agent
from multinic_lab.machine.protocol import Event


def make_spec(port: int, nodes: int, nics: int) -> dict[str, Any]:
    """A lab of ``nodes`` with ``nics`` each, the first of them on the management network."""
    return {
        "prefix": f"t{secrets.token_hex(4)}",
        "api_port": port,
        "networks": [{"index": 0, "bridge_address": "172.20.0.1/24"}, *({"index": n} for n in range(1, nics))],
        "nodes": [
            {
                "name": f"node-{k}",
                "nics": [
                    {"ifname": "eth0", "network": 0, "address": f"172.20.0.{10 + k}/24"},
                    *({"ifname": f"eth{n}", "network": n, "address": f"10.0.{n}.{k}/24"} for n in range(1, nics)),
                ],
            }
            for k in range(1, nodes + 1)
        ],
    }


class Caller(Protocol):
    """What tests need of an agent."""

    async def call(self, op: str, /, **args: Any) -> Any: ...


@dataclass
class RunningLab:
    """A lab that is up, with its API."""

    spec: dict[str, Any]
    agent: Caller
    api: ApiServer
    kube: Kubernetes
    events: list[Event] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)
    """What ``up`` returned."""

    @property
    def prefix(self) -> str:
        return str(self.spec["prefix"])

    async def run(self, *argv: str, timeout_seconds: float = 20, **where: str) -> dict[str, Any]:
        done: dict[str, Any] = await self.agent.call("exec", argv=list(argv), timeout_seconds=timeout_seconds, **where)
        return done


async def until(satisfied: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait for other processes, within bounds; what ``satisfied`` gave."""
    with trio.fail_after(seconds):
        while not (found := satisfied()):  # noqa: ASYNC110
            await trio.sleep(0.02)
        return found


@asynccontextmanager
async def open_lab(folder: Path, nodes: int = 2, nics: int = 3) -> AsyncIterator[RunningLab]:
    """Bring up a lab without daemons, and take it down with the block; needs root."""
    async with trio.open_nursery() as nursery:
        api: ApiServer = await nursery.start(serve_api)
        kubeconfig = write_kubeconfig(folder / "kubeconfig", api.url)
        kube = connect(str(kubeconfig))
        await nursery.start(kube.serve)
        events: list[Event] = []
        async with open_agent(on_event=events.append) as agent:
            running = RunningLab(make_spec(api.port, nodes, nics), agent, api, kube, events)
            running.told = await agent.call("up", spec=running.spec)
            yield running
        nursery.cancel_scope.cancel()


class _OtherThread:
    """Calls to an agent whose trio runs in another thread."""

    def __init__(self, agent: Caller, token: trio.lowlevel.TrioToken) -> None:
        self._agent, self._token = agent, token

    async def call(self, op: str, /, **args: Any) -> Any:
        work = partial(self._agent.call, op, **args)
        return await trio.to_thread.run_sync(partial(trio.from_thread.run, work, trio_token=self._token))


@contextmanager
def shared_lab(folder: Path, nodes: int = 2, nics: int = 3) -> Iterator[RunningLab]:
    """A lab in a thread of its own, for fixtures of a wider scope; its ``kube`` is for that thread only."""
    started: queue.SimpleQueue[RunningLab | BaseException] = queue.SimpleQueue()
    scopes: list[tuple[trio.CancelScope, trio.lowlevel.TrioToken]] = []

    async def live() -> None:
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:
            async with open_lab(folder, nodes, nics) as running:
                scopes.append((scope, token))
                started.put(replace(running, agent=_OtherThread(running.agent, token)))
                await trio.sleep_forever()

    def body() -> None:
        try:
            trio.run(live)
        except BaseException as error:
            started.put(error)

    thread = threading.Thread(target=body, name="shared lab")
    thread.start()
    running = started.get()
    if isinstance(running, BaseException):
        raise running
    try:
        yield running
    finally:
        scope, token = scopes[0]
        token.run_sync_soon(scope.cancel)
        thread.join()
