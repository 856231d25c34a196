"""Byte streams between local file descriptors and the other kernel: the event loop both sides run.

A `Relay` owns the wire and a set of channels. A channel joins one local descriptor (a TCP connection, a unix
connection, a pipe) to one stream. `step` waits for readiness once and moves what can be moved; nothing here
blocks for longer than its timeout. Only the standard library.
"""

import errno
import os
import selectors
import socket
from collections.abc import Callable

from .mux import CREDIT, DATA, FIN, MAX_PAYLOAD, OPEN, RESET, STREAM_WINDOW, Link, Record
from .wire import Wire

_PIPE_CHUNK = 4096
"""A pipe that polls writable takes this much without blocking. Source: PIPE_BUF, linux/limits.h."""
_BUSY_WAIT_SECONDS = 0.002


class Channel:
    """One stream joined to one descriptor.

    `sock` is set for sockets (both directions); for a pipe only `fd` is, and `mode` says which direction it
    has ("r", "w" or "rw").
    """

    def __init__(self, stream: int, fd: int, sock: socket.socket | None, mode: str) -> None:
        self.stream, self.fd, self.sock = stream, fd, sock
        self.credit = STREAM_WINDOW
        self.pending = bytearray()
        self.consumed = 0
        self.connecting = False
        self.read_open, self.write_open = "r" in mode, "w" in mode
        self.peer_finished = False
        self.mask = 0

    def wanted(self) -> int:
        """The selector events this channel waits for now."""
        mask = 0
        if self.read_open and self.credit > 0 and not self.connecting:
            mask |= selectors.EVENT_READ
        if self.connecting or (self.pending and self.write_open):
            mask |= selectors.EVENT_WRITE
        return mask


class Relay:
    """The loop of one side. `first_stream` is 1 on the host and 2 in the guest, so that numbers never clash.

    `connect(target)` returns a non-blocking socket (perhaps still connecting) or a writable descriptor, or
    raises OSError; `on_record` gets every record that is not about a stream.
    """

    def __init__(
        self,
        wire: Wire,
        first_stream: int,
        connect: Callable[[str], socket.socket | int],
        on_record: Callable[[Record], None],
    ) -> None:
        self.link = Link()
        self.channels: dict[int, Channel] = {}
        self._wire, self._connect, self._on_record = wire, connect, on_record
        self._next_stream = first_stream
        self._selector = selectors.DefaultSelector()
        self._selector.register(wire.sock, selectors.EVENT_READ)
        self.hold = False
        """While True nothing is sent: the other side does not listen yet, and the wire would lose it."""
        self._wire_blocked = False
        self._held: bytes | None = None

    def watch(self, fileobj: socket.socket | int, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `fileobj` is readable; it must not block."""
        self._selector.register(fileobj, selectors.EVENT_READ, callback)

    def unwatch(self, fileobj: socket.socket | int) -> None:
        self._selector.unregister(fileobj)

    def open(self, target: str, local: socket.socket | int) -> None:
        """Join `local` (a connected socket, or a descriptor to read) to `target` on the other side; `local`
        is ours from now on."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self.link.queue(OPEN, stream, target.encode())
        self._settle(self._add(stream, local, "r"))

    @property
    def outputs_open(self) -> bool:
        """True while a pipe (a command's output) has more to carry."""
        return any(channel.sock is None for channel in self.channels.values())

    def drain_outputs(self) -> None:
        """Write what is still held for pipes, waiting for their readers; for the end, when the wire is gone
        already."""
        for channel in [channel for channel in self.channels.values() if channel.sock is None]:
            while channel.pending and self.channels.get(channel.stream) is channel:
                self._write(channel)

    def close(self) -> None:
        """Close every channel; the wire's socket stays its owner's."""
        for channel in list(self.channels.values()):
            self._close(channel)
        self._selector.close()

    def step(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for anything to do, and do it.

        Raises:
            EOFError: the other side closed the wire.
            LinkError: the wire lost a frame.
        """
        self._flush()
        if self._wire_blocked:
            # A packet socket reports "writable" while its queue is full, so a short wait replaces asking it.
            timeout = min(timeout, _BUSY_WAIT_SECONDS)
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._wire.sock:
                self._receive()
            elif isinstance(key.data, Channel):
                if self.channels.get(key.data.stream) is key.data:
                    self._serve(key.data, events)
            else:
                key.data()
        self._flush()

    def _flush(self) -> None:
        self._wire_blocked = False
        while not self.hold and (frame := self._peek()) is not None:
            if not self._wire.send(frame):
                self._wire_blocked = True
                return
            self._held = None

    def _peek(self) -> bytes | None:
        if self._held is None:
            self._held = self.link.next_frame()
        return self._held

    def _receive(self) -> None:
        for _ in range(32):
            frame = self._wire.receive()
            if frame is None:
                return
            record = self.link.receive(frame)
            if record is not None:
                self._handle(record)

    def _handle(self, record: Record) -> None:
        kind, stream, payload = record
        if kind == OPEN:
            try:
                self._settle(self._add(stream, self._connect(payload.decode()), "w"))
            except OSError:
                self.link.queue(RESET, stream)
            return
        if not stream:
            self._on_record(record)
            return
        channel = self.channels.get(stream)
        if channel is None:
            return
        if kind == DATA:
            channel.pending += payload
            if not channel.connecting:
                self._write(channel)
        elif kind == CREDIT:
            channel.credit += int.from_bytes(payload, "big")
        elif kind == FIN:
            channel.peer_finished = True
        elif kind == RESET:
            self._close(channel)
            return
        self._settle(channel)

    def _add(self, stream: int, local: socket.socket | int, pipe_mode: str) -> Channel:
        if isinstance(local, socket.socket):
            local.setblocking(False)
            if local.family in (socket.AF_INET, socket.AF_INET6):
                local.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            channel = Channel(stream, local.fileno(), local, "rw")
            # A socket that is still connecting becomes writable when it has, or has failed to.
            try:
                local.getpeername()
            except OSError:
                channel.connecting = True
        else:
            channel = Channel(stream, local, None, pipe_mode)
        self.channels[stream] = channel
        return channel

    def _serve(self, channel: Channel, events: int) -> None:
        if channel.connecting:
            assert channel.sock is not None
            if channel.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._reset(channel)
                return
            channel.connecting = False
        if events & selectors.EVENT_WRITE:
            self._write(channel)
        if events & selectors.EVENT_READ and self.channels.get(channel.stream) is channel:
            self._read(channel)
        if self.channels.get(channel.stream) is channel:
            self._settle(channel)

    def _read(self, channel: Channel) -> None:
        if not channel.read_open or channel.credit <= 0:
            return
        try:
            data = os.read(channel.fd, min(MAX_PAYLOAD, channel.credit))
        except BlockingIOError:
            return
        except OSError:
            self._reset(channel)
            return
        if data:
            channel.credit -= len(data)
            self.link.queue(DATA, channel.stream, data)
        else:
            channel.read_open = False
            self.link.queue(FIN, channel.stream)

    def _write(self, channel: Channel) -> None:
        limit = len(channel.pending) if channel.sock is not None else _PIPE_CHUNK
        if not channel.pending or not channel.write_open:
            return
        try:
            written = os.write(channel.fd, memoryview(channel.pending)[:limit])
        except BlockingIOError:
            return
        except OSError:
            self._reset(channel)
            return
        del channel.pending[:written]
        channel.consumed += written
        if channel.consumed >= STREAM_WINDOW // 4:
            self.link.queue(CREDIT, channel.stream, channel.consumed.to_bytes(4, "big"))
            channel.consumed = 0

    def _settle(self, channel: Channel) -> None:
        """Bring the selector and the half-closed state in line with what the channel now wants; close it when
        both halves are done."""
        if self.channels.get(channel.stream) is not channel:
            return
        if channel.peer_finished and channel.write_open and not channel.pending and not channel.connecting:
            channel.write_open = False
            if channel.sock is not None:
                try:
                    channel.sock.shutdown(socket.SHUT_WR)
                except OSError as error:
                    if error.errno != errno.ENOTCONN:
                        raise
        if not channel.read_open and not channel.write_open:
            self._close(channel)
            return
        wanted = channel.wanted()
        if wanted == channel.mask:
            return
        try:
            if not channel.mask:
                self._selector.register(channel.fd, wanted, channel)
            elif not wanted:
                self._selector.unregister(channel.fd)
            else:
                self._selector.modify(channel.fd, wanted, channel)
        except PermissionError:
            # epoll refuses regular files (output sent to a file): they never block, so write at once.
            while channel.pending and self.channels.get(channel.stream) is channel:
                self._write(channel)
            return
        channel.mask = wanted

    def _reset(self, channel: Channel) -> None:
        self.link.queue(RESET, channel.stream)
        self._close(channel)

    def _close(self, channel: Channel) -> None:
        del self.channels[channel.stream]
        if channel.mask:
            self._selector.unregister(channel.fd)
        if channel.sock is not None:
            channel.sock.close()
        else:
            os.close(channel.fd)
