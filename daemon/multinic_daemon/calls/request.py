"""What a CNI executable asks the daemon, and what it gets: the frame on the unix socket as two values.

A request is ``KEY=VALUE`` and one NUL byte for each ``CNI_*`` variable, of which only those of the specification are
read and must be there, and for ``CNI_PLUGIN`` (the name the executable runs under), one more NUL, then the standard
input of the call as it came; its end is the end of writing. A reply is one byte, ``0`` for success or ``1`` for CNI
error JSON, then what to print. The same bytes make a tombstone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from multinic_core.errors import InvocationError

LIMIT = 1 << 20
"""Bytes of a whole request, and of a whole reply."""

PLUGINS = ("multi-nic", "multi-nic-ipam")
COMMANDS = ("ADD", "DEL", "CHECK", "GC", "STATUS")
"""VERSION is answered by the executable."""
PLAN = "PLAN"
"""Not of the specification: what an ADD would do (:mod:`multinic_daemon.engine.planned`)."""


@dataclass(frozen=True, slots=True)
class CniRequest:
    """One CNI call. Variables that the runtime did not set are ""."""

    plugin: str
    """``multi-nic`` or ``multi-nic-ipam``."""
    command: str
    container_id: str
    netns: str
    """Path of the pod's network namespace; may be "" in DEL."""
    ifname: str
    args: str
    """``CNI_ARGS``."""
    path: str
    """``CNI_PATH``."""
    stdin: bytes


@dataclass(frozen=True, slots=True)
class CniReply:
    """What the executable prints, and whether it exits with 0 (success) or 1 (``body`` is CNI error JSON)."""

    status: int
    body: bytes

    def encode(self) -> bytes:
        return (b"1" if self.status else b"0") + self.body


Handler = Callable[[CniRequest], Awaitable[CniReply]]


def parse_request(frame: bytes) -> CniRequest:
    """Read a whole request.

    The executable has already checked the environment against the specification; only what the daemon could
    not work with is refused here.

    Raises:
        InvocationError: not such a frame, or an unknown plugin or command; every fault at once.
    """
    head, end, stdin = frame.partition(b"\0\0")
    if not end:
        raise InvocationError("request: no empty variable found, expected one before the network configuration")
    variables = dict(entry.decode(errors="surrogateescape").partition("=")[::2] for entry in head.split(b"\0") if entry)
    request = CniRequest(
        plugin=variables.get("CNI_PLUGIN", ""),
        command=variables.get("CNI_COMMAND", ""),
        container_id=variables.get("CNI_CONTAINERID", ""),
        netns=variables.get("CNI_NETNS", ""),
        ifname=variables.get("CNI_IFNAME", ""),
        args=variables.get("CNI_ARGS", ""),
        path=variables.get("CNI_PATH", ""),
        stdin=stdin,
    )
    problems = [
        f"{key}: found {value!r}, expected one of {', '.join(known)}"
        for key, value, known in (
            ("CNI_PLUGIN", request.plugin, PLUGINS),
            ("CNI_COMMAND", request.command, (*COMMANDS, PLAN)),
        )
        if value not in known
    ]
    if problems:
        raise InvocationError("; ".join(problems))
    return request


def encode_request(request: CniRequest) -> bytes:
    """The frame that ``parse_request`` reads."""
    variables = {
        "CNI_PLUGIN": request.plugin,
        "CNI_COMMAND": request.command,
        "CNI_CONTAINERID": request.container_id,
        "CNI_NETNS": request.netns,
        "CNI_IFNAME": request.ifname,
        "CNI_ARGS": request.args,
        "CNI_PATH": request.path,
    }
    head = b"".join(f"{key}={value}\0".encode(errors="surrogateescape") for key, value in variables.items())
    return head + b"\0" + request.stdin
