"""The guest's side: started by the guest's init, runs the one command it is told to and carries bytes between
the two kernels.

It sits in a network namespace of its own with the wire's device, so the guest's main namespace holds nothing
but ``lo``. Processes of the guest reach it on the unix socket `SOCKET`, see `link`. Standard library only: it
starts in a fifth of a second where a full environment takes two.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from . import rtnetlink
from .furnish import furnish
from .mux import EXIT, HELLO, SIGNAL, Record
from .relay import Relay
from .wire import guest_wire

SOCKET = "/run/multinic-lab/link.sock"
"""Where guest processes hand over listening sockets."""
DEVICE = "vec0"
INIT_NETWORK = "/proc/1/ns/net"
OUTPUT_GRACE_SECONDS = 1.0
"""How long output is still read after the command ended, for background children that keep its pipes open."""
ACKNOWLEDGE_SECONDS = 10.0


class Agent:
    """State of one guest: the relay, the command once started, and its exit status once known."""

    def __init__(self, order: dict[str, Any]) -> None:
        _enter_wire_network()
        self.relay = Relay(guest_wire(DEVICE), 2, _connect, self._on_record)
        self._command: subprocess.Popen[bytes] | None = None
        self._ended_at: float | None = None
        Path(SOCKET).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(SOCKET)
        self._listener.listen(64)
        self._listener.setblocking(False)
        self.relay.watch(self._listener, self._on_request)
        self.relay.link.queue(HELLO)
        self._start(order)

    def run(self) -> None:
        """Serve until the command has ended and the host has acknowledged everything. Raises EOFError when
        the host is gone."""
        while not self._finished():
            self.relay.step(0.5 if self._ended_at is None else 0.02)
        assert self._command is not None
        self.relay.link.queue(EXIT, 0, str(self._command.returncode).encode())
        deadline = time.monotonic() + ACKNOWLEDGE_SECONDS
        while not self.relay.link.idle and time.monotonic() < deadline:
            self.relay.step(0.02)

    def _finished(self) -> bool:
        if self._command is None or self._command.poll() is None:
            return False
        if self._ended_at is None:
            self._ended_at = time.monotonic()
        output_open = any(channel.sock is None for channel in self.relay.channels.values())
        return not output_open or time.monotonic() - self._ended_at > OUTPUT_GRACE_SECONDS

    def _on_record(self, record: Record) -> None:
        if record.kind == SIGNAL and self._command is not None and self._command.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._command.pid, int(record.payload))

    def _start(self, order: dict[str, Any]) -> None:
        outputs = [os.pipe(), os.pipe()]
        try:
            self._command = subprocess.Popen(
                order["argv"],
                stdin=subprocess.DEVNULL,
                stdout=outputs[0][1],
                stderr=outputs[1][1],
                cwd=order["cwd"],
                env=order["env"],
                start_new_session=True,
                # The command belongs in the main network namespace; this process is in the wire's. It has one
                # thread.
                preexec_fn=lambda: rtnetlink.enter_network(INIT_NETWORK),
            )
        except (OSError, subprocess.SubprocessError) as error:
            os.write(outputs[1][1], f"lab kernel: cannot start {order['argv'][0]!r}: {error}\n".encode())
            self._command = subprocess.Popen(["/bin/sh", "-c", "exit 127"])
        for (reader, writer), target in zip(outputs, ("fd:1", "fd:2"), strict=True):
            os.close(writer)
            os.set_blocking(reader, False)
            self.relay.open(target, reader)
        descriptor = os.pidfd_open(self._command.pid)
        self.relay.watch(descriptor, lambda: self.relay.unwatch(descriptor))

    def _on_request(self) -> None:
        """A guest process hands over a listening socket with the host's port its connections are for."""
        client, _ = self._listener.accept()
        with client:
            client.settimeout(5)
            message, handed, _, _ = socket.recv_fds(client, 64, 1)
            if not handed:
                return
            listener = socket.socket(fileno=handed[0])
            listener.setblocking(False)
            self.relay.watch(listener, lambda: self._accept(listener, message.decode()))
            client.send(b"ok")

    def _accept(self, listener: socket.socket, target: str) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            while True:
                connection, _ = listener.accept()
                self.relay.open(target, connection)


def _connect(target: str) -> socket.socket | int:
    """What the host may open in the guest: unix sockets, which do not depend on the network namespace."""
    family, _, path = target.partition(":")
    if family != "unix":
        raise OSError(f"the guest offers unix:PATH, not {target!r}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


def _enter_wire_network() -> None:
    """Move this process and the wire's device into a fresh network namespace; bring ``lo`` up in the main
    one."""
    rtnetlink.set_up("lo")
    rtnetlink.unshare_network()
    own = os.getpid()
    child = os.fork()
    if not child:
        try:
            rtnetlink.enter_network(INIT_NETWORK)
            rtnetlink.move_link(DEVICE, own)
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"lab kernel: cannot move {DEVICE}: {error}\n")
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("lab kernel: the wire's device could not be moved")
    rtnetlink.set_up(DEVICE)


def main() -> None:
    """Entry of the guest process; messages go to the guest's console, which the host keeps for diagnosis."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    order = json.loads(Path(sys.argv[1]).read_text())
    furnish(order["folder"], order["keep"])
    Agent(order).run()
