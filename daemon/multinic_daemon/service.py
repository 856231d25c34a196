"""The daemon whole: opens what there is, finishes what was left, then runs every part in one nursery."""

from __future__ import annotations

import gc
import logging
import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from multinic_core.kube import connect
from multinic_core.registry import load_plugins
from multinic_daemon.calls.server import serve_socket
from multinic_daemon.cluster import Cluster
from multinic_daemon.devices import KubeletDevices
from multinic_daemon.discovery.discovery import Discovery
from multinic_daemon.discovery.held import held_nics
from multinic_daemon.discovery.publish import serve_publishing
from multinic_daemon.discovery.rates import Rates
from multinic_daemon.engine import Engine, handler
from multinic_daemon.gate import Gate
from multinic_daemon.hostroutes.service import serve_routes
from multinic_daemon.journal.journal import Journal
from multinic_daemon.memory.heap import use_one_heap
from multinic_daemon.memory.hugepages import use_large_pages
from multinic_daemon.podfacts import NodeFactSource
from multinic_daemon.podlinks import apply
from multinic_daemon.pods import NodePods
from multinic_daemon.pools.mirrorkeeper import MirrorKeeper
from multinic_daemon.pools.nodepools import NodePools
from multinic_daemon.recovery.adoption import Adoption, closed_reason
from multinic_daemon.recovery.recovery import recover
from multinic_daemon.recovery.sweep import serve_sweep
from multinic_daemon.recovery.tombstones import FOLDER, replay
from multinic_daemon.report.lease import serve_lease
from multinic_daemon.report.podevents import PodEvents
from multinic_daemon.report.report import Reporter, serve_errors

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says."""

    node: str
    run_dir: Path
    socket: Path
    kubeconfig: str | None
    """None: the pod's service account."""
    namespace: str
    """Of this node's Lease."""
    iproute2: Path | None
    """Folder in which iproute2 is told the names of our routing tables; None: they stay numbers."""
    cni_bin: str = ""
    """Folders of CNI executables besides the runtime's ``CNI_PATH``, written as that is."""
    metrics: str = ""
    """``ADDRESS:PORT`` on which Prometheus may ask; "" for none."""


async def run_daemon(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT.

    The order matters: what a crash left is finished before a call can be answered, and calls are answered before the
    API has been reached.

    Raises:
        JournalError: another daemon has the journal, or it cannot be opened; nothing has been touched.
        ConfigError: the API cannot be addressed.
        SocketInUseError: another daemon has the socket.
    """
    use_one_heap()
    registry = load_plugins()
    log.info(
        "plugins loaded",
        extra={
            "main_plugins": sorted(registry.main_plugins.objects),
            "strategies": sorted(registry.strategies.objects),
            "ipams": sorted(registry.ipams.objects),
            "left_out": [str(problem) for problem in registry.problems],
        },
    )
    journal, refused = Journal.open_or_replace(settings.run_dir)
    if refused:
        log.error("journal refused, what is held is found elsewhere", extra={"node": settings.node, "cause": refused})
    try:
        kubernetes = connect(settings.kubeconfig, agent="multinic-daemon")
        reporter, discovery = Reporter(), _discovery(settings.node, journal)
        pools = NodePools(kubernetes, settings.node)
        cluster = Cluster(kubernetes, settings.node, pools)
        gate, tombstones = Gate(closed_reason(journal, refused)), settings.socket.parent / FOLDER
        problem = reporter.route_problem
        engine = Engine(registry, journal, apply, cluster, discovery.view, problem, gate, tombstones)
        events = PodEvents(kubernetes, settings.node)
        kubelet = KubeletDevices()
        facts = NodeFactSource(NodePods(kubernetes, settings.node), kubelet)
        rates = Rates(discovery.view)
        engine.tell, engine.facts, engine.rates = events.tell, facts, rates
        engine.device_source, engine.fresh = kubelet.of_resources, discovery.renew
        engine.devices_changed = discovery.refresh
        engine.outside.cni_bin = settings.cni_bin
        adoption = Adoption(engine, kubernetes, settings.node, pools)
        mirror = MirrorKeeper(kubernetes, settings.node, pools, journal, gate, adoption.take_pool)
        await recover(engine)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
            await nursery.start(discovery.serve)
            await nursery.start(rates.serve)
            await nursery.start(kubernetes.serve)
            await nursery.start(pools.serve)
            await nursery.start(adoption.serve, tombstones)
            await nursery.start(mirror.serve)
            await nursery.start(serve_sweep, engine)
            await nursery.start(events.serve)
            honour = partial(_honour_tombstones, engine, tombstones)
            serve = partial(serve_socket, settings.socket, handler(engine), busy=engine.busy)
            await nursery.start(partial(serve, before_accept=honour))
            await nursery.start(serve_publishing, settings.node, kubernetes, discovery)
            keep_routes = partial(serve_routes, settings.node, kubernetes, reporter.set_route)
            await nursery.start(partial(keep_routes, span=reporter.set_nodes, iproute2=settings.iproute2))
            await nursery.start(serve_errors, reporter, lambda: gate.reason)
            await nursery.start(partial(serve_lease, kubernetes, settings.node, reporter, namespace=settings.namespace))
            if settings.metrics:
                from multinic_daemon.report.metrics import nic_states, serve_metrics  # nobody pays who has none

                port = await nursery.start(serve_metrics, settings.metrics, settings.node, partial(nic_states, engine))
                log.info("metrics are told", extra={"address": settings.metrics, "port": port})
            # What start-up made stays; looking through all of it for garbage stops the loop for 50 ms at a time.
            gc.collect()
            gc.freeze()
            await trio.to_thread.run_sync(use_large_pages)
            log.info("daemon started", extra={"node": settings.node, "version": reporter.report().version})
    finally:
        journal.close()
    log.info("daemon stopped", extra={"node": settings.node})


def _discovery(node: str, journal: Journal) -> Discovery:
    """Of this node, with the NICs that its journal knows to sit in pods."""
    discovery = Discovery(node, held=lambda: held_nics(journal.held_devices, discovery.view))
    return discovery


async def _honour_tombstones(engine: Engine, folder: Path) -> None:
    if engine.journal.complete:  # else what they are about is still to be found
        await replay(engine, folder)


async def _stop_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("stopping", extra={"signal": signal.Signals(number).name})
            scope.cancel()
            return
