"""The kernel's announcements of changes, read under trio.

An announcement may be missed when the receive buffer runs over, which the kernel says; and what is announced may have
changed again. So a reader takes a message as a hint of what to read afresh, and a loss as a hint to read everything.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from types import TracebackType

import trio

from multinic_core.errors import KernelError
from multinic_daemon.netlink import wire
from multinic_daemon.netlink.netns import NetnsFile, open_socket

LINKS = 1
IPV4_ADDRESSES = 5
IPV4_ROUTES = 7
IPV4_RULES = 8
IPV6_ADDRESSES = 9
IPV6_ROUTES = 11
IPV6_RULES = 19
"""Multicast groups. Source: linux/rtnetlink.h, RTNLGRP_*."""

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 4 << 20
_AT_ONCE = 512
"""Messages given to the reader in one piece, so that a flood cannot keep the other tasks waiting."""


class Events:
    """A subscription to groups of announcements; a context manager, and joined from its making on.

    Args:
        netns: namespace to listen to; None: that of the calling thread.
    """

    def __init__(self, *groups: int, netns: NetnsFile | None = None) -> None:
        self._socket = open_socket(netns)
        self._socket.setblocking(False)
        # without the right to it the ordinary buffer has to do
        with contextlib.suppress(PermissionError):
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._socket.bind((0, 0))
        for group in groups:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)

    def __enter__(self) -> Events:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    async def read(self) -> list[wire.Message] | None:
        """Wait for announcements and give those there are; None when some were lost.

        Raises:
            KernelError: the socket broke.
        """
        await trio.lowlevel.wait_readable(self._socket)
        found: list[wire.Message] = []
        while len(found) < _AT_ONCE:
            try:
                found += wire.messages(self._socket.recv(1 << 16))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return None
                raise KernelError("netlink events", error.errno or 0) from error
        return found
