"""One process that carries many nodes, told by the twin what happens to them: ``python -m multinic_lab.twin``.

Every operation that waits answers with the moment at which what it waits for had come, in seconds of
``time.monotonic``, which all processes of a machine share.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from functools import partial

import trio
from multinic_daemon.discovery.publish import serve_publishing
from multinic_daemon.hostroutes.service import serve_wishes
from multinic_daemon.pools.nodepools import NodePools
from multinic_daemon.report.lease import serve_lease
from multinic_daemon.report.report import Reporter

from multinic_core.kube.client import Client
from multinic_core.model import CIDRS, HOST_INTERFACES, SYSTEM_NAMESPACE
from multinic_core.ports import Key
from multinic_lab.machine.answering import Answering, operations_of
from multinic_lab.twin.assumed import AssumedRoutes
from multinic_lab.twin.sharedport import SharedApi
from multinic_lab.twin.size import NETWORK, node_name, node_nics
from multinic_lab.twin.stand_ins import MemoryRoutes, SaidNics

logger = logging.getLogger(__name__)

AGENT = "multinic-daemon"
"""User agent, as of real daemons."""
STARTING_AT_ONCE = 40
"""Nodes of one process that have started and not published their NICs yet."""


class Carrier:
    """The nodes of this process."""

    def __init__(self, nursery: trio.Nursery, kubeconfig: str, nics: int) -> None:
        self._nursery = nursery
        self._nics = nics
        self.kubernetes = SharedApi(Client.from_config(kubeconfig, AGENT))
        self.hosts = self.kubernetes.store(HOST_INTERFACES)
        self.cidrs = self.kubernetes.store(CIDRS)
        self.known: set[str] = set()
        """Nodes whose HostInterface is here with an index."""
        self.tables: dict[str, MemoryRoutes] = {}
        """Node of the sample to its routes."""
        self._assumed = AssumedRoutes(self.kubernetes)
        self._said: dict[str, SaidNics] = {}
        self._published: dict[str, trio.Event] = {}
        self._starting = trio.CapacityLimiter(STARTING_AT_ONCE)
        self._news = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        self.hosts.subscribe(self._host_changed)
        self.cidrs.subscribe(lambda _: self._wake())

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.kubernetes.serve)
            await nursery.start(self._assumed.serve)
            task_status.started()

    def start_node(self, number: int, *, in_full: bool = False) -> None:
        """Have this node's daemon start when its turn comes; ``in_full``: it is of the sample."""
        self._nursery.start_soon(self._serve_node, number, in_full)

    def take_nic(self, number: int) -> None:
        """Have the last NIC of a node vanish."""
        said = self._said[node_name(number)]
        said.say(dict(list(said.view().nics.items())[:-1]))

    async def until(self, condition: Callable[[], bool]) -> float:
        """The moment at which this holds, looked at whenever something has changed."""
        while not condition():
            await self._news.wait()
        return time.monotonic()

    async def _serve_node(self, number: int, in_full: bool) -> None:
        name, reporter = node_name(number), Reporter()
        said = self._said[name] = SaidNics(name, node_nics(number, self._nics))
        published = self._published[name] = trio.Event()
        async with trio.open_nursery() as nursery:
            async with self._starting:
                await nursery.start(NodePools(self.kubernetes, name).serve)
                await nursery.start(serve_publishing, name, self.kubernetes, said)
                if in_full:
                    table = self.tables[name] = MemoryRoutes(lambda: self._token.run_sync_soon(self._wake))
                    report = reporter.set_route
                    keep = partial(serve_wishes, name, self.kubernetes, report, table, span=reporter.set_nodes)
                    await nursery.start(keep)
                else:
                    self._assumed.add(name, reporter)
                await published.wait()
            await nursery.start(
                partial(serve_lease, self.kubernetes, name, reporter, namespace=SYSTEM_NAMESPACE),
            )

    def _host_changed(self, key: Key) -> None:
        host = self.hosts.get(key.name)
        if host is not None and host.status is not None and host.status.host_index is not None:
            self.known.add(key.name)
        else:
            self.known.discard(key.name)
        if host is not None and (published := self._published.get(key.name)) is not None:
            published.set()
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()


class Commands:
    """What the twin can ask for."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._carrier: Carrier | None = None

    @property
    def _it(self) -> Carrier:
        if self._carrier is None:
            raise RuntimeError("start has not been called")
        return self._carrier

    async def start(self, kubeconfig: str, numbers: list[int], nics: int, sample: int) -> None:
        """Carry these nodes, the first ``sample`` of them in full."""
        self._carrier = Carrier(self._nursery, kubeconfig, nics)
        await self._nursery.start(self._carrier.serve)
        for position, number in enumerate(numbers):
            self._carrier.start_node(number, in_full=position < sample)

    async def join(self, number: int) -> float:
        """Start one more node."""
        self._it.start_node(number)
        return time.monotonic()

    async def take_nic(self, number: int) -> float:
        """Have a NIC vanish."""
        self._it.take_nic(number)
        return time.monotonic()

    async def knows_all(self, nodes: int) -> float:
        """Wait until so many nodes are known with their indexes."""
        it = self._it
        return await it.until(lambda: len(it.known) == nodes)

    async def knows(self, number: int, nics: int) -> float:
        """Wait until this node is known with its index and so many NICs."""
        it, name = self._it, node_name(number)

        def there() -> bool:
            host = it.hosts.get(name)
            return name in it.known and host is not None and len(host.spec.interfaces) == nics

        return await it.until(there)

    async def routed(self, routes: int) -> float:
        """Wait until every node of the sample has so many routes."""
        it = self._it
        return await it.until(lambda: all(len(t.routes.get(NETWORK, ())) == routes for t in it.tables.values()))

    async def excludes(self, text: str) -> float:
        """Wait until the network's CIDR excludes this."""
        it = self._it

        def there() -> bool:
            cidr = it.cidrs.get(NETWORK)
            return cidr is not None and text in (cidr.spec.config.exclude_cidrs or ())

        return await it.until(there)


async def carry(stream: trio.abc.Stream) -> None:
    """Serve the twin until it goes away."""
    answering = Answering(stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answering.write)
        operations = operations_of(Commands(nursery))
        answering.hello(operations, os.getpid())
        await answering.read(operations, nursery)
        nursery.cancel_scope.cancel()
