"""The few rtnetlink requests the lab kernel needs before any library is there: make a link, move it, set it
up.

Standard library only, synchronous, on the network namespace of the calling thread. Source: linux/rtnetlink.h,
linux/if_link.h.
"""

import ctypes
import os
import socket
import struct
from collections.abc import Iterable

RTM_NEWLINK = 16
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
IFLA_IFNAME, IFLA_LINK, IFLA_LINKINFO, IFLA_NET_NS_PID = 3, 5, 18, 19
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFF_UP = 1
CLONE_NEWNET = 0x40000000

Attribute = tuple[int, "bytes | list[Attribute]"]


def unshare_network() -> None:
    """Give the calling thread a fresh network namespace. Raises OSError where the kernel or the rights forbid
    it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"unshare(CLONE_NEWNET): {os.strerror(number)}")


def enter_network(path: str) -> None:
    """Move the calling thread into the network namespace at `path`."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, f"setns({path}): {os.strerror(number)}")
    finally:
        os.close(descriptor)


def encode(attributes: Iterable[Attribute]) -> bytes:
    """Attributes as the kernel reads them; a list as a value nests."""
    out = bytearray()
    for kind, value in attributes:
        data = encode(value) if isinstance(value, list) else value
        out += struct.pack("=HH", len(data) + 4, kind) + data + b"\0" * (-len(data) % 4)
    return bytes(out)


def request(flags: int, index: int, attributes: Iterable[Attribute], *, up: bool = False) -> None:
    """One RTM_NEWLINK with its answer awaited. Raises OSError with the kernel's errno."""
    body = struct.pack("=BxHiII", 0, 0, index, IFF_UP if up else 0, IFF_UP if up else 0) + encode(attributes)
    message = struct.pack("=IHHII", 16 + len(body), RTM_NEWLINK, flags | NLM_F_REQUEST | NLM_F_ACK, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(10)
        sock.send(message)
        answer = sock.recv(65_536)
    (code,) = struct.unpack_from("=i", answer, 16)
    if code:
        raise OSError(-code, os.strerror(-code))


def make_link(kind: str, ifname: str, parent: str | None = None, data: list[Attribute] | None = None) -> None:
    """Like ``ip link add [link PARENT] IFNAME type KIND``."""
    info: list[Attribute] = [(IFLA_INFO_KIND, kind.encode() + b"\0")]
    if data:
        info.append((IFLA_INFO_DATA, data))
    attributes: list[Attribute] = [(IFLA_IFNAME, ifname.encode() + b"\0"), (IFLA_LINKINFO, info)]
    if parent is not None:
        attributes.append((IFLA_LINK, struct.pack("=I", socket.if_nametoindex(parent))))
    request(NLM_F_CREATE | NLM_F_EXCL, 0, attributes)


def set_up(ifname: str) -> None:
    """Like ``ip link set IFNAME up``."""
    request(0, socket.if_nametoindex(ifname), [], up=True)


def move_link(ifname: str, pid: int) -> None:
    """Like ``ip link set IFNAME netns PID``."""
    request(0, socket.if_nametoindex(ifname), [(IFLA_NET_NS_PID, struct.pack("=I", pid))])
