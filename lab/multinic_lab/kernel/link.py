"""How a process in the guest reaches TCP services on the host's loopback.

Make a listening socket wherever it is needed (any network namespace of the guest), hand it over, and every
connection to it comes out at a port of the host's 127.0.0.1. The other direction is `Guest.connect`: the host
opens a unix socket of the guest.
"""

import socket

from .agent import SOCKET


def forward_to_host(listener: socket.socket, port: int) -> None:
    """Join every connection accepted on `listener` to 127.0.0.1:`port` on the host, for as long as the guest
    runs.

    The listener keeps the network namespace it was made in. The caller may close its copy afterwards.
    Blocking, some milliseconds. A connection whose host port refuses is reset.

    Raises:
        OSError: there is no lab kernel under this process, or its agent does not answer within 10 s.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(SOCKET)
        socket.send_fds(sock, [f"tcp:{port}".encode()], [listener.fileno()])
        if sock.recv(2) != b"ok":
            raise ConnectionError("the lab kernel's agent refused the listening socket")
