"""The host's side: boots the guest, runs the command in it, relays its output and connections, and ends it
without fail.

It is a process of its own (``python -m multinic_lab.kernel -- COMMAND``), single-threaded, and behaves as the
command itself would: the same output, the same exit status; SIGTERM and SIGINT are passed on. The guest ends
when the command ends, when the time is up, when this process is told to stop, when its parent goes away, and
(by the kernel's parent-death signal) when this process is killed.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .mux import EXIT, HELLO, SIGNAL, LinkError, Record
from .relay import Relay
from .uml import Machine, command_line, memory_folder
from .wire import Wire

BOOT_SECONDS = 60.0
"""A guest that has not said hello by then is broken (it takes about 2)."""
POWER_OFF_SECONDS = 5.0
TIMED_OUT = 124
"""Exit status when the time was up. Source: timeout(1)."""
GUEST_FAILED = 125
"""Exit status when the guest itself failed; a message on stderr says how."""
_PR_SET_PDEATHSIG = 1
_PREFIX = "mnlab-"
_FRESH_SECONDS = 30.0
"""A folder younger than this may belong to a supervisor that has not locked it yet."""
_BUFFER_BYTES = 4 << 20


@dataclass(slots=True)
class Order:
    """One command to run in a guest."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    memory_mb: int = 1024
    timeout_seconds: float = 600.0
    """Counted from the command's start."""
    stop_seconds: float = 10.0
    """What the command gets between SIGTERM and the end of the guest."""
    control: Path | None = None
    """Unix socket to listen on for connections into the guest, see `Guest.connect`."""
    keep: tuple[Path, ...] = field(default=())


class Supervisor:
    """One guest from boot to end; call `run` once."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._status: int | None = None
        self._started_at: float | None = None
        self._stop_requested = False

    def run(self) -> int:
        """Boot, run, end; the exit status to pass on. Everything made is removed, whatever happens."""
        with contextlib.ExitStack() as undo:
            folder = undo.enter_context(private_folder(_PREFIX))
            console = undo.enter_context((folder / "console.log").open("w+b"))
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.enter_context(ours)
            with theirs:
                process = self._boot(folder, theirs, console.fileno())
            undo.callback(_end, process)
            relay = Relay(Wire(ours), 1, _connect, self._on_record)
            relay.hold = True
            self._relay = relay
            if self._order.control is not None:
                self._listen(self._order.control, undo)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, lambda *_: setattr(self, "_stop_requested", True))
            try:
                status = self._serve(process)
            except (EOFError, ConnectionError, LinkError) as error:
                # The power-off may close the wire before the last acknowledgement was sent.
                if self._status is None:
                    return self._failed(f"the guest went away ({error})", console)
                relay.drain_outputs()
                status = self._status
            else:
                if status == GUEST_FAILED and self._started_at is None:
                    self._failed(f"it did not boot within {BOOT_SECONDS:.0f} s", console)
            if self._status is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POWER_OFF_SECONDS)
            return status

    def _boot(self, folder: Path, wire: socket.socket, console: int) -> subprocess.Popen[bytes]:
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            wire.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        wire.setblocking(False)
        order = {
            "argv": list(self._order.argv),
            "env": dict(self._order.env),
            "cwd": str(self._order.cwd),
            "folder": str(folder),
            "keep": [str(path) for path in (folder, *self._order.keep)],
        }
        (folder / "order.json").write_text(json.dumps(order))
        machine = Machine(folder, self._order.memory_mb)
        environment = {
            "PATH": os.defpath,
            "HOME": str(folder),
            "TMPDIR": str(memory_folder(self._order.memory_mb, folder)),
        }
        return subprocess.Popen(
            command_line(machine, wire.fileno(), console),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            env=environment,
            pass_fds=(wire.fileno(), console),
            start_new_session=True,
            # Safe here: this process has one thread, and the call only marks the child.
            preexec_fn=die_with_parent,
        )

    def _serve(self, process: subprocess.Popen[bytes]) -> int:
        parent = os.getppid()
        boot_deadline = time.monotonic() + BOOT_SECONDS
        stop_deadline: float | None = None
        result: int | None = None
        while True:
            self._relay.step(0.25)
            now = time.monotonic()
            if self._status is not None and not self._relay.outputs_open:
                for _ in range(3):
                    self._relay.step(0)
                return result if result is not None else self._status
            if process.poll() is not None and self._status is None:
                raise EOFError(f"its process ended with status {process.returncode}")
            if self._started_at is None and now > boot_deadline:
                return GUEST_FAILED
            if stop_deadline is None:
                if self._started_at is not None and now > self._started_at + self._order.timeout_seconds:
                    result = TIMED_OUT
                    sys.stderr.write(f"lab kernel: the time of {self._order.timeout_seconds:.0f} s is up\n")
                elif self._stop_requested or os.getppid() != parent:
                    result = 128 + signal.SIGTERM
                else:
                    continue
                stop_deadline = now + (self._order.stop_seconds if self._started_at is not None else 0)
                self._relay.link.queue(SIGNAL, 0, str(int(signal.SIGTERM)).encode())
            elif now > stop_deadline:
                assert result is not None
                return result

    def _on_record(self, record: Record) -> None:
        if record.kind == HELLO:
            self._started_at = time.monotonic()
            self._relay.hold = False
        elif record.kind == EXIT:
            code = int(record.payload)
            self._status = code if code >= 0 else 128 - code

    def _listen(self, path: Path, undo: contextlib.ExitStack) -> None:
        listener = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(str(path))
        undo.callback(path.unlink, missing_ok=True)
        path.chmod(0o600)
        listener.listen(64)
        listener.setblocking(False)
        self._relay.watch(listener, lambda: self._accept(listener))

    def _accept(self, listener: socket.socket) -> None:
        """A client says ``unix:PATH`` and a newline, then speaks with that socket of the guest."""
        client, _ = listener.accept()
        client.settimeout(2)
        target = b""
        with contextlib.suppress(OSError):
            while not target.endswith(b"\n") and (byte := client.recv(1)):
                target += byte
        if target.endswith(b"\n"):
            self._relay.open(target.decode().strip(), client)
        else:
            client.close()

    @staticmethod
    def _failed(reason: str, console: BinaryIO) -> int:
        console.seek(0)
        tail = console.read().decode(errors="replace").strip().splitlines()[-15:]
        sys.stderr.write("\n".join([f"lab kernel: {reason}; its console said:", *(f"  {line}" for line in tail), ""]))
        return GUEST_FAILED


@contextlib.contextmanager
def private_folder(prefix: str) -> Iterator[Path]:
    """A folder for this guest, removed at the end; folders of that prefix whose owners were killed are removed first.

    A living supervisor holds a lock on its folder, so nothing that is in use is ever taken for a leftover.
    """
    for leftover in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError), _locked(leftover):
            if time.time() - leftover.stat().st_mtime > _FRESH_SECONDS:
                shutil.rmtree(leftover)
    folder = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    try:
        with _locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock on `folder`. Raises BlockingIOError when someone else does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _connect(target: str) -> socket.socket | int:
    """What the guest may open here: TCP ports of the loopback, and our own output."""
    family, _, where = target.partition(":")
    if family == "fd" and where in {"1", "2"}:
        return os.dup(int(where))
    if family != "tcp":
        raise OSError(f"the host offers tcp:PORT, not {target!r}")
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        sock.connect(("127.0.0.1", int(where)))
    return sock


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the guest: SIGTERM makes User Mode Linux stop its own helpers; what is left after a second is
    killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
    # The guest's processes are processes of the group on this side.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def die_with_parent() -> None:
    """For a child process before it becomes a guest: SIGTERM comes to it when this process ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
