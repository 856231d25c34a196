"""One lab while it lives: the fabric, the door to the API, a kubelet and perhaps a daemon for each node."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import trio
from multinic_cni.first_stage import gather_first_stage
from multinic_cni.install import choose_interpreter, install, install_self_contained
from multinic_cni.private import gather

from multinic_core.errors import ConfigError
from multinic_core.kube import connect
from multinic_core.ports import Key
from multinic_lab.machine import api, netns
from multinic_lab.machine.daemons import Daemon, Daemons
from multinic_lab.machine.fabric import Fabric
from multinic_lab.machine.kubelet import Kubelet
from multinic_lab.machine.launching import Launcher
from multinic_lab.machine.layout import Layout, claim, sweep
from multinic_lab.machine.podworker import PodWorker
from multinic_lab.machine.runtime import CniRuntime
from multinic_lab.machine.spec import LabSpec
from multinic_lab.provision import tools

logger = logging.getLogger(__name__)
DAEMON_SECONDS = 120.0
"""How long all daemons may take to answer; inside the lab kernel there is one slow CPU."""


class Tell(Protocol):
    """Sends an event to the controller."""

    def __call__(self, event: str, /, **fields: Any) -> None: ...


class Lab:
    """What operations work on; made by ``serve_lab``."""

    def __init__(self, spec: LabSpec, launcher: Launcher, tell: Tell) -> None:
        self.spec, self.launcher, self.tell = spec, launcher, tell
        self.layout = Layout(spec.prefix)
        self.fabric = Fabric(spec, self.layout)
        self.daemons = Daemons(self.layout, launcher, tell)
        self.kubelets: dict[str, Kubelet] = {}
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self._nursery: trio.Nursery | None = None

    @property
    def node_names(self) -> list[str]:
        return [node.name for node in self.spec.nodes]

    async def run(self, started: Callable[[], None]) -> None:
        """Build everything, call ``started``, keep it until ``scope`` is cancelled, remove it.

        Raises:
            ConfigError: a lab of this prefix is running.
            KernelError: the kernel refuses a link or a namespace.
        """
        await trio.to_thread.run_sync(claim, self.layout, self.node_names)
        try:
            with self.scope:
                await self._live(started)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(sweep, self.layout, self.node_names)
                await self.launcher.unguard()
            self.ended.set()

    async def _live(self, started: Callable[[], None]) -> None:
        await self.launcher.guard(self.layout, self.node_names)
        await trio.to_thread.run_sync(self.fabric.build, self._progress)
        await trio.to_thread.run_sync(self._install)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._open_door(nursery)
            kube = connect(str(self.layout.kubeconfig))
            await nursery.start(kube.serve)
            async with trio.open_nursery() as starting:
                for node in self.spec.nodes:
                    runtime = CniRuntime(self.layout, node.name)
                    kubelet = self.kubelets[node.name] = Kubelet(node, self.layout, kube, runtime, self.tell)
                    starting.start_soon(nursery.start, kubelet.serve)
            self._progress(f"{len(self.kubelets)} nodes registered")
            started()
            await trio.sleep_forever()

    def _progress(self, message: str) -> None:
        """Called from worker threads too."""
        try:
            trio.lowlevel.current_task()
        except RuntimeError:
            trio.from_thread.run_sync(partial(self.tell, "progress", message=message))
        else:
            self.tell("progress", message=message)

    def _install(self) -> None:
        """The quickest form that can be had here: starting a process takes its time in the lab kernel."""
        interpreter = choose_interpreter()
        try:
            first_stage = gather_first_stage(tools.find("micropython"))
        except (tools.ToolMissingError, ValueError) as error:
            logger.warning("executables without a first stage", extra={"cause": str(error)})
            for node in self.node_names:
                install(self.layout.bin_dir(node), self.layout.socket(node), interpreter)
            return
        parts = gather(interpreter)
        for node in self.node_names:
            install_self_contained(
                self.layout.bin_dir(node),
                self.layout.socket(node),
                interpreter,
                library=self.layout.interpreters,
                first_stage=first_stage,
                parts=parts,
            )

    async def _open_door(self, nursery: trio.Nursery) -> None:
        """Make the API reachable from the nodes, and from this process where that takes the lab kernel's link."""
        address, port = self.spec.management.bridge_addresses[0].ip, self.spec.api_port
        namespace = netns.path_of(self.layout.fabric_netns)
        here = await api.answers(port)
        if not here and not api.in_guest():
            raise ConfigError(f"api_port: found {port}, but nothing listens there on 127.0.0.1")
        listener = await trio.to_thread.run_sync(api.listen_in, namespace, address, port)
        own_port = port
        if here:
            await nursery.start(api.serve_door, listener, api.loopback_upstream(port))
        else:
            own = api.listen(api.LOOPBACK, 0)
            own_port = own.getsockname()[1]
            await trio.to_thread.run_sync(api.hand_to_host, listener, port)
            await trio.to_thread.run_sync(api.hand_to_host, own, port)
        api.write_kubeconfig(self.layout.kubeconfig, api.url(api.LOOPBACK, own_port), self.spec.token)
        api.write_kubeconfig(self.layout.node_kubeconfig, api.url(address, port), self.spec.token)

    async def start_daemons(self, nodes: list[str], log_level: str) -> None:
        """Start the daemons of these nodes and wait until each answers on its socket.

        Raises:
            ConfigError: one runs already, or there is no such node.
            DaemonUnavailableError: one does not answer in time; it is tried on all the same.
        """
        assert self._nursery is not None
        added: list[Daemon] = []
        for node in nodes:
            self.spec.node(node)
            if any(daemon.node == node for daemon in self.daemons):
                raise ConfigError(f"nodes: the daemon of {node!r} was started already")
            daemon = self.daemons.add(node, log_level)
            self._nursery.start_soon(daemon.serve)
            added.append(daemon)
        deadline = trio.current_time() + DAEMON_SECONDS
        for daemon in added:
            await daemon.wait_answering(max(0.1, deadline - trio.current_time()))

    def worker(self, pod: str) -> PodWorker:
        """The running pod named ``namespace/name``. Raises ConfigError when no node runs it."""
        namespace, _, name = pod.rpartition("/")
        for kubelet in self.kubelets.values():
            if (worker := kubelet.worker_of(Key(namespace or "default", name))) is not None:
                return worker
        raise ConfigError(f"pod {pod!r} is not running on any node of the lab")

    def namespace_of(self, pod: str, node: str) -> Path:
        """The network namespace of a pod, else of a node, else the fabric's. Raises ConfigError."""
        if pod and node:
            raise ConfigError(f"pod, node: found both {pod!r} and {node!r}, expected one of them")
        if pod:
            sandbox = self.worker(pod).sandbox
            assert sandbox is not None
            return sandbox.netns
        return netns.path_of(self.layout.node_netns(self.spec.node(node).name) if node else self.layout.fabric_netns)
