"""The launcher: a single-threaded process that has imported the daemon once and forks one real process per node.

Starting Python with the daemon's imports costs seconds inside the lab kernel; a fork costs milliseconds. The
launcher itself is forked from the agent before trio starts, so one import serves both. It speaks JSON datagrams on
a socket pair with the agent:

* ``{"id", "program", "argv", "netns", "env", "output"}`` → ``{"id", "pid"}`` or ``{"id", "error"}``, later
  ``{"ended": pid, "status"}``;
* ``{"guard": {"prefix", "nodes"}}`` or ``{"guard": null}``: what to remove should the agent die without doing so.

It is also the guard of the lab: when the agent's end of the socket closes, it ends its children and sweeps what the
agent left.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from multinic_lab.machine import netns
from multinic_lab.machine.layout import Layout, sweep

MAX_DATAGRAM = 1 << 17
END_SECONDS = 5.0
"""What children get between SIGTERM and SIGKILL when the agent has died."""
_PR_SET_NAME = 15
PRELOAD = ("multinic_core.kube.api", "multinic_core.registry", "multinic_daemon.__main__", "multinic_daemon.service")


def preload() -> None:
    """Import what children will need; what fails to import is reported by the child that needs it."""
    for module in PRELOAD:
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    # The heap so far is shared by all children as long as the collector does not touch it.
    gc.collect()
    gc.freeze()


def fork_launcher() -> tuple[socket.socket, int]:
    """Fork the launcher; the agent's end of its socket, and its pid. Only in a process with one thread."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid:
        theirs.close()
        return ours, pid
    try:
        ours.close()
        _close_all_but(theirs.fileno())
        _Launcher(theirs).serve()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _close_all_but(kept: int) -> None:
    """Let go of the agent's streams, so that their other ends notice when the agent dies."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for fd in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208
        if fd not in {2, kept}:
            with contextlib.suppress(OSError):
                os.close(fd)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)


class _Launcher:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._selector = selectors.DefaultSelector()
        self._selector.register(sock, selectors.EVENT_READ)
        self._children: dict[int, int] = {}
        self._guarded: tuple[Layout, list[str]] | None = None

    def serve(self) -> None:
        """Serve until the agent is gone, then clean up after it."""
        while self._step():
            pass
        self._end_children()
        if self._guarded is not None:
            sweep(*self._guarded)

    def _step(self) -> bool:
        for key, _ in self._selector.select():
            if key.fileobj is self._sock:
                data = self._receive()
                if not data:
                    return False
                self._handle(json.loads(data))
            else:
                self._reap(key.data)
        return True

    def _receive(self) -> bytes:
        try:
            return self._sock.recv(MAX_DATAGRAM)
        except ConnectionError:
            return b""

    def _send(self, document: Mapping[str, Any]) -> None:
        with contextlib.suppress(ConnectionError):
            self._sock.send(json.dumps(document).encode())

    def _handle(self, document: dict[str, Any]) -> None:
        if "guard" in document:
            guard = document["guard"]
            self._guarded = (Layout(guard["prefix"]), guard["nodes"]) if guard else None
            return
        try:
            pid = self._fork(document)
        except OSError as error:
            self._send({"id": document["id"], "error": str(error)})
            return
        descriptor = os.pidfd_open(pid)
        self._children[pid] = descriptor
        self._selector.register(descriptor, selectors.EVENT_READ, pid)
        self._send({"id": document["id"], "pid": pid})

    def _reap(self, pid: int) -> None:
        _, status = os.waitpid(pid, 0)
        descriptor = self._children.pop(pid)
        self._selector.unregister(descriptor)
        os.close(descriptor)
        code = os.waitstatus_to_exitcode(status)
        self._send({"ended": pid, "status": code if code >= 0 else 128 - code})

    def _fork(self, document: dict[str, Any]) -> int:
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            status = self._child(document)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _child(self, document: dict[str, Any]) -> int:
        self._sock.close()
        self._selector.close()
        for descriptor in self._children.values():
            os.close(descriptor)
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        output = os.open(document["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        os.environ.clear()
        os.environ.update(document["env"])
        if document["netns"]:
            _enter_node(document["netns"])
        return _call(document["program"], document["argv"])

    def _end_children(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._children:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, number)
            deadline = time.monotonic() + END_SECONDS
            while self._children and time.monotonic() < deadline:
                for key, _ in self._selector.select(0.1):
                    if key.fileobj is not self._sock:
                        self._reap(key.data)
                self._forget_socket()

    def _forget_socket(self) -> None:
        """A closed socket is readable for ever; waiting for children must not spin on it."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._sock)


def _enter_node(path: str) -> None:
    """Enter a node's network namespace, with a ``/sys`` that shows its NICs; mounts made outside still arrive."""
    netns.enter(path)
    netns.unshare(netns.CLONE_NEWNS)
    netns.mount("", "/", flags=netns.MS_SLAVE | netns.MS_REC)
    netns.unmount("/sys")
    netns.mount("sysfs", "/sys", "sysfs", netns.MS_NOSUID | netns.MS_NODEV | netns.MS_NOEXEC)


def _call(program: str, argv: list[str]) -> int:
    """Run the function behind a console script in this process; its exit status."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, program.encode()[:15])
    sys.argv = [program, *argv]
    (script,) = entry_points(group="console_scripts", name=program) or (None,)
    if script is None:
        sys.stderr.write(f"{program}: no installed distribution offers this program\n")
        return 127
    main: Callable[[], object] = script.load()
    try:
        result = main()
    except SystemExit as end:
        result = end.code
    return _status(result)


def _status(result: object) -> int:
    if isinstance(result, int):
        return result
    if result is None:
        return 0
    sys.stderr.write(f"{result}\n")
    return 1
