"""Where CPython goes on with a call of which the first stage, ``quick``, has asked a daemon in vain.

The text of this module is in the second stage, after that of ``call``.
"""

import posix


def resumed(stdin: bytes, failure: str, file: str) -> tuple[bytes, bytes, OSError | None]:
    """What has come of the call so far, as ``call.attempt`` would give it.

    Args:
        stdin: standard input.
        failure: the error number with which asking failed; "0" when the daemon hung up.
        file: number of an open file with what it had answered by then, or "".
    """
    answer = posix.pread(int(file), 1 << 21, 0) if file else b""
    number = int(failure)
    return stdin, answer, OSError(number, posix.strerror(number)) if number else None
