"""The operations that a controller may ask for. Every public method of :class:`Commands` is one; its arguments are
checked by their types.

Where ``pod`` ("NAMESPACE/NAME") and ``node`` both are arguments, they say in which network namespace: the pod's, the
node's, or the fabric's when neither is given.
"""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any, Literal, TypeVar

import trio

from multinic_core.errors import ConfigError, MultinicError
from multinic_lab.machine import audit, links, netns, processes
from multinic_lab.machine.daemons import PROGRAM, tail
from multinic_lab.machine.fabric import NicAction
from multinic_lab.machine.lab import DAEMON_SECONDS, Lab, Tell
from multinic_lab.machine.launching import Launcher
from multinic_lab.machine.spec import read_spec
from multinic_lab.provision import tools

T = TypeVar("T")
DUMP_SECONDS = 60.0
Signal = Literal["KILL", "TERM", "STOP", "CONT"]


class Commands:
    """The operations of one agent, which holds at most one lab."""

    def __init__(self, nursery: trio.Nursery, launcher: Launcher, tell: Tell) -> None:
        self._nursery, self._launcher, self._tell = nursery, launcher, tell
        self._lab: Lab | None = None

    @property
    def _the_lab(self) -> Lab:
        if self._lab is None:
            raise ConfigError("there is no lab yet: 'up' makes one")
        return self._lab

    async def up(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Build fabric and nodes, install the CNI executables, register the nodes; the daemons are not started.

        Returns:
            ``folder``, ``kubeconfig`` (for the nodes) and ``netns`` (node name to path).
        """
        if self._lab is not None:
            raise ConfigError(f"the lab {self._lab.spec.prefix!r} is up already")
        lab = self._lab = Lab(read_spec(spec), self._launcher, self._tell)
        try:
            await self._nursery.start(self._keep, lab)
        except BaseException:
            self._lab = None
            raise
        paths = {node: str(netns.path_of(lab.layout.node_netns(node))) for node in lab.node_names}
        return {"folder": str(lab.layout.folder), "kubeconfig": str(lab.layout.node_kubeconfig), "netns": paths}

    @staticmethod
    async def _keep(lab: Lab, *, task_status: trio.TaskStatus[None]) -> None:
        await lab.run(task_status.started)

    async def down(self) -> None:
        """Remove everything; also when there is nothing."""
        lab, self._lab = self._lab, None
        if lab is not None:
            lab.scope.cancel()
            await lab.ended.wait()

    async def start_daemons(self, nodes: list[str] | None = None, log_level: str = "INFO") -> None:
        """Start the daemons of these nodes, all by default, and wait until their sockets answer."""
        lab = self._the_lab
        await lab.start_daemons(lab.node_names if nodes is None else nodes, log_level)

    async def kill_daemon(self, node: str, number: Signal = "KILL", hold: bool = False) -> int | None:
        """End a node's daemon; the pid that ended. It is started again at once unless ``hold``."""
        return await self._the_lab.daemons.get(node).kill(signal.Signals[f"SIG{number}"], hold=hold)

    async def restart_daemon(self, node: str) -> dict[str, Any]:
        """Stop the daemon with SIGTERM if it runs, start it and wait until it answers; its new pid."""
        daemon = self._the_lab.daemons.get(node)
        await daemon.kill(signal.SIGTERM, hold=True)
        daemon.resume()
        await daemon.wait_answering(DAEMON_SECONDS)
        return {"pid": daemon.process.pid if daemon.process else None, "starts": daemon.starts}

    async def wait_daemon(self, node: str, timeout_seconds: float = DAEMON_SECONDS) -> int | None:
        """Wait until the daemon's socket answers; its pid."""
        daemon = self._the_lab.daemons.get(node)
        await daemon.wait_answering(timeout_seconds)
        return daemon.process.pid if daemon.process else None

    async def exec(
        self, argv: list[str], pod: str = "", node: str = "", timeout_seconds: float = 60.0, stdin: str = ""
    ) -> dict[str, Any]:
        """Run a command in a namespace: ``status``, ``stdout``, ``stderr``, ``timed_out``."""
        if not argv:
            raise ConfigError("argv: is empty")
        ended = await processes.run(
            argv,
            namespace=self._the_lab.namespace_of(pod, node),
            env=tools.environment(),
            stdin=stdin.encode(),
            timeout_seconds=timeout_seconds,
        )
        return {
            "status": ended.status,
            "stdout": ended.stdout.decode(errors="replace"),
            "stderr": ended.stderr.decode(errors="replace"),
            "timed_out": ended.timed_out,
        }

    async def links(self, pod: str = "", node: str = "") -> list[dict[str, Any]]:
        """Links and their addresses, as :func:`multinic_lab.machine.links.list_links`."""
        return await self._inside(pod, node, links.list_links)

    async def routes(self, pod: str = "", node: str = "", every: bool = False) -> dict[str, Any]:
        """``routes`` and ``rules`` beside those of the kernel; ``every``: all routes but table local, and all rules."""
        return await self._inside(pod, node, links.list_routing if every else audit.added_routes)

    async def _inside(self, pod: str, node: str, look: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(netns.run_in, self._the_lab.namespace_of(pod, node), look)

    async def node_nic(
        self,
        node: str,
        action: NicAction,
        ifname: str,
        new_name: str = "",
        addresses: list[IPv4Interface | IPv6Interface] | None = None,
        mtu: int = 1500,
        network: int | None = None,
    ) -> None:
        """Change a NIC of a node, as :meth:`multinic_lab.machine.fabric.Fabric.change_nic`."""
        change = partial(
            self._the_lab.fabric.change_nic,
            node,
            action,
            ifname,
            new_name=new_name,
            addresses=addresses or (),
            mtu=mtu,
            network=network,
        )
        await trio.to_thread.run_sync(change)

    async def pods(self) -> list[dict[str, Any]]:
        """Pods that run, with node, netns, container id and network-status entries; sorted by name."""
        found = [
            worker.describe() | {"node": node}
            for node, kubelet in self._the_lab.kubelets.items()
            for worker in kubelet.workers.values()
            if worker.sandbox is not None
        ]
        return sorted(found, key=lambda row: str(row["pod"]))

    async def check(self, pod: str) -> None:
        """Run CNI CHECK on every network of a pod; fails when one fails."""
        lab = self._the_lab
        worker = lab.worker(pod)
        kubelet = next(k for k in lab.kubelets.values() if worker in k.workers.values())
        assert worker.sandbox is not None
        for attached in worker.attached:
            await kubelet.runtime.check(worker.sandbox, attached)

    async def logs(self, node: str, name: str = "daemon", limit: int = 20_000) -> str:
        """The end of a log of this node: ``daemon``, or ``NAMESPACE_POD_CONTAINER``."""
        folder = self._the_lab.layout.log_dir(self._the_lab.spec.node(node).name)
        if "/" in name:
            raise ConfigError(f"name: found {name!r}, expected one of {sorted(p.stem for p in folder.iterdir())}")
        return tail(folder / f"{name}.log", limit)

    async def audit(self) -> dict[str, Any]:
        """What of multinic is on the nodes, given that it should be nothing.

        Returns:
            ``nodes``: node to kind of thing to list of what is there, the journal's rows among them; ``problems``: the
            same as sentences; ``clean``: whether there are none.
        """
        lab = self._the_lab
        nodes: dict[str, dict[str, list[Any]]] = {}
        for node in lab.spec.nodes:
            found = nodes[node.name] = await trio.to_thread.run_sync(audit.node_leftovers, lab.layout, node)
            try:
                found["journal"] = await self._journal(lab, node.name)
            except (MultinicError, ValueError) as error:
                found["journal_error"] = [str(error)]
        problems = audit.problems(nodes)
        return {"nodes": nodes, "problems": problems, "clean": not problems}

    async def _journal(self, lab: Lab, node: str) -> list[dict[str, Any]]:
        """Rows of the journal; [] where no daemon ever ran."""
        run_dir = lab.layout.run_dir(node)
        if not any(daemon.node == node for daemon in lab.daemons):
            return []
        with tempfile.TemporaryDirectory(dir=lab.layout.folder) as folder:
            output = Path(folder, "dump")
            argv = ["dump", "--run-dir", str(run_dir), "--json"]
            process = await lab.launcher.start(PROGRAM, argv, netns=None, env=tools.environment(), output=output)
            status = None
            with trio.move_on_after(DUMP_SECONDS):
                status = await process.wait()
            text = tail(output, 1 << 24)
        if status != 0:
            raise ConfigError(f"{PROGRAM} dump: ended with status {status}: {text[-500:]}")
        return audit.journal_rows(text)
