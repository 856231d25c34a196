"""The fast path of the CNI executables: hand the call to this node's daemon and print what it answers.

This file is written into the executables whole (see ``install``), so it imports nothing but what the interpreter
has loaded before its first line, and ``_socket``, the C half of ``socket``: finding and compiling Python is most of
what a start costs. Everything that ends in another way than "the daemon answered" is in ``fallback``, which
travels as text and is compiled only when it is needed.
"""

import posix
import sys
from _socket import AF_UNIX, MSG_WAITALL, SHUT_WR, SO_RCVTIMEO, SO_SNDTIMEO, SOCK_STREAM, SOL_SOCKET, socket

LIMIT = 1 << 20
"""Bytes of a whole request, and of a whole answer."""
ANSWER_SECONDS = 90
"""For the daemon, which gives up after 80; runtimes wait for two minutes and more."""
COMMANDS = (b"ADD", b"DEL", b"CHECK", b"GC", b"STATUS")
"""What a daemon answers. VERSION needs none."""


def frame(env: dict[bytes, bytes], plugin: bytes, stdin: bytes) -> bytes:
    """The request as the daemon reads it; the daemon's ``request`` module describes it."""
    parts = [b"CNI_PLUGIN=" + plugin]
    parts += [key + b"=" + env[key] for key in env if key[:4] == b"CNI_" and key != b"CNI_PLUGIN"]
    return b"\0".join(parts) + b"\0\0" + stdin


def read_stdin() -> bytes:
    """Standard input to its end, or somewhat more than LIMIT of it."""
    data = part = posix.read(0, 65536)
    while part and len(data) <= LIMIT:
        part = posix.read(0, 65536)
        data += part
    return data


def ask(path: str, request: bytes) -> bytes:
    """The daemon's whole answer; less, or b"", when it hung up before the end.

    Raises:
        BlockingIOError: the daemon did not take the request, or did not answer it, in time.
        OSError: it could not be reached, or went away.
    """
    sock = socket(AF_UNIX, SOCK_STREAM)
    # A struct timeval of two longs. The kernel counts the wait over all parts of an answer, so one receive is enough.
    seconds = ANSWER_SECONDS.to_bytes(8, sys.byteorder) + bytes(8)
    sock.setsockopt(SOL_SOCKET, SO_SNDTIMEO, seconds)
    sock.setsockopt(SOL_SOCKET, SO_RCVTIMEO, seconds)
    sock.connect(path)
    sock.sendall(request)
    sock.shutdown(SHUT_WR)
    return sock.recv(LIMIT, MSG_WAITALL)


def run(path: str, plugin: bytes, fallback: str) -> None:
    """Serve one CNI call and end the process.

    Args:
        path: of the daemon's socket.
        plugin: the name this executable is installed under.
        fallback: source of ``multinic_cni.fallback``.
    """
    env = posix.environ
    stdin, answer, failure = None, b"", None
    if env.get(b"CNI_COMMAND") in COMMANDS:
        stdin = read_stdin()
        try:
            answer = ask(path, frame(env, plugin, stdin))
        except OSError as error:
            failure = error
    # An answer whose braces do not match has lost its end, or has braces in its texts; the fallback looks closer.
    if answer[:1] not in (b"0", b"1") or answer.count(b"{") != answer.count(b"}"):
        names: dict[str, object] = {"__name__": "fallback"}
        exec(compile(fallback, "fallback", "exec"), names)  # noqa: S102 -- text that came with this file
        answer = names["rescue"](sys.modules[__name__], path, plugin, stdin, failure, answer)  # type: ignore[operator]
    unsent = memoryview(answer)[1:]
    while unsent:
        unsent = unsent[posix.write(1, unsent) :]
    # Nothing is left to clean up, and taking the interpreter down in order costs as much as the whole call.
    posix._exit(answer[0] - 48)
