"""Sockets in other network namespaces, without the process or any lasting thread ever changing its own.

A socket belongs for life to the namespace that its creating thread is in. So a thread is started for this alone: it
enters the namespace, opens the socket and ends. Measured 0.13 ms; ``ip netns exec`` or a forked helper cost 10 ms.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NewType

from multinic_core.errors import ContainerGoneError, KernelError

NetnsFile = NewType("NetnsFile", int)
"""File descriptor of a network namespace: it stays the same namespace even when the path is taken by another."""

NETLINK_ROUTE = 0
CLONE_NEWNET = 0x40000000
_OWN = "/proc/thread-self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def open_netns(path: str | None) -> Iterator[NetnsFile]:
    """The namespace at this path, held open; None: that of the calling thread.

    Raises:
        ContainerGoneError: the path is empty or names nothing.
    """
    if path == "":
        raise ContainerGoneError("network namespace: found no path, expected one such as '/run/netns/x'")
    try:
        descriptor = os.open(path or _OWN, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError) as error:
        raise ContainerGoneError(f"network namespace {path!r} does not exist") from error
    except OSError as error:
        raise KernelError(f"network namespace {path!r} cannot be opened", error.errno or 0) from error
    try:
        yield NetnsFile(descriptor)
    finally:
        os.close(descriptor)


def open_socket(netns: NetnsFile | None = None) -> socket.socket:
    """A raw rtnetlink socket in this namespace; None: in that of the calling thread.

    Raises:
        ContainerGoneError: the file is no network namespace, as what is left of one that was unmounted.
        KernelError: the namespace may not be entered.
    """
    if netns is None:
        return _socket()
    opened: list[socket.socket] = []
    failed: list[OSError] = []

    def enter() -> None:
        try:
            if _libc.setns(netns, CLONE_NEWNET):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))  # noqa: TRY301  # handed to the caller's thread below
            opened.append(_socket())
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=enter, name="netns-socket")
    thread.start()
    thread.join()
    if opened:
        return opened[0]
    number = failed[0].errno or 0
    if number == 22:  # EINVAL: a plain file
        raise ContainerGoneError("network namespace: found a file that is none") from failed[0]
    raise KernelError("network namespace cannot be entered", number) from failed[0]


def _socket() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
