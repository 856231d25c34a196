"""The unix socket on which the CNI executables ask the daemon: one connection, one request, one reply.

The socket appears under its name already listening and with mode 0600, in one rename, so a caller sees either
the old daemon's or the new one's and never a gap. A lock file beside it is held as long as the daemon lives: the kernel
lets go of it when the process dies, however it dies, so a left-over socket is told apart from a live daemon's.
Callers are checked by the credentials the kernel attaches to the connection.

For a handler that cannot be interrupted, as it waits for a kernel that hangs, the caller is answered when its time has
passed.
When the service is cancelled it stops listening at once; requests already being worked on get a little time to finish.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import trio

from multinic_core.cni import SUPPORTED_VERSIONS, error_json
from multinic_core.errors import DaemonUnavailableError, MultinicError
from multinic_daemon.calls.request import LIMIT, CniReply, CniRequest, Handler, parse_request

log = logging.getLogger(__name__)

EXCHANGE_SECONDS = 10.0
"""For a caller to send its whole request, and again to take the reply."""
HANDLE_SECONDS = 80.0
"""For the handler; the executable waits for 90."""
WATCH_SECONDS = 3.0
"""Between looks for handlers that take longer although they were told to stop."""
GRACE_SECONDS = 10.0
"""For requests in progress when the service is told to stop."""
BACKLOG = 1024
"""Callers the kernel keeps waiting; more than pods that one node starts at once."""
CROWDED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Errors of accept(2) that pass when other files are closed."""
CROWDED_SECONDS = 0.1
PATH_LIMIT = 106
"""Bytes of a socket path with one more for the name before the rename. Source: unix(7), ``sun_path``."""


class SocketInUseError(Exception):
    """Another live daemon serves this socket; names the path."""


async def serve_socket(
    path: Path,
    handler: Handler,
    *,
    before_accept: Callable[[], Awaitable[None]] | None = None,
    busy: Callable[[], str] = str,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer CNI requests on ``path``; never returns.

    Args:
        path: of the socket; its folder is made when missing (mode 0700).
        handler: called for each request, in its own task. ``MultinicError`` becomes its CNI error, any other
            ``Exception`` a logged CNI error 999.
        before_accept: awaited once when callers can connect already but none has been accepted. An executable that
            found nobody listening has left its tombstone by then, so replaying them here misses none and
            overtakes no ADD.
        busy: what a handler that does not end is waiting for, as an error shall say it; "" when that is not known.

    Raises:
        SocketInUseError: another live daemon serves it.
    """
    with _listening(path) as listener:
        if before_accept:
            await before_accept()
        working: set[trio.CancelScope] = set()
        unanswered: dict[socket.socket, tuple[float, CniRequest]] = {}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_answer_overdue, unanswered, busy)
            log.info("listening for CNI requests", extra={"path": str(path)})
            task_status.started()
            try:
                while True:
                    await trio.lowlevel.wait_readable(listener)
                    if client := await _accept(listener):
                        nursery.start_soon(_serve_client, handler, working, unanswered, client)
            finally:
                listener.close()  # at once: whoever comes now does not wait for the grace period of others
                for scope in working:
                    scope.deadline = min(scope.deadline, trio.current_time() + GRACE_SECONDS)


async def _accept(listener: socket.socket) -> socket.socket | None:
    """The next caller, or None when it went away again or there is no room for it at the moment."""
    try:
        client, _ = listener.accept()
    except (BlockingIOError, ConnectionAbortedError):
        return None
    except OSError as error:
        if error.errno not in CROWDED:
            raise
        log.warning("no room for another caller yet", extra={"cause": str(error)})
        await trio.sleep(CROWDED_SECONDS)
        return None
    client.setblocking(False)
    return client


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """A listening socket under this name; gone, with its name, at the end."""
    if len(os.fsencode(path)) > PATH_LIMIT:
        raise ValueError(f"socket path: found {str(path)!r}, expected at most {PATH_LIMIT} bytes")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(path.with_name(path.name + ".lock"), "w") as lock:  # noqa: PTH123
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SocketInUseError(f"socket {str(path)!r}: another daemon serves it") from error
        unnamed = path.with_name(path.name + "~")
        unnamed.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            # Linux gives the bound name the mode that the open socket has, so there is no moment with a wider one.
            os.fchmod(sock.fileno(), 0o600)
            sock.bind(str(unnamed))
            sock.listen(BACKLOG)
            sock.setblocking(False)
            unnamed.rename(path)
            try:
                yield sock
            finally:
                path.unlink(missing_ok=True)


def _peer(sock: socket.socket) -> tuple[int, int]:
    """(process id, user id) of the caller, as the kernel recorded them at connect. Source: unix(7), ``SO_PEERCRED``."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _gid = struct.unpack("iII", raw)
    return pid, uid


async def _answer_overdue(unanswered: dict[socket.socket, tuple[float, CniRequest]], busy: Callable[[], str]) -> None:
    """Tell callers whose handler cannot even be cancelled; what it still does, nobody hears of."""
    while True:
        await trio.sleep(WATCH_SECONDS)
        for client, (begun, request) in list(unanswered.items()):
            if (seconds := trio.current_time() - begun) > HANDLE_SECONDS:
                del unanswered[client]
                found = f" ({about})" if (about := busy()) else ""
                late = DaemonUnavailableError(f"{request.command}: no end after {seconds:.0f} seconds{found}")
                log.error("call does not end", extra=_fields(request) | {"cause": str(late)})
                with suppress(OSError):
                    client.send(error_reply(late, request).encode())
                    client.shutdown(socket.SHUT_RDWR)


async def _serve_client(
    handler: Handler,
    working: set[trio.CancelScope],
    unanswered: dict[socket.socket, tuple[float, CniRequest]],
    client: socket.socket,
) -> None:
    with client:
        pid, uid = _peer(client)
        if uid not in (0, os.geteuid()):
            log.warning("caller refused", extra={"pid": pid, "uid": uid})
            return
        frame = None
        with trio.move_on_after(EXCHANGE_SECONDS):
            frame = await _receive(client)
        if frame is None:
            log.warning("request given up: it was too slow, too long, or broken off", extra={"pid": pid})
            return
        read = trio.current_time()
        # Work that has begun is finished, within its own limit, even when the service is being stopped.
        with trio.CancelScope(shield=True) as scope:
            working.add(scope)
            try:
                reply = await _reply(handler, frame, partial(_begin, unanswered, client))
                _, request = unanswered.pop(client, (read, None))
                with trio.move_on_after(EXCHANGE_SECONDS):
                    _tell_time(request, await _send(client, reply.encode()) - read)
            finally:
                working.discard(scope)
                unanswered.pop(client, None)


# A request is there whole, and its reply is taken, nearly always at once. So these two try first and wait only when
# they must; trio's own streams go round the event loop at every call, which costs more than the work.


async def _receive(client: socket.socket) -> bytes | None:
    """The whole request; None when it is too long or the caller broke it off."""
    frame = b""
    while len(frame) <= LIMIT:
        try:
            part = client.recv(65536)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(client)
        except OSError:
            return None
        else:
            if not part:
                return frame
            frame += part
    return None


async def _send(client: socket.socket, reply: bytes) -> float:
    """All of the reply, or as much of it as the caller stays for; then hang up, which is what the caller waits for.

    Gives the moment between the two, by trio's clock.
    """
    unsent = memoryview(reply)
    while unsent:
        try:
            unsent = unsent[client.send(unsent) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(client)
        except OSError:
            log.info("caller went away before its reply")
            break
    written = trio.current_time()
    client.close()
    return written


def _begin(
    unanswered: dict[socket.socket, tuple[float, CniRequest]], client: socket.socket, request: CniRequest
) -> None:
    unanswered[client] = trio.current_time(), request


async def _reply(handler: Handler, frame: bytes, begin: Callable[[CniRequest], None]) -> CniReply:
    request: CniRequest | None = None
    try:
        request = parse_request(frame)
        begin(request)
        with trio.fail_after(HANDLE_SECONDS):
            reply = await handler(request)
    except MultinicError as error:
        return error_reply(error, request)
    except trio.TooSlowError:
        late = DaemonUnavailableError(f"daemon: no result within {HANDLE_SECONDS:g} seconds")
        return error_reply(late, request)
    except Exception as error:  # the one place where a bad pod must not end the daemon
        log.exception("request failed", extra=_fields(request))
        return error_reply(MultinicError(f"daemon: unexpected {error!r}"), request)
    if len(reply.body) < LIMIT:
        return reply
    return error_reply(MultinicError(f"reply: found {len(reply.body)} bytes, expected less than {LIMIT}"), request)


def _tell_time(request: CniRequest | None, seconds: float) -> None:
    """Say at level debug how long a call took, from the end of its request to the end of its answer."""
    if log.isEnabledFor(logging.DEBUG):
        log.debug("answered", extra=_fields(request) | {"milliseconds": round(1e3 * seconds, 3)})


def _fields(request: CniRequest | None) -> dict[str, str]:
    if request is None:
        return {}
    return {"command": request.command, "container_id": request.container_id, "ifname": request.ifname}


def error_reply(error: MultinicError, request: CniRequest | None) -> CniReply:
    body = error_json(error, _version(request.stdin) if request else SUPPORTED_VERSIONS[-1])
    if request and request.command == "STATUS" and body["code"] == DaemonUnavailableError.cni_code:
        body["code"] = 50  # STATUS has its own word for "not now". Source: CNI specification 1.1.0, section 2
    return CniReply(1, json.dumps(body).encode())


def _version(stdin: bytes) -> str:
    """The version the runtime wrote, or the newest one when that cannot be read."""
    try:
        version = json.loads(stdin)["cniVersion"]
    except (ValueError, KeyError, TypeError):
        return SUPPORTED_VERSIONS[-1]
    return version if isinstance(version, str) else SUPPORTED_VERSIONS[-1]
