"""The language spoken on the wire between the host and the lab kernel.

The wire carries whole frames in order (a packet socket on each side of a UML ``vec`` device). On top of it:

* **Link**: every frame has a sequence number; at most ``LINK_WINDOW`` frames are unacknowledged, so no queue
  on the way can overflow. A gap in the numbers means that a frame was lost and raises `LinkError`: there is
  no silent damage.
* **Streams**: numbered byte streams, opened by either side towards a target such as ``tcp:6443``. Each
  direction may have
  ``STREAM_WINDOW`` bytes on the way; the reader gives credit back as it consumes, so one stalled reader never
  stops the others.

Everything here is pure: bytes in, records and bytes out, standard library only (the guest side runs without a
virtual environment).
"""

import collections
import struct
from typing import NamedTuple

HEADER = struct.Struct("!IIBxHI")
"""Sequence number, acknowledged up to (exclusive), kind, payload bytes, stream. A length is sent since
Ethernet may pad."""
MAX_PAYLOAD = 15_360
"""Bytes of payload in one frame; with both headers it fits the device's MTU of `MTU` bytes."""
MTU = 16_000
LINK_WINDOW = 64
"""Frames that may be unacknowledged; must stay below the device's ring of `RING` frames."""
RING = 128
STREAM_WINDOW = 262_144
"""Bytes one direction of one stream may have on the way."""

ACK, HELLO, SIGNAL, EXIT, OPEN, DATA, CREDIT, FIN, RESET = range(9)


class LinkError(Exception):
    """A frame was lost or is not ours; the link cannot go on."""


class Record(NamedTuple):
    """One message: `kind` is one of the constants above, `stream` is 0 for messages about the guest as a
    whole."""

    kind: int
    stream: int
    payload: bytes


class Link:
    """Numbers, acknowledges and windows the frames of one side.

    Call `queue` to send a record, then put every frame that `next_frame` gives on the wire; hand every
    arriving frame to `receive`.
    """

    def __init__(self) -> None:
        self._outbox: collections.deque[Record] = collections.deque()
        self._next_sequence = 0
        self._acknowledged_by_peer = 0
        self._expected = 0
        self._acknowledged_to_peer = 0

    @property
    def idle(self) -> bool:
        """True when everything queued has been sent and acknowledged."""
        return not self._outbox and self._acknowledged_by_peer == self._next_sequence

    def queue(self, kind: int, stream: int = 0, payload: bytes = b"") -> None:
        self._outbox.append(Record(kind, stream, payload))

    def next_frame(self) -> bytes | None:
        """The next frame for the wire, or None when there is none or the window is full.

        A bare acknowledgement is made only when at least one frame is owed one and no record can carry it.
        """
        window_open = self._next_sequence - self._acknowledged_by_peer < LINK_WINDOW
        if self._outbox and window_open:
            kind, stream, payload = self._outbox.popleft()
            frame = self._frame(kind, stream, payload)
            self._next_sequence += 1
            return frame
        if self._acknowledged_to_peer != self._expected:
            return self._frame(ACK, 0, b"")
        return None

    def receive(self, frame: bytes) -> Record | None:
        """Take one frame off the wire; None when it only acknowledged.

        Raises:
            LinkError: the frame is out of sequence or shorter than it says.
        """
        if len(frame) < HEADER.size:
            raise LinkError(f"frame of {len(frame)} bytes is shorter than its header of {HEADER.size}")
        sequence, acknowledged, kind, length, stream = HEADER.unpack_from(frame)
        if len(frame) < HEADER.size + length:
            raise LinkError(f"frame carries {len(frame) - HEADER.size} bytes where its header says {length}")
        self._acknowledged_by_peer += (acknowledged - self._acknowledged_by_peer) & 0xFFFFFFFF
        if kind == ACK:
            return None
        if sequence != self._expected & 0xFFFFFFFF:
            raise LinkError(f"frame {sequence} arrived where {self._expected & 0xFFFFFFFF} was expected")
        self._expected += 1
        return Record(kind, stream, frame[HEADER.size : HEADER.size + length])

    def _frame(self, kind: int, stream: int, payload: bytes) -> bytes:
        self._acknowledged_to_peer = self._expected
        sequence, acknowledged = self._next_sequence & 0xFFFFFFFF, self._expected & 0xFFFFFFFF
        return HEADER.pack(sequence, acknowledged, kind, len(payload), stream) + payload
