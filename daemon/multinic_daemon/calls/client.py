"""The other end of the unix socket: commands of this node that ask its daemon something, one request and one reply."""

from __future__ import annotations

import socket
from pathlib import Path

from multinic_daemon.calls.request import LIMIT, CniReply, CniRequest, encode_request


def exchange(path: Path, request: CniRequest, seconds: float) -> CniReply:
    """The daemon's reply; blocks.

    Args:
        path: of the socket.
        seconds: for each step of it.

    Raises:
        OSError: nobody is there, or nobody answers in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        connection.connect(str(path))
        connection.sendall(encode_request(request))
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(LIMIT, socket.MSG_WAITALL)
    return CniReply(0 if answer[:1] == b"0" else 1, answer[1:])
