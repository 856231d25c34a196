"""The bytes of netlink: message headers and nested type-length-value attributes.

All integers are in host byte order unless an attribute says otherwise; every attribute and message is padded to four
bytes. Source: linux/netlink.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

HEADER = struct.Struct("=IHHII")
"""Length, type, flags, sequence number, port."""
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_I32 = struct.Struct("=i")

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSG_OVERRUN = 4

NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_DUMP_INTR = 0x010
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400

NLMSGERR_ATTR_MSG = 1

_TYPE_MASK = 0x3FFF
"""Without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""


class Message(NamedTuple):
    """One message as received."""

    type: int
    flags: int
    sequence: int
    port: int
    """Of the socket whose request caused it; 0 when the kernel acted by itself."""
    body: bytes
    """What follows the header."""


def attribute(number: int, payload: bytes) -> bytes:
    """One attribute, padded."""
    return _ATTRIBUTE.pack(len(payload) + 4, number) + payload + b"\0" * (-len(payload) % 4)


def attribute_u32(number: int, value: int) -> bytes:
    return attribute(number, _U32.pack(value))


def attribute_text(number: int, value: str) -> bytes:
    """Text with the closing zero byte that the kernel expects of names."""
    return attribute(number, value.encode() + b"\0")


def message(type_: int, flags: int, sequence: int, body: bytes) -> bytes:
    """One message, ready to send; ``body`` is padded already, as attributes are."""
    return HEADER.pack(len(body) + 16, type_, flags, sequence, 0) + body


def messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram. A length that does not fit ends the walk, as NLMSG_OK does."""
    offset, end = 0, len(data)
    while end - offset >= 16:
        length, type_, flags, sequence, port = HEADER.unpack_from(data, offset)
        if length < 16 or length > end - offset:
            return
        yield Message(type_, flags, sequence, port, data[offset + 16 : offset + length])
        offset += (length + 3) & ~3


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Attribute number to payload; of a repeated number the last counts, as in the kernel's own parser."""
    found: dict[int, bytes] = {}
    end = len(data)
    while end - offset >= 4:
        length, number = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or length > end - offset:
            break
        found[number & _TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def repeated(data: bytes, wanted: int) -> Iterator[bytes]:
    """The payloads of one number that comes many times, as lists are written."""
    offset, end = 0, len(data)
    while end - offset >= 4:
        length, number = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or length > end - offset:
            return
        if number & _TYPE_MASK == wanted:
            yield data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def u32(payload: bytes) -> int:
    return int(_U32.unpack_from(payload)[0])


def i32(payload: bytes) -> int:
    return int(_I32.unpack_from(payload)[0])


def text(payload: bytes) -> str:
    """A zero-terminated name. Bytes that are not UTF-8 survive as surrogates, since link names may hold any."""
    return payload.split(b"\0", 1)[0].decode(errors="surrogateescape")
