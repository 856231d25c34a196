"""What a CNI executable does when there is no answer to print: VERSION, bad input, and a daemon that is away.

``rescue`` gets the namespace of ``call`` as an argument, because inside the executables there is no package to
import it from. Here a few milliseconds do not matter, so the standard library is used freely.

A configuration with ``"standalone": true`` is for no daemon at all: another interpreter serves it in this process.

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
BAD_VERSION, BAD_ENVIRONMENT, IO_FAILURE, BAD_JSON, BAD_CONFIG, TRY_LATER, NOT_AVAILABLE = 1, 4, 5, 6, 7, 11, 50
"""Source: CNI specification 1.1.0, section 5."""
ADD_NEEDS = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME")
NEEDS: dict[str, tuple[str, ...]] = {
    "ADD": ADD_NEEDS,
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "CHECK": ADD_NEEDS,
    "GC": (),
    "STATUS": (),
}
"""Command to the variables that must not be empty. Source: CNI specification 1.1.0, section 2. VERSION needs none."""

ADD_PATIENCE_SECONDS = 2.0
"""How long an ADD waits for a daemon that is just being replaced."""
RETRY_SECONDS = 0.05
STDIN_SECONDS = 1.0
"""For a network configuration that is only read to learn its version."""
NOBODY_LISTENS = (FileNotFoundError, ConnectionRefusedError)


def rescue(
    call: types.ModuleType,
    path: str,
    plugin: bytes,
    stdin: bytes | None,
    failure: OSError | None,
    received: bytes = b"",
) -> bytes:
    """An answer in the daemon's form, a status digit and what to print, when the daemon gave none.

    Args:
        call: the namespace of ``multinic_cni.call``.
        path: of the daemon's socket.
        plugin: name of the executable.
        stdin: None when it has not been read, because the command is none that a daemon answers.
        failure: why asking failed; None when the daemon hung up or was not asked.
        received: what came before it hung up; printed when it is whole after all.
    """
    if _is_whole(received):
        return received
    command = os.environ.get("CNI_COMMAND", "")
    if stdin is None:
        if not command and os.isatty(0):
            versions = ", ".join(SUPPORTED)
            sys.stderr.write(f"CNI plugin {plugin.decode()}: a container runtime runs it; CNI versions {versions}\n")
            return b"0"
        stdin = _read_soon()
        if command == "VERSION":
            answer = {"cniVersion": _version(stdin), "supportedVersions": SUPPORTED}
            return b"0" + json.dumps(answer).encode() + b"\n"
    request = call.frame(os.environb, plugin, stdin)
    code, message = _refuse(stdin, len(request), call.LIMIT)
    if code:
        return _error(stdin, code, message)
    if call.STANDALONE in stdin:
        if answered := _stand_alone(call, plugin, stdin):
            return answered
        if failure is None:  # it has not been asked yet, as this might have been standalone
            try:
                received = call.ask(path, request)
            except OSError as error:
                failure = error
            if _is_whole(received):
                return received
    if command == "DEL" and not isinstance(failure, BlockingIOError):
        return _leave_tombstone(call, path, request, stdin)
    if command == "ADD":
        answered, failure = _ask_again(call, path, request, failure)
        if answered:
            return answered
    return _error(stdin, NOT_AVAILABLE if command == "STATUS" else TRY_LATER, _describe(path, failure))


def _refuse(stdin: bytes, size: int, limit: int) -> tuple[int, str]:
    """Code and message that a daemon would have answered to this call, whoever is asked; code 0 when it is sound."""
    if found := faults():
        return BAD_ENVIRONMENT, "; ".join(found)
    if size > limit:
        return BAD_JSON, f"request: found more than {limit} bytes"
    try:
        document = json.loads(stdin)
    except ValueError as error:
        return BAD_JSON, f"network configuration is not JSON: {error}"
    if not isinstance(document, dict):
        return BAD_JSON, f"network configuration: found a JSON {type(document).__name__}, expected an object"
    version = document.get("cniVersion") or SUPPORTED[0]
    if version not in SUPPORTED:
        return BAD_VERSION, f"cniVersion: found {version!r}, expected one of {', '.join(SUPPORTED)}"
    return 0, ""


def faults() -> list[str]:
    """Everything that is wrong with the ``CNI_*`` environment, one phrase each; [] when nothing is."""
    command, identity, name = (
        os.environb.get(b"CNI_" + key, b"").decode("utf-8", "replace")
        for key in (b"COMMAND", b"CONTAINERID", b"IFNAME")
    )
    found = []
    if command not in NEEDS:
        found.append(f"CNI_COMMAND: found {command!r}, expected one of {', '.join(NEEDS)}, VERSION")
    found += [f"{key}: missing" for key in NEEDS.get(command, ADD_NEEDS) if not os.environ.get(key)]
    bare = identity[:1] + "".join(c for c in identity if c not in "_.-")
    if identity and not (bare.isascii() and bare.isalnum()):
        found.append(f"CNI_CONTAINERID: found {identity!r}, expected letters, digits, '_', '.' and '-'")
    odd = name in (".", "..") or len(name.encode()) > 15 or any(c in "/:" or c.isspace() for c in name)
    if name and odd:
        found.append(f"CNI_IFNAME: found {name!r}, expected a link's name of at most 15 bytes")
    return found


def _stand_alone(call: types.ModuleType, plugin: bytes, stdin: bytes) -> bytes:
    """Go on as the interpreter that has the engine and the plugins; b"" where the daemon is meant, or why not."""
    chosen, python = json.loads(stdin).get("standalone"), call.STANDALONE_PYTHON
    if chosen is None or chosen is False:
        return b""
    if chosen is not True:
        return _error(stdin, BAD_CONFIG, f"standalone: found {chosen!r}, expected true or false")
    try:
        file = os.memfd_create("netconf")
        pathlib.Path(f"/proc/self/fd/{file}").write_bytes(stdin)
        os.dup2(file, 0)
        os.execv(python, [python, "-I", "-m", "multinic_cni.standalone", plugin.decode()])  # noqa: S606 -- no shell
    except (OSError, ValueError) as error:
        found = f"cannot start {python!r}: {error}" if python else "found no interpreter that serves it"
        way_out = "name the one that has multinic-daemon and the plugins: multinic-cni install --standalone-python"
        return _error(stdin, IO_FAILURE, f"standalone: {found}; {way_out}")


def _ask_again(
    call: types.ModuleType, path: str, request: bytes, failure: OSError | None
) -> tuple[bytes, OSError | None]:
    """Ask until a daemon takes the call, which is never repeated then, or patience ends. b"" for no answer."""
    end = time.monotonic() + ADD_PATIENCE_SECONDS
    while isinstance(failure, NOBODY_LISTENS) and time.monotonic() < end:
        time.sleep(RETRY_SECONDS)
        try:
            answer: bytes = call.ask(path, request)
        except OSError as error:
            failure = error
        else:
            return (answer if _is_whole(answer) else b""), None
    return b"", failure


def _is_whole(answer: bytes) -> bool:
    """True for a status digit and a JSON document or nothing after it: not for one that was cut off."""
    if answer[:1] not in (b"0", b"1"):
        return False
    try:
        json.loads(answer[1:] or b"{}")
    except ValueError:
        return False
    return True


def _leave_tombstone(call: types.ModuleType, path: str, request: bytes, stdin: bytes) -> bytes:
    tombstone = pathlib.Path(path).parent / "tombstones" / os.urandom(12).hex()
    unfinished = tombstone.with_name("." + tombstone.name)
    try:
        tombstone.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished.touch(mode=0o600, exist_ok=False)
        unfinished.write_bytes(request)
        unfinished.rename(tombstone)
    except OSError as error:
        return _error(stdin, TRY_LATER, f"daemon: found nobody at {path!r}, and could leave no note: {error}")
    # A daemon that started meanwhile may have looked for tombstones already; one that listens now is asked itself.
    try:
        answer: bytes = call.ask(path, request)
    except OSError:
        return b"0"
    if not _is_whole(answer):
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


def _describe(path: str, failure: OSError | None) -> str:
    if isinstance(failure, BlockingIOError):
        return f"daemon: no answer on {path!r} in time"
    if failure is None:
        return f"daemon: hung up on {path!r} before it had answered"
    return f"daemon: found nobody at {path!r}: {failure.strerror or failure}"


def _error(stdin: bytes, code: int, message: str) -> bytes:
    return b"1" + json.dumps({"cniVersion": _version(stdin), "code": code, "msg": message}).encode() + b"\n"
