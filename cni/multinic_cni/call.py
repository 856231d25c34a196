"""The fast path of the CNI executables: hand the call to this node's daemon and print what it answers.

This file is written into the executables whole (see ``install``), so it imports nothing but what the interpreter
has loaded before its first line, and ``_socket``, the C half of ``socket``: finding and compiling Python is most of
what a start costs. A private interpreter has it in its library as well and runs it earlier. Everything that ends in
another way than "the daemon answered" is in ``fallback``, which travels as text and is compiled only when it is needed.
"""

import posix
import sys
from _socket import (
    AF_UNIX,
    MSG_NOSIGNAL,
    MSG_WAITALL,
    SHUT_WR,
    SO_RCVTIMEO,
    SO_SNDTIMEO,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)

LIMIT = 1 << 20
"""Bytes of a whole request, and of a whole answer."""
ANSWER_SECONDS = 90
"""For the daemon, which gives up after 80; runtimes wait for two minutes and more."""
COMMANDS = (b"ADD", b"DEL", b"CHECK", b"GC", b"STATUS")
"""What a daemon answers. VERSION needs none."""
STANDALONE = b'"standalone"'
"""In a network configuration that may be for this machine alone; no daemon ever gets to see such a one."""
STANDALONE_PYTHON = ""
"""What serves those (see ``standalone``); "" when nobody said."""


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


def connect(path: str | bytes) -> socket:
    """A connection to the daemon.

    Raises:
        OSError: it could not be reached.
    """
    sock = socket(AF_UNIX, SOCK_STREAM)
    # A struct timeval of two longs. The kernel counts the wait over all parts of an answer, so one receive is enough.
    seconds = ANSWER_SECONDS.to_bytes(8, sys.byteorder) + bytes(8)
    sock.setsockopt(SOL_SOCKET, SO_SNDTIMEO, seconds)
    sock.setsockopt(SOL_SOCKET, SO_RCVTIMEO, seconds)
    sock.connect(path)
    return sock


def exchange(sock: socket, request: bytes) -> bytes:
    """The daemon's whole answer; less, or b"", when it hung up before the end.

    Raises:
        BlockingIOError: the daemon did not take the request, or did not answer it, in time.
        BrokenPipeError: the daemon hung up before it had the request.
        OSError: it went away.
    """
    sock.sendall(request, MSG_NOSIGNAL)
    sock.shutdown(SHUT_WR)
    return sock.recv(LIMIT, MSG_WAITALL)


def ask(path: str | bytes, request: bytes) -> bytes:
    """Connect and exchange. Raises as they do."""
    return exchange(connect(path), request)


Attempt = tuple[bytes | None, bytes, OSError | None]
"""Standard input, None when it has not been read; the answer or what came of it; why there is none."""


def attempt(path: str | bytes, plugin: bytes) -> Attempt:
    """Ask the daemon, if this is a call that it answers."""
    env, failure = posix.environ, None
    if env.get(b"CNI_COMMAND") not in COMMANDS:
        return None, b"", None
    try:
        sock = connect(path)  # first, so that the daemon wakes up while the request is put together
    except OSError as error:
        failure = error
    request = frame(env, plugin, stdin := read_stdin())
    if failure or STANDALONE in stdin:
        return stdin, b"", failure
    try:
        try:
            return stdin, exchange(sock, request), None
        except BrokenPipeError:  # it had grown tired of waiting for standard input, or is a new one by now
            return stdin, ask(path, request), None
    except OSError as error:
        return stdin, b"", error


def is_plain(answer: bytes) -> bool:
    """Whether an answer may be printed. Others have lost their end, or have braces in their texts."""
    return answer[:1] in (b"0", b"1") and answer.count(b"{") == answer.count(b"}")


def finish(answer: bytes) -> None:
    """Print an answer and end the process."""
    unsent = memoryview(answer)[1:]
    while unsent:
        unsent = unsent[posix.write(1, unsent) :]
    # Nothing is left to clean up, and taking the interpreter down in order costs as much as the whole call.
    posix._exit(answer[0] - 48)


EARLY: Attempt | None = None
"""What `early` has done already."""
MARK = b"# early: "
"""Begins the second line of an executable: seconds to wait, plugin and path of the socket follow."""


def early() -> None:
    """Serve the call before the interpreter has started in full; return when that is not possible.

    Called by the first module that a private interpreter takes from its library (see ``private``), in a process that
    has no standard streams, no signal handlers and no main script yet.
    """
    global ANSWER_SECONDS, EARLY
    try:
        if posix.environ.get(b"CNI_COMMAND") not in COMMANDS or len(sys.orig_argv) > 3:  # a second stage has more words
            return
        file = posix.open(sys.orig_argv[-1], posix.O_RDONLY | posix.O_CLOEXEC)
        line = posix.read(file, 512).split(b"\n", 2)[1]
        posix.close(file)
        if line[: len(MARK)] == MARK:
            seconds, plugin, path = line[len(MARK) :].split(b" ", 2)
            ANSWER_SECONDS = int(seconds)
            EARLY = attempt(path, plugin)
            if is_plain(EARLY[1]):
                finish(EARLY[1])
    except Exception:  # noqa: S110 -- the executable itself, in its turn, meets it again and says so
        pass


def run(path: str, plugin: bytes, fallback: str, tried: Attempt | None = None) -> None:
    """Serve one CNI call and end the process.

    Args:
        path: of the daemon's socket.
        plugin: the name this executable is installed under.
        fallback: source of ``multinic_cni.fallback``.
        tried: what a first stage has done already.
    """
    tried = tried or getattr(sys.modules.get("encodings"), "EARLY", None)
    stdin, answer, failure = tried or attempt(path, plugin)
    if not is_plain(answer):
        names: dict[str, object] = {"__name__": "fallback"}
        exec(compile(fallback, "fallback", "exec"), names)  # noqa: S102 -- text that came with this file
        answer = names["rescue"](sys.modules[__name__], path, plugin, stdin, failure, answer)  # type: ignore[operator]
    finish(answer)
