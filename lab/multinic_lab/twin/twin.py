"""One twin: its API server, its operator and the processes that carry its nodes, from nothing to gone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import trio
import yaml

from multinic_core.cli.crds import manifests
from multinic_core.errors import MultinicError
from multinic_core.kube import connect
from multinic_core.model import CIDRS, GROUP, NETWORKS, SYSTEM_NAMESPACE
from multinic_core.ports import Kubernetes
from multinic_lab.apiserver import ApiServer, Change, Place, serve_api, write_kubeconfig
from multinic_lab.machine.client import AgentClient, open_agent
from multinic_lab.machine.protocol import Event
from multinic_lab.twin.processes import Operator
from multinic_lab.twin.size import NETWORK, Size, network_object, node_object
from multinic_lab.twin.tally import Tally

STEP_SECONDS = 600.0
"""No phase of any size may take longer."""
QUIET_SECONDS = 3.0
"""When nothing was written for so long, what was set off has come to its end."""
AT_ONCE = 100


class TwinError(MultinicError):
    """A twin did not do what it was to do; says in which phase."""

    reason = "TwinFailed"


@dataclass(slots=True)
class Twin:
    """A running twin."""

    size: Size
    sample: int
    """Nodes of each process whose host routes are computed."""
    api: ApiServer
    tally: Tally
    kube: Kubernetes
    kubeconfig: Path
    operator: Operator
    carriers: list[AgentClient] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)
    """Of the carriers."""
    _changed: trio.Event = field(default_factory=trio.Event)

    async def add_nodes(self, numbers: Iterable[int]) -> None:
        """Make Node objects, as kubelets do."""
        for count, number in enumerate(numbers, 1):
            self.api.api.ensure(node_object(number))
            if count % AT_ONCE == 0:
                await trio.lowlevel.checkpoint()

    async def add_network(self) -> None:
        self.api.api.ensure(network_object())

    def carried(self, position: int) -> list[int]:
        """The nodes that the process at this position carries from the start."""
        return list(range(position, self.size.nodes, len(self.carriers)))

    async def call_all(self, op: str, **args: Any) -> list[Any]:
        """The answers of all carriers."""
        answers: list[Any] = [None] * len(self.carriers)

        async def call(position: int) -> None:
            answers[position] = await self.carriers[position].call(op, **args)

        async with trio.open_nursery() as nursery:
            for position in range(len(self.carriers)):
                nursery.start_soon(call, position)
        return answers

    def network(self) -> dict[str, Any]:
        """The network as it is."""
        record = self.api.store.get((GROUP, NETWORKS.plural, "", NETWORK))
        return record.obj if record is not None else {}

    def compact(self) -> bool:
        """Whether the network's CIDR lists no nodes."""
        record = self.api.store.get((GROUP, CIDRS.plural, "", NETWORK))
        return record is not None and bool(record.obj["spec"].get("compact"))

    def observe(self, place: Place, change: Change) -> None:
        self.tally.observe(place, change)
        if place[1] == NETWORKS.plural:
            self._changed.set()
            self._changed = trio.Event()

    async def ready(self, nodes: int) -> float:
        """The moment at which the network as it is written now serves so many nodes, and all of them say so."""
        while not _serves(self.network(), nodes):
            await self._changed.wait()
        return time.monotonic()

    async def quiet(self, last: Callable[[], float]) -> None:
        """Wait until ``last``, the moment of what is not to happen any more, is long ago."""
        while (left := last() + QUIET_SECONDS - time.monotonic()) > 0:  # noqa: ASYNC110 -- silence is no event
            await trio.sleep(left)

    def sent(self) -> Counter[tuple[str, str]]:
        """Bytes to watchers so far, by user agent and kind."""
        return self.api.api.reads.sent.copy()


def _serves(network: dict[str, Any], nodes: int) -> bool:
    status = network.get("status") or {}
    ready = [c for c in status.get("conditions") or () if c["type"] == "Ready" and c["status"] == "True"]
    current = any(c.get("observedGeneration") == network["metadata"]["generation"] for c in ready)
    discovery = status.get("discovery") or {}
    return current and discovery.get("cidrProcessed") == nodes == discovery.get("existDaemon")


@asynccontextmanager
async def open_twin(size: Size, *, processes: int, sample: int, folder: Path) -> AsyncIterator[Twin]:
    """A twin whose API server runs and knows our kinds; nothing else has started.

    Args:
        folder: for the kubeconfig and the logs of all processes.
    """
    async with trio.open_nursery() as nursery:
        serve = partial(serve_api, history=8 * size.nodes)
        api: ApiServer = await nursery.start(serve)
        kubeconfig = write_kubeconfig(folder / "kubeconfig", api.url)
        kube = connect(str(kubeconfig), agent="multinic-twin")
        twin = Twin(size, sample, api, Tally(), kube, kubeconfig, Operator(kubeconfig, folder / "operator.log"))
        api.api.requests = twin.tally
        api.store.observers.append(twin.observe)
        for manifest in _before_all():
            api.api.ensure(manifest)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(_shielded(twin.operator.stop))

            def greeted(event: Event) -> None:
                if event.name == "hello":
                    twin.pids.append(event.fields["pid"])

            for position in range(processes):
                log = stack.enter_context((folder / f"nodes-{position}.log").open("ab"))
                carrier = open_agent(on_event=greeted, module="multinic_lab.twin", log=log)
                twin.carriers.append(await stack.enter_async_context(carrier))
            yield twin
        nursery.cancel_scope.cancel()


def _before_all() -> list[dict[str, Any]]:
    """What is there before operator and daemons, as from ``deploy/``: kinds and a namespace."""
    multus = files("multinic_lab.cluster").joinpath("manifests/network-attachment-definition.yaml").read_text()
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}}
    return [*(yaml.safe_load(text) for text in (*manifests().values(), multus)), namespace]


def _shielded(stop: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        with trio.CancelScope(shield=True):
            await stop()

    return run
