"""The fast path of the CNI executables: hand the call to this node's daemon and print what it answers.

This file is written into the executables whole (see ``install``), so it imports nothing but what the interpreter
has loaded before its first line, and ``_socket``, the C half of ``socket``: finding and compiling Python is most of
what a start costs. Everything that ends in another way than "the daemon answered" is in ``fallback``, which
travels as text and is compiled only when it is needed.
"""

import posix
import sys
import time
from _socket import AF_UNIX, SHUT_WR, SOCK_STREAM, socket

LIMIT = 1 << 20
"""Bytes of a whole request, and of a whole answer."""
ANSWER_SECONDS = 90.0
"""For the daemon, which gives up after 80; runtimes wait for two minutes and more."""

ADD_NEEDS = (b"CNI_CONTAINERID", b"CNI_NETNS", b"CNI_IFNAME")
NEEDS: dict[bytes, tuple[bytes, ...]] = {
    b"ADD": ADD_NEEDS,
    b"DEL": (b"CNI_CONTAINERID", b"CNI_IFNAME"),
    b"CHECK": ADD_NEEDS,
    b"GC": (),
    b"STATUS": (),
}
"""Command to the variables that must not be empty. Source: CNI specification 1.1.0, section 2. VERSION needs none."""


def faults(env: dict[bytes, bytes]) -> list[str]:
    """Everything that is wrong with the ``CNI_*`` environment, one phrase each; [] when nothing is."""
    command = env.get(b"CNI_COMMAND", b"")
    found = []
    if command not in NEEDS:
        found.append(f"CNI_COMMAND: found {_text(command)}, expected ADD, DEL, CHECK, GC, STATUS or VERSION")
    found += [f"{key.decode()}: missing" for key in NEEDS.get(command, ADD_NEEDS) if not env.get(key)]
    identity = env.get(b"CNI_CONTAINERID", b"")
    if identity and not (identity[:1] + identity.translate(None, b"_.-")).isalnum():
        found.append(f"CNI_CONTAINERID: found {_text(identity)}, expected letters, digits, '_', '.' and '-'")
    name = env.get(b"CNI_IFNAME", b"")
    if name and (len(name) > 15 or name in (b".", b"..") or b"/" in name or b":" in name or name.split() != [name]):
        found.append(f"CNI_IFNAME: found {_text(name)}, expected a link's name of at most 15 bytes")
    return found


def _text(value: bytes) -> str:
    return repr(value.decode("utf-8", "replace"))


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
        TimeoutError: the daemon has the request and did not answer in time.
        OSError: it could not be reached, or went away.
    """
    end = time.monotonic() + ANSWER_SECONDS
    sock = socket(AF_UNIX, SOCK_STREAM)
    sock.settimeout(ANSWER_SECONDS)
    sock.connect(path)
    sock.sendall(request)
    sock.shutdown(SHUT_WR)
    answer = part = sock.recv(65536)
    while part and len(answer) <= LIMIT:
        sock.settimeout(max(0.001, end - time.monotonic()))
        part = sock.recv(65536)
        answer += part
    return answer


def run(path: str, plugin: bytes, fallback: str) -> None:
    """Serve one CNI call and end the process.

    Args:
        path: of the daemon's socket.
        plugin: the name this executable is installed under.
        fallback: source of ``multinic_cni.fallback``.
    """
    env = posix.environ
    stdin, answer, failure = None, b"", None
    if env.get(b"CNI_COMMAND") != b"VERSION" and not faults(env):
        stdin = read_stdin()
        request = frame(env, plugin, stdin)
        if len(request) <= LIMIT:
            try:
                answer = ask(path, request)
            except OSError as error:
                failure = error
    if failure or answer[:1] not in (b"0", b"1"):
        names: dict[str, object] = {"__name__": "fallback"}
        exec(compile(fallback, "fallback", "exec"), names)  # noqa: S102 -- text that came with this file
        answer = names["rescue"](sys.modules[__name__], path, plugin, stdin, failure)  # type: ignore[operator]
    unsent = memoryview(answer)[1:]
    while unsent:
        unsent = unsent[posix.write(1, unsent) :]
    # Nothing is left to clean up, and taking the interpreter down in order costs as much as the whole call.
    posix._exit(answer[0] - 48)
