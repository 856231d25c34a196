"""What a lab's things are called: one place for every path and namespace name, and for their removal by name alone.

``/run/multinic-PREFIX/`` is a tmpfs of its own (executables may run there, which ``/run`` often forbids)::

    agent.pid  kubeconfig  node-kubeconfig
    interpreters/  what the CNI executables of all nodes run on
    NODE/run/    the daemon's run directory: socket, journal, tombstones
    NODE/bin/    the CNI executables
    NODE/log/    daemon.log and the output of containers
    NODE/iproute2/  where the daemon names its routing tables
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from multinic_core.errors import ConfigError
from multinic_lab.machine import netns

_KILL_SECONDS = 5.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Layout:
    prefix: str

    @property
    def folder(self) -> Path:
        return Path(f"/run/multinic-{self.prefix}")

    @property
    def kubeconfig(self) -> Path:
        """For processes of the agent's own network namespace."""
        return self.folder / "kubeconfig"

    @property
    def node_kubeconfig(self) -> Path:
        """For processes of the nodes."""
        return self.folder / "node-kubeconfig"

    @property
    def fabric_netns(self) -> str:
        return f"{self.prefix}-fabric"

    @property
    def interpreters(self) -> Path:
        return self.folder / "interpreters"

    def node_netns(self, node: str) -> str:
        return f"{self.prefix}-{node}"

    def pod_netns(self, node: str, container_id: str) -> str:
        return f"{self.prefix}-{node}-pod-{container_id[:16]}"

    def pod_netns_names(self, node: str) -> list[str]:
        """Names of the pod namespaces of a node that exist, sorted."""
        start = self.pod_netns(node, "")
        return [name for name in netns.names(start) if re.fullmatch("[0-9a-f]{16}", name.removeprefix(start))]

    def run_dir(self, node: str) -> Path:
        return self.folder / node / "run"

    def socket(self, node: str) -> Path:
        return self.run_dir(node) / "cni.sock"

    def bin_dir(self, node: str) -> Path:
        return self.folder / node / "bin"

    def log_dir(self, node: str) -> Path:
        return self.folder / node / "log"

    def iproute2_dir(self, node: str) -> Path:
        return self.folder / node / "iproute2"


def claim(layout: Layout, nodes: Iterable[str]) -> None:
    """Make the lab's folder, after removing what a killed lab of the same prefix left.

    Raises:
        ConfigError: a lab of this prefix is running, or this user is not root.
    """
    if os.geteuid():
        raise ConfigError(f"found uid {os.geteuid()}, but network namespaces need root here; the lab kernel needs none")
    nodes = list(nodes)
    if layout.folder.exists():
        if (pid := _agent_of(layout)) is not None:
            raise ConfigError(f"prefix: a lab {layout.prefix!r} is running already, as process {pid}")
        sweep(layout, nodes)
    layout.folder.mkdir(mode=0o755)
    netns.mount("multinic-lab", layout.folder, "tmpfs", netns.MS_NOSUID | netns.MS_NODEV, "mode=0755")
    (layout.folder / "agent.pid").write_text(str(os.getpid()))
    for node in nodes:
        names = layout.iproute2_dir(node) / "rt_tables.d"
        for folder in (layout.run_dir(node), layout.bin_dir(node), layout.log_dir(node), names):
            folder.mkdir(mode=0o755, parents=True)


def _agent_of(layout: Layout) -> int | None:
    """The pid of the living agent that claimed this folder, or None."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((layout.folder / "agent.pid").read_text())
        if b"multinic_lab.machine" in Path(f"/proc/{pid}/cmdline").read_bytes() and pid != os.getpid():
            return pid
    return None


def end_processes(paths: Iterable[str | Path], *, first: int = signal.SIGKILL) -> None:
    """End every process inside these namespaces: signal ``first``, and SIGKILL for what is left after 5 s. Blocking."""
    paths = list(paths)
    deadline = time.monotonic() + _KILL_SECONDS
    number = first
    while pids := netns.processes_in(paths):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(_POLL_SECONDS)
        if time.monotonic() > deadline:
            if number == signal.SIGKILL:
                return
            number, deadline = signal.SIGKILL, time.monotonic() + _KILL_SECONDS


def sweep(layout: Layout, nodes: Iterable[str]) -> None:
    """Remove everything of a lab by its names: processes, namespaces, folder. May be repeated; blocking."""
    nodes = list(nodes)
    names = [name for node in nodes for name in layout.pod_netns_names(node)]
    names += [*(layout.node_netns(node) for node in nodes), layout.fabric_netns]
    end_processes([netns.path_of(name) for name in names])
    for name in names:
        netns.remove(name)
    netns.unmount(layout.folder)
    shutil.rmtree(layout.folder, ignore_errors=True)
