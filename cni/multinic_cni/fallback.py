"""What a CNI executable does when there is no answer to print: bad input, VERSION, and a daemon that is away.

``rescue`` gets the namespace of ``call`` as an argument, because inside the executables there is no package to
import it from. Here a few milliseconds do not matter, so the standard library is used freely.

A DEL must succeed while the daemon is away, and must not be forgotten. It becomes a *tombstone*: a file beside
the socket with exactly the bytes of the request, which the daemon replays when it starts.
"""

import json
import os
import pathlib
import select
import sys
import time
import types

SUPPORTED = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
BAD_VERSION, BAD_ENVIRONMENT, BAD_JSON, TRY_LATER, NOT_AVAILABLE = 1, 4, 6, 11, 50
"""Source: CNI specification 1.1.0, section 5."""

ADD_PATIENCE_SECONDS = 2.0
"""How long a call waits for a daemon that is just being replaced."""
RETRY_SECONDS = 0.05
STDIN_SECONDS = 1.0
"""For a network configuration that is only read to learn its version."""
NOBODY_LISTENS = (FileNotFoundError, ConnectionRefusedError)


def rescue(call: types.ModuleType, path: str, plugin: bytes, stdin: bytes | None, failure: OSError | None) -> bytes:
    """An answer in the daemon's form, a status digit and what to print, when the daemon gave none.

    Args:
        call: the namespace of ``multinic_cni.call``.
        path: of the daemon's socket.
        plugin: name of the executable.
        stdin: None when it has not been read, because the environment is wrong or the command is VERSION.
        failure: why asking failed; None when the daemon hung up or was not asked.
    """
    command = os.environ.get("CNI_COMMAND", "")
    if stdin is None:
        if not command and os.isatty(0):
            name = plugin.decode()
            sys.stderr.write(f"CNI plugin {name}: run by a container runtime; CNI versions {', '.join(SUPPORTED)}\n")
            return b"0"
        version = _version(_read_soon())
        if command == "VERSION":
            return b"0" + json.dumps({"cniVersion": version, "supportedVersions": SUPPORTED}).encode() + b"\n"
        return _error(version, BAD_ENVIRONMENT, "; ".join(call.faults(os.environb)))
    request = call.frame(os.environb, plugin, stdin)
    if len(request) > call.LIMIT:
        return _error(SUPPORTED[-1], BAD_JSON, f"request: found more than {call.LIMIT} bytes")
    refusal = _refuse(stdin)
    if refusal:
        return refusal
    version = _version(stdin)
    answer = b""
    crowded = isinstance(failure, BlockingIOError)
    if crowded or (command == "ADD" and isinstance(failure, NOBODY_LISTENS)):
        answer, failure = _ask_again(call, path, request, failure)
    elif command == "DEL" and not isinstance(failure, TimeoutError):
        return _leave_tombstone(call, path, request, version)
    if answer[:1] in (b"0", b"1") and not failure:
        return answer
    return _error(version, NOT_AVAILABLE if command == "STATUS" else TRY_LATER, _describe(path, failure))


def _ask_again(
    call: types.ModuleType, path: str, request: bytes, failure: OSError | None
) -> tuple[bytes, OSError | None]:
    """Ask until the daemon takes the call or patience ends. A call it once took is never repeated."""
    end = time.monotonic() + ADD_PATIENCE_SECONDS
    while isinstance(failure, (*NOBODY_LISTENS, BlockingIOError)) and time.monotonic() < end:
        time.sleep(RETRY_SECONDS)
        try:
            return call.ask(path, request), None
        except OSError as error:
            failure = error
    return b"", failure


def _leave_tombstone(call: types.ModuleType, path: str, request: bytes, version: str) -> bytes:
    tombstone = pathlib.Path(path).parent / "tombstones" / os.urandom(12).hex()
    unfinished = tombstone.with_name("." + tombstone.name)
    try:
        tombstone.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished.touch(mode=0o600, exist_ok=False)
        unfinished.write_bytes(request)
        unfinished.rename(tombstone)
    except OSError as error:
        return _error(version, TRY_LATER, f"daemon: not there to release the attachment, and no note left: {error}")
    # A daemon that started meanwhile may have looked for tombstones already; one that listens now is asked itself.
    try:
        answer: bytes = call.ask(path, request)
    except OSError:
        return b"0"
    if answer[:1] not in (b"0", b"1"):
        return b"0"
    tombstone.unlink(missing_ok=True)
    return answer


def _read_soon() -> bytes:
    """Standard input as far as it comes within a second."""
    data, end = b"", time.monotonic() + STDIN_SECONDS
    poll = select.poll()
    poll.register(0, select.POLLIN)
    while not os.isatty(0) and len(data) < 1 << 20:
        left = end - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            break
        part = os.read(0, 65536)
        if not part:
            break
        data += part
    return data


def _version(stdin: bytes) -> str:
    """The version the runtime wrote, or the newest one when that cannot be read."""
    try:
        version = json.loads(stdin)["cniVersion"]
    except (ValueError, KeyError, TypeError):
        return SUPPORTED[-1]
    return version if isinstance(version, str) else SUPPORTED[-1]


def _refuse(stdin: bytes) -> bytes | None:
    """The error that the daemon would have answered to this configuration, whoever is asked; None when it is sound."""
    try:
        document = json.loads(stdin)
    except ValueError as error:
        return _error(SUPPORTED[-1], BAD_JSON, f"network configuration is not JSON: {error}")
    if not isinstance(document, dict):
        found = type(document).__name__
        return _error(SUPPORTED[-1], BAD_JSON, f"network configuration: found a JSON {found}, expected an object")
    version = document.get("cniVersion") or SUPPORTED[0]
    if version not in SUPPORTED:
        message = f"cniVersion: found {version!r}, expected one of {', '.join(SUPPORTED)}"
        return _error(_version(stdin), BAD_VERSION, message)
    return None


def _describe(path: str, failure: OSError | None) -> str:
    if isinstance(failure, TimeoutError):
        return f"daemon: no answer on {path!r} in time"
    if failure is None:
        return f"daemon: hung up on {path!r} before it had answered"
    return f"daemon: found nobody at {path!r}: {failure.strerror or failure}"


def _error(version: str, code: int, message: str) -> bytes:
    return b"1" + json.dumps({"cniVersion": version, "code": code, "msg": message}).encode() + b"\n"
