"""The wire itself: frames of our own EtherType over a packet socket, the same class on both sides.

On the host the socket is one end of a unix SEQPACKET pair whose other end User Mode Linux drives as the
device ``vec0``; in the guest it is an AF_PACKET socket bound to that device. Frames of other protocols (the
guest kernel's own chatter) are dropped.
"""

import errno
import socket

ETHERTYPE = 0x88B5
"""Source: IEEE 802, local experimental EtherType 1."""
_ETHERNET = bytes.fromhex("02006d6e6900 02006d6e6901 88b5")
_BUSY = {errno.EAGAIN, errno.ENOBUFS}


class Wire:
    """A non-blocking frame socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock

    def send(self, frame: bytes) -> bool:
        """Send one frame; False when the socket cannot take it now. Raises OSError when the other side is
        gone."""
        try:
            self.sock.send(_ETHERNET + frame)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        return True

    def receive(self) -> bytes | None:
        """The next frame, or None when there is none now.

        Raises:
            EOFError: the other side is gone.
        """
        while True:
            try:
                data = self.sock.recv(65_536)
            except BlockingIOError:
                return None
            if not data:
                raise EOFError
            if data[12:14] == _ETHERNET[12:14]:
                return data[14:]


def guest_wire(ifname: str) -> Wire:
    """A wire on network device `ifname` of the current network namespace; needs root there (CAP_NET_RAW)."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
    # Room for a whole window of frames, above rmem_max, which root may pass.
    sock.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), 8 << 20)
    sock.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_SNDBUFFORCE", 32), 8 << 20)
    sock.bind((ifname, ETHERTYPE))
    return Wire(sock)
