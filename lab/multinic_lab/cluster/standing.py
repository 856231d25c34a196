"""A cluster that stays up for a person: started in the background, spoken to over a unix socket, taken down again.

The socket speaks the agent's own protocol (:mod:`multinic_lab.machine.protocol`), so ``multinic lab exec`` is a client
of the machine like any other.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import trio

from multinic_core.cli.terminal import console
from multinic_core.errors import MultinicError
from multinic_lab.cluster.cluster import Cluster, open_cluster
from multinic_lab.cluster.demo import Story, apply_network, start_pods
from multinic_lab.cluster.scenario import Scenario
from multinic_lab.machine.client import AgentClient, OperationError, connect
from multinic_lab.machine.protocol import Event, Failure, Request, Response, lines, read_request

UP_SECONDS = 240.0
DOWN_SECONDS = 60.0


class LabError(MultinicError):
    """A standing lab is there when it must not be, or not there when it must."""

    reason = "LabFailed"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a standing lab of one name keeps its files."""

    folder: Path

    @classmethod
    def named(cls, name: str) -> Standing:
        base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
        return cls(base / f"multinic-lab-{os.getuid()}" / name)

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def log(self) -> Path:
        return self.folder / "lab.log"

    @property
    def socket(self) -> Path:
        return self.folder / "agent.sock"

    @property
    def _pid_file(self) -> Path:
        return self.folder / "pid"

    def pid(self) -> int | None:
        """The process that carries the lab, or None when there is none."""
        try:
            pid = int(self._pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if str(self.folder).encode() in command else None

    def start(self, scenario: Path, *, bare: bool) -> None:
        """Start a lab in the background and wait until it is ready.

        Raises:
            LabError: one is running already, or it did not become ready; the message holds the end of its log.
        """
        if (pid := self.pid()) is not None:
            raise LabError(f"a lab is running already as process {pid}; take it down first")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "multinic_lab",
            "serve",
            "--scenario",
            str(scenario),
            "--folder",
            str(self.folder),
        ]
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [*command, *(["--bare"] if bare else [])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._pid_file.write_text(str(process.pid))
        deadline = time.monotonic() + UP_SECONDS
        while not self.socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise LabError(f"the lab did not come up; the end of {self.log}:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.1)

    def stop(self) -> bool:
        """End the lab and wait until all of it is gone; False when there was none."""
        pid = self.pid()
        if pid is None:
            return False
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + DOWN_SECONDS
        while self.pid() is not None and time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            time.sleep(0.1)
        if self.pid() is not None:
            raise LabError(f"process {pid} does not end; see {self.log}")
        self._pid_file.unlink(missing_ok=True)
        return True

    async def _open(self) -> trio.SocketStream:
        return await trio.open_unix_socket(str(self.socket))

    async def execute(self, pod: str, argv: list[str]) -> tuple[int, str, str]:
        """Run a command in a pod of the lab: exit status, standard output, standard error.

        Raises:
            LabError: no lab is running, or it has no such pod.
        """
        if self.pid() is None:
            raise LabError("no lab is running; start one with 'multinic lab up'")
        key = pod if "/" in pod else f"default/{pod}"
        try:
            async with connect(self._open, timeout_seconds=10) as agent:
                done = await agent.call("exec", pod=key, argv=argv, timeout_seconds=3600)
        except OperationError as error:
            raise LabError(str(error)) from error
        return int(done["status"]), str(done["stdout"]), str(done["stderr"])


async def serve(scenario: Scenario, standing: Standing, *, bare: bool) -> None:
    """Carry a lab until SIGTERM or SIGINT; ready when the socket is there."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def end() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(end)
            async with open_cluster(scenario, folder=standing.folder, progress=print) as cluster:
                if not bare:
                    await _furnish(cluster)
                await _serve_socket(cluster.agent, standing.socket)


async def _furnish(cluster: Cluster) -> None:
    story = Story(console())
    await apply_network(story, cluster)
    await start_pods(story, cluster)


def _listen(path: Path) -> trio.SocketListener:
    """A unix socket that appears at ``path`` only when it already listens."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(fresh))
    listener.listen()
    fresh.rename(path)
    return trio.SocketListener(trio.socket.from_stdlib_socket(listener))


async def _serve_socket(agent: AgentClient, path: Path) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        async with stream, trio.open_nursery() as nursery:
            sending = trio.Lock()
            await stream.send_all(Event("hello").line())
            async for line in lines(stream):
                nursery.start_soon(_answer, agent, read_request(line), stream, sending)
            nursery.cancel_scope.cancel()

    await trio.serve_listeners(handle, [_listen(path)])


async def _answer(agent: AgentClient, request: Request, stream: trio.SocketStream, sending: trio.Lock) -> None:
    try:
        answer = Response(request.id, await agent.call(request.op, **request.args))
    except OperationError as error:
        answer = Response(request.id, failure=Failure(error.kind, str(error), error.details))
    async with sending:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.send_all(answer.line())
