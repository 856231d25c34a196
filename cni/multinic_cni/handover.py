"""What the first stage does when it cannot print an answer at once: it goes on as CPython by exec.

That is the same process with the same environment, and with the same standard input as if nobody had read any of it.
What has come of the call so far goes along, of which ``resume`` makes what ``call`` would have had in its place. What
a daemon has taken is not sent again by that.

Runs in MicroPython alone, which is why it does not look like the other modules.
"""

import sys

import ffi  # type: ignore[import-not-found]
import uarray  # type: ignore[import-not-found]
import uctypes  # type: ignore[import-not-found]
import uio  # type: ignore[import-not-found]
import usocket  # type: ignore[import-not-found]
import utime  # type: ignore[import-not-found]

LIMIT = 1048576
"""Bytes of a whole request, and of a whole answer."""
BROKEN_PIPE = 32
"""EPIPE: the daemon hung up before it had the request, so that it has not begun and may be asked again."""

SO_RCVTIMEO = MSG_WAITALL = 0
"""As in ``quick``."""

library = ffi.open(None)
leave = library.func("v", "_exit", "i")


def rest_of_answer(sock: usocket.socket, parts: list[bytes], seconds: int) -> None:
    """Add what comes until the daemon hangs up, LIMIT is reached, or the seconds are over, counted over all parts."""
    end, size = utime.ticks_add(utime.ticks_ms(), seconds * 1000), len(parts[0])
    while len(parts[-1]) == size and size * len(parts) < LIMIT:
        left = utime.ticks_diff(end, utime.ticks_ms())
        if left <= 0:
            return
        timeval = (left // 1000).to_bytes(8, sys.byteorder) + (left % 1000 * 1000).to_bytes(8, sys.byteorder)
        sock.setsockopt(usocket.SOL_SOCKET, SO_RCVTIMEO, timeval)
        try:
            parts.append(sock.recv(size, MSG_WAITALL))
        except OSError:  # an answer without an end: it is as if the daemon had hung up
            return


def is_plain(parts: list[bytes]) -> bool:
    """As in ``call``, of an answer in parts."""
    opened, closed = [sum([part.count(brace) for part in parts]) for brace in (b"{", b"}")]
    return parts[0][:1] in (b"0", b"1") and opened == closed


def finish(parts: list[bytes]) -> None:
    """Print an answer and end the process."""
    sys.stdout.buffer.write(parts[0][1:])
    for part in parts[1:]:
        sys.stdout.buffer.write(part)
    leave(parts[0][0] - 48)


def rest_of_stdin(parts: list[bytes], size: int) -> None:
    """Add what comes to its end, or until it is so long that it is refused."""
    while len(parts[-1]) == size and size * len(parts) < LIMIT:
        parts.append(sys.stdin.buffer.read(size))


def in_memory(parts: list[bytes]) -> int:
    """The number of an open file that holds these parts and is at its beginning."""
    number: int = library.func("i", "memfd_create", "sI")("multinic", 0)
    file = uio.open(number, "wb")
    for part in parts:
        file.write(part)
    file.seek(0)
    kept.append(file)  # or it would be closed with the last that knows of it
    return number


def become(words: bytes) -> None:
    """exec(3) of these words with a NUL byte after each; returns when that is not possible."""
    places, place = [], uctypes.addressof(words)
    for word in words.split(b"\0")[:-1]:
        places.append(place)
        place += len(word) + 1
    library.func("i", "execv", "PP")(words, uarray.array("L", places + [0]))  # noqa: RUF005 -- not known there


def bring_to_end(
    words: bytes,
    seconds: int,
    size: int,
    sock: usocket.socket | None,
    stdin: bytes | None,
    answer: bytes,
    failure: str,
    problem: Exception | None,
) -> object:
    """Print an answer after all, or become CPython; returns what was in the way.

    Args:
        words: what CPython is started as; two more are added, those of ``resumed`` without standard input.
        seconds: for all of an answer.
        size: of a first part that is not all of standard input, or of an answer.
        sock: the connection, if there is one.
        stdin: as far as it has been read; None: not at all.
        answer: its first part.
        failure: "" when the daemon has not got the whole request, "0" when it has, "printing" when it has answered.
        problem: what ended the first stage, if anything did.
    """
    parts = [answer]
    if failure == "0" and len(answer) == size and sock is not None:
        rest_of_answer(sock, parts, seconds)
        if is_plain(parts):
            finish(parts)
    if failure == "printing":
        return problem
    if isinstance(problem, OSError) and problem.errno != BROKEN_PIPE:
        failure = str(problem.errno)
    if sock is not None:
        sock.close()  # or the daemon would think that someone is still there to hear it
    if stdin is not None:
        read = [stdin]
        rest_of_stdin(read, size)
        library.func("i", "dup2", "ii")(in_memory(read), 0)
    file = str(in_memory(parts)) if answer else ""
    become(words + failure.encode() + b"\0" + file.encode() + b"\0")
    return "cannot start " + words.split(b"\0")[0].decode()


def go_on(*call: object) -> None:
    """Bring this call, which is all that `bring_to_end` wants to know, to its end, and the process."""
    try:
        problem = bring_to_end(*call)  # type: ignore[arg-type]
    except Exception as error:
        problem = error
    sys.stderr.write("multinic: " + repr(problem) + "\n")
    leave(1)


kept: list[object] = []
"""Files that stay open."""
