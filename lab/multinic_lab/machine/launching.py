"""The agent's side of the launcher: start a program's function in a process of its own, learn how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import trio

from multinic_core.errors import ConfigError
from multinic_lab.machine.launcher import MAX_DATAGRAM
from multinic_lab.machine.layout import Layout

UNKNOWN_STATUS = 255
"""Given for processes whose launcher died."""


class LaunchedProcess:
    """One process that the launcher forked."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None
        self._ended = trio.Event()

    def _end(self, status: int) -> None:
        self.status = status
        self._ended.set()

    async def wait(self) -> int:
        """Exit status once it has ended, 128 + number for a signal."""
        await self._ended.wait()
        assert self.status is not None
        return self.status

    def signal(self, number: int) -> None:
        """Signal the process group, unless it has ended (its pid may then be another's)."""
        if self.status is None:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                # It has not reached setsid() yet, or is a zombie that is being reaped.
                try:
                    os.kill(self.pid, number)
                except ProcessLookupError:
                    return


class _Starting:
    __slots__ = ("done", "error", "process")

    def __init__(self) -> None:
        self.process: LaunchedProcess | None = None
        self.error = ""
        self.done = trio.Event()


class Launcher:
    """Client of one launcher process. ``serve`` must run for answers to arrive."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = trio.socket.from_stdlib_socket(sock)
        self._number = 0
        self._starting: dict[int, _Starting] = {}
        self._running: dict[int, LaunchedProcess] = {}
        self._lock = trio.Lock()
        self._gone = False

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read what the launcher says; never returns.

        Raises:
            ConnectionError: the launcher is gone.
        """
        task_status.started()
        try:
            while data := await self._receive():
                self._take(json.loads(data))
            raise ConnectionError("the launcher of daemons is gone")
        finally:
            # Nobody will tell how these ended; whoever waits for them must not wait for ever.
            for process in self._running.values():
                process._end(UNKNOWN_STATUS)
            for starting in self._starting.values():
                starting.error = "the launcher of daemons is gone"
                starting.done.set()
            self._gone = True

    async def _receive(self) -> bytes:
        try:
            return await self._socket.recv(MAX_DATAGRAM)
        except ConnectionError:
            return b""

    def _take(self, document: dict[str, Any]) -> None:
        if "ended" in document:
            self._running.pop(document["ended"])._end(document["status"])
            return
        starting = self._starting.pop(document["id"])
        if "pid" in document:
            starting.process = self._running[document["pid"]] = LaunchedProcess(document["pid"])
        else:
            starting.error = document["error"]
        starting.done.set()

    async def _send(self, document: Mapping[str, Any]) -> None:
        async with self._lock:
            with contextlib.suppress(ConnectionError):
                await self._socket.send(json.dumps(document).encode())

    async def start(
        self, program: str, argv: Sequence[str], *, netns: Path | None, env: Mapping[str, str], output: Path
    ) -> LaunchedProcess:
        """Start the console script ``program`` in a process of its own, appending its output to file ``output``.

        Raises:
            ConfigError: the process could not be forked.
        """
        if self._gone:
            raise ConfigError(f"{program}: the launcher of daemons is gone")
        with trio.CancelScope(shield=True):
            self._number += 1
            starting = self._starting[self._number] = _Starting()
            document = {"id": self._number, "program": program, "argv": list(argv), "env": dict(env)}
            await self._send(document | {"netns": str(netns or ""), "output": str(output)})
            await starting.done.wait()
        if starting.process is None:
            raise ConfigError(f"{program}: {starting.error}")
        return starting.process

    async def guard(self, layout: Layout, nodes: Sequence[str]) -> None:
        """From now on this lab is swept should this process die."""
        await self._send({"guard": {"prefix": layout.prefix, "nodes": list(nodes)}})

    async def unguard(self) -> None:
        await self._send({"guard": None})
