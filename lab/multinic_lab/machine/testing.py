"""Labs for tests: an embedded API server, an agent on this machine, and one lab with a prefix of its own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from multinic_core.kube import connect
from multinic_core.ports import Kubernetes
from multinic_lab.apiserver import ApiServer, serve_api, write_kubeconfig
from multinic_lab.machine.client import AgentClient, open_agent
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


@dataclass
class RunningLab:
    """A lab that is up, with its API."""

    spec: dict[str, Any]
    agent: AgentClient
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
