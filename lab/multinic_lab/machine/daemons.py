"""The real ``multinic-daemon`` process of each node, kept running as a DaemonSet keeps it.

A daemon that ends is started again, at once the first time and then with growing delay; one that was killed with
``hold`` stays down until it is started again by request.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import trio

from multinic_core.errors import ConfigError, DaemonUnavailableError
from multinic_lab.machine import netns
from multinic_lab.machine.launching import LaunchedProcess, Launcher
from multinic_lab.machine.layout import Layout
from multinic_lab.provision import tools

logger = logging.getLogger(__name__)
PROGRAM = "multinic-daemon"
STOP_SECONDS = 10.0
"""What a daemon gets between SIGTERM and SIGKILL."""
FIRST_DELAY_SECONDS = 0.0
MAX_DELAY_SECONDS = 10.0
STEADY_SECONDS = 10.0
"""A daemon that ran this long is started again without delay."""
_POLL_SECONDS = 0.05
Tell = Callable[..., None]
"""``tell(event, **fields)``."""


class Daemon:
    """The daemon of one node: wanted or held down, running or not."""

    def __init__(self, node: str, layout: Layout, launcher: Launcher, tell: Tell, log_level: str) -> None:
        self.node, self._layout, self._launcher, self._tell, self._log_level = node, layout, launcher, tell, log_level
        self.process: LaunchedProcess | None = None
        self.starts = 0
        self._wanted = True
        self._changed = trio.Event()

    def _set_wanted(self, wanted: bool) -> None:
        self._wanted = wanted
        self._changed.set()
        self._changed = trio.Event()

    async def serve(self) -> None:
        """Keep the daemon running while it is wanted; never returns."""
        delay = FIRST_DELAY_SECONDS
        try:
            while True:
                while not self._wanted:
                    await self._changed.wait()
                started = trio.current_time()
                self.process = await self._start()
                self._tell("daemon", node=self.node, state="started", pid=self.process.pid)
                status = await self.process.wait()
                self._tell("daemon", node=self.node, state="ended", pid=self.process.pid, status=status)
                self.process = None
                steady = trio.current_time() - started > STEADY_SECONDS
                delay = FIRST_DELAY_SECONDS if steady or not self._wanted else delay
                with trio.move_on_after(delay):
                    await self._changed.wait()
                delay = min(MAX_DELAY_SECONDS, delay * 2 or 0.5)
        finally:
            await self._end()

    async def _start(self) -> LaunchedProcess:
        self.starts += 1
        run_dir, layout = self._layout.run_dir(self.node), self._layout
        argv = ["--node", self.node, "--run-dir", str(run_dir), "--socket", str(layout.socket(self.node))]
        argv += ["--kubeconfig", str(layout.node_kubeconfig), "--log-level", self._log_level]
        env = tools.environment() | {"K8S_NODENAME": self.node, "KUBECONFIG": str(layout.node_kubeconfig)}
        # The machine's own /etc/iproute2 stays as it is.
        env["MULTINIC_IPROUTE2_DIR"] = str(layout.iproute2_dir(self.node))
        return await self._launcher.start(
            PROGRAM,
            argv,
            netns=netns.path_of(layout.node_netns(self.node)),
            env=env,
            output=self.log,
        )

    @property
    def log(self) -> Path:
        return self._layout.log_dir(self.node) / "daemon.log"

    async def kill(self, number: int, *, hold: bool) -> int | None:
        """Signal the daemon and wait for its end; the pid that ended, None when none ran.

        Args:
            hold: keep it down until ``resume``.
        """
        if hold:
            self._set_wanted(False)
        process = self.process
        if process is None:
            return None
        process.signal(number)
        with trio.move_on_after(STOP_SECONDS) as limit:
            await process.wait()
        if limit.cancelled_caught:
            process.signal(signal.SIGKILL)
            await process.wait()
        return process.pid

    def resume(self) -> None:
        """Start it now if it is down."""
        self._set_wanted(True)

    async def wait_answering(self, timeout_seconds: float) -> None:
        """Wait until the daemon's socket takes connections.

        Raises:
            DaemonUnavailableError: it does not within ``timeout_seconds``; quotes the end of its log.
        """
        with trio.move_on_after(timeout_seconds):
            # Its socket is another process's doing, which tells nobody.
            while not self._answers():  # noqa: ASYNC110
                await trio.sleep(_POLL_SECONDS)
            return
        path = str(self._layout.socket(self.node))
        raise DaemonUnavailableError(
            f"daemon of {self.node!r} did not open {path!r} within {timeout_seconds:.0f} s",
            details=tail(self.log),
        )

    def _answers(self) -> bool:
        if self.process is None:
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.setblocking(False)
            probe.connect(str(self._layout.socket(self.node)))
            return True
        return False

    async def _end(self) -> None:
        with trio.CancelScope(shield=True):
            await self.kill(signal.SIGTERM, hold=True)


class Daemons:
    """The daemons of all nodes."""

    def __init__(self, layout: Layout, launcher: Launcher, tell: Tell) -> None:
        self._layout, self._launcher, self._tell = layout, launcher, tell
        self._daemons: dict[str, Daemon] = {}

    def add(self, node: str, log_level: str) -> Daemon:
        """The daemon of a node, not running yet; the caller runs its ``serve``."""
        daemon = self._daemons[node] = Daemon(node, self._layout, self._launcher, self._tell, log_level)
        return daemon

    def get(self, node: str) -> Daemon:
        """Raises ConfigError when the node has none."""
        if (daemon := self._daemons.get(node)) is None:
            raise ConfigError(f"node: {node!r} has no daemon; there are {sorted(self._daemons)}")
        return daemon

    def __iter__(self) -> Iterator[Daemon]:
        return iter(self._daemons.values())


def tail(path: Path, limit: int = 4000) -> str:
    """The last ``limit`` bytes of a log, as text."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - limit))
        return file.read().decode(errors="replace")
    return ""
