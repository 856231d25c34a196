"""Requests out in one piece, answers back one by one: a blocking talk with the kernel over one socket.

The kernel works through a ``sendmsg`` of many messages in order, goes on after one that it refuses, and answers each
refused one and each that asks for it. Only the last asks: when its answer is there, whatever has none was done. Answers
are told apart by sequence number. A talk is cut into pieces small enough for all refusals of a piece to fit the
receive buffer, so that none is lost; a dump the kernel paces itself. Source: linux/net/netlink, netlink_rcv_skb.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import NamedTuple

from multinic_core.errors import KernelError
from multinic_daemon.netlink import wire
from multinic_daemon.netlink.netns import NETLINK_ROUTE, NetnsFile, open_socket

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12

_PIECE = 100
"""Requests in one sendmsg: each refusal takes under 1 KiB of the 208 KiB that a receive buffer has at least."""
_DATAGRAM = 1 << 16
"""Bytes read at once of a dump; the kernel sends at most 32 KiB of one in one datagram."""
_ANSWER = 1 << 12
"""Bytes read at once of answers to requests, each a datagram of its own under 1 KiB."""
_DUMP_ATTEMPTS = 20
"""A dump is begun again so often when objects change under it."""


class Request(NamedTuple):
    """One message to the kernel."""

    type: int
    flags: int
    """Without NLM_F_REQUEST and NLM_F_ACK."""
    body: bytes
    subject: str = ""
    """What it is about, as an error shall name it, such as ``address 10.0.0.1/24 on link 'net1-0'``."""


class Refusal(NamedTuple):
    """The kernel's no to one request."""

    errno: int
    """Positive."""
    text: str
    """The kernel's own explanation, or ""."""

    def error(self, subject: str, details: str = "") -> KernelError:
        explained = f"{subject}: {self.text}" if self.text else subject
        return KernelError(explained, self.errno, details=details)


class Conversation:
    """One socket's worth of talk. Use it in one thread at a time; a context manager, closed at the end.

    Args:
        netns: namespace to talk to; None: that of the calling thread.
        timeout_seconds: longest wait for any single answer.
        protocol: rtnetlink, or NETLINK_GENERIC.
    """

    def __init__(
        self, netns: NetnsFile | None = None, *, timeout_seconds: float = 10.0, protocol: int = NETLINK_ROUTE
    ) -> None:
        self._socket = open_socket(netns, protocol)
        self._timeout_seconds = timeout_seconds
        self._sequence = 0
        seconds, fraction = divmod(timeout_seconds, 1)
        # a timeval in the socket costs nothing, where settimeout() would poll before each receive
        timeval = struct.pack("@ll", int(seconds), int(fraction * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        for option in (_NETLINK_EXT_ACK, _NETLINK_CAP_ACK, _NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)

    @property
    def port(self) -> int:
        """By which events tell that this conversation caused them; 0 before the first request, which binds it."""
        return int(self._socket.getsockname()[0])

    def __enter__(self) -> Conversation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def ask(self, requests: Sequence[Request]) -> list[Refusal | None]:
        """Send all requests and give for each, in their order, None or the kernel's refusal.

        Raises:
            KernelError: the kernel does not answer, or drops answers; what was done is then unknown.
        """
        answers: list[Refusal | None] = []
        for start in range(0, len(requests), _PIECE):
            answers += self._ask_piece(requests[start : start + _PIECE])
        return answers

    def do(self, requests: Sequence[Request]) -> None:
        """Send all requests; all are tried even when one is refused.

        Raises:
            KernelError: for the first refused one, with its subject.
        """
        for request, refusal in zip(requests, self.ask(requests), strict=True):
            if refusal is not None:
                raise refusal.error(request.subject)

    def get(self, request: Request) -> wire.Message:
        """The one object that a request without NLM_F_DUMP asks for.

        Raises:
            KernelError: the kernel refuses.
        """
        first = self._send([request])
        for message in self._receive():
            if message.sequence != first:
                continue
            if message.type == wire.NLMSG_ERROR:
                refusal = _refusal(message)
                raise (refusal or Refusal(errno.ENOMSG, "")).error(request.subject)
            self._drain_acknowledgement(first)
            return message
        raise AssertionError("unreachable")

    def dump(self, request: Request) -> list[wire.Message]:
        """All objects of a kind, as one consistent list: begun again when they changed meanwhile.

        Raises:
            KernelError: the kernel refuses, or the objects never stay the same for long enough.
        """
        for _ in range(_DUMP_ATTEMPTS):
            found = self._dump_once(request)
            if found is not None:
                return found
        raise KernelError(f"{request.subject}: changed during each of {_DUMP_ATTEMPTS} readings", errno.EINTR)

    def _ask_piece(self, requests: Sequence[Request]) -> list[Refusal | None]:
        first = self._send(requests)
        answers: list[Refusal | None] = [None] * len(requests)
        last = len(requests) - 1
        for message in self._receive(_ANSWER):
            position = message.sequence - first
            if message.type == wire.NLMSG_ERROR and 0 <= position <= last:
                answers[position] = _refusal(message)
                if position == last:
                    break
        return answers

    def _dump_once(self, request: Request) -> list[wire.Message] | None:
        """None when the dump was interrupted."""
        sequence = self._send([request._replace(flags=request.flags | wire.NLM_F_DUMP)], acknowledge=False)
        found: list[wire.Message] = []
        whole = True
        for message in self._receive():
            if message.sequence != sequence:
                continue
            if message.flags & wire.NLM_F_DUMP_INTR:
                whole = False
            if message.type == wire.NLMSG_DONE:
                break
            if message.type == wire.NLMSG_ERROR:
                refusal = _refusal(message)
                raise (refusal or Refusal(errno.ENOMSG, "")).error(request.subject)
            found.append(message)
        return found if whole else None

    def _send(self, requests: Sequence[Request], *, acknowledge: bool = True) -> int:
        """Send and give the sequence number of the first request; ``acknowledge`` the last one, or none."""
        first = self._sequence + 1
        unanswered = [
            wire.message(request.type, request.flags | wire.NLM_F_REQUEST, sequence, request.body)
            for sequence, request in enumerate(requests[:-1], first)
        ]
        last, extra = requests[-1], wire.NLM_F_REQUEST | (wire.NLM_F_ACK if acknowledge else 0)
        answered = wire.message(last.type, last.flags | extra, first + len(requests) - 1, last.body)
        data = b"".join((*unanswered, answered))
        self._sequence += len(requests)
        try:
            self._socket.send(data)
        except OSError as error:
            raise KernelError("netlink: request not taken", error.errno or 0) from error
        return first

    def _receive(self, size: int = _DATAGRAM) -> Iterable[wire.Message]:
        """Messages as they come; the caller stops asking when it has all."""
        while True:
            try:
                data = self._socket.recv(size)
            except BlockingIOError as error:
                text = f"netlink: no answer within {self._timeout_seconds:g} s"
                raise KernelError(text, errno.ETIMEDOUT) from error
            except OSError as error:
                raise KernelError("netlink: answers lost", error.errno or 0) from error
            yield from wire.messages(data)

    def _drain_acknowledgement(self, sequence: int) -> None:
        for message in self._receive():
            if message.type == wire.NLMSG_ERROR and message.sequence == sequence:
                return


def _refusal(message: wire.Message) -> Refusal | None:
    """What an NLMSG_ERROR says; None for a plain acknowledgement."""
    number = -wire.i32(message.body)
    if not number:
        return None
    text = ""
    if message.flags & wire.NLM_F_ACK_TLVS:
        # with NETLINK_CAP_ACK only the header of the request is echoed between the number and the explanation
        length = wire.u32(message.body[4:8])
        offset = 20 if message.flags & wire.NLM_F_CAPPED else 4 + ((length + 3) & ~3)
        payload = wire.attributes(message.body, offset).get(wire.NLMSGERR_ATTR_MSG)
        text = wire.text(payload) if payload else ""
    return Refusal(number, text or os.strerror(number))
