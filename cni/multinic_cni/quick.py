"""The first stage of the executables: asks the daemon and prints its answer, on MicroPython, which starts at once.

Starting CPython is most of what a call costs, and MicroPython starts in hardly more time than a program that does
nothing. So it serves what is usual: a call that a daemon answers in full and in few words. Everything else is for
``handover``, which is compiled only then.

An executable is this file without what only people read, with the names in capital letters replaced by their values,
because MicroPython compiles it at each start: 0.15 ms for each 1,000 letters. For the same reason it has no functions.
Modules with a ``u`` before their names are MicroPython's own, whatever files are beside the executable. What it lacks,
as shutdown(2), comes from the C library through its module ``ffi``.
"""

import sys

import ffi  # type: ignore[import-not-found]
import uos  # type: ignore[import-not-found]
import usocket  # type: ignore[import-not-found]

PLUGIN = "multi-nic"
ADDRESS = b"\1\0/run/multinic/cni.sock\0"
"""The daemon's socket, as a struct sockaddr_un."""
TIMEOUT = b""
"""How long to wait for the daemon, as a struct timeval. The kernel counts it over all parts of an answer."""
SECONDS = 90
"""The same in seconds, for `handover`."""
HANDOVER = "/nonexistent/handover"
"""A file with the source of ``handover``."""
WORDS = b""
"""The beginning of the command that it goes on as, with a NUL byte after each word."""
SO_RCVTIMEO = SO_SNDTIMEO = MSG_NOSIGNAL = MSG_WAITALL = 0
"""Of the kernel; MicroPython does not know them."""
STANDALONE = b""
"""As in ``call``."""
PART = 8192
"""Standard input, and an answer, of fewer bytes are served here."""

sock, stdin, answer, failure, problem = None, None, b"", "", None
try:
    if uos.getenv("CNI_COMMAND") in ("ADD", "DEL", "CHECK", "GC", "STATUS"):
        sock = usocket.socket(usocket.AF_UNIX)
        sock.setsockopt(usocket.SOL_SOCKET, SO_SNDTIMEO, TIMEOUT)
        sock.setsockopt(usocket.SOL_SOCKET, SO_RCVTIMEO, TIMEOUT)
        sock.connect(ADDRESS)  # first, so that the daemon wakes up while the request is put together
        request = "CNI_PLUGIN=" + PLUGIN
        # All that a daemon reads; a process cannot list its variables here.
        for key in ("COMMAND", "CONTAINERID", "NETNS", "IFNAME", "ARGS", "PATH"):
            value = uos.getenv("CNI_" + key)
            if value is not None:
                request += "\0CNI_" + key + "=" + value
        stdin = sys.stdin.buffer.read(PART)
        if len(stdin) < PART and STANDALONE not in stdin:
            unsent = request.encode() + b"\0\0" + stdin
            while unsent:
                unsent = unsent[sock.send(unsent, MSG_NOSIGNAL) :]
            failure = "0"
            ffi.open(None).func("i", "shutdown", "ii")(sock.fileno(), 1)
            answer = sock.recv(PART, MSG_WAITALL)
            if len(answer) < PART and answer[:1] in (b"0", b"1") and answer.count(b"{") == answer.count(b"}"):
                failure = "printing"
                sys.stdout.buffer.write(answer[1:])
                # Whatever is set that makes an interpreter stay, and without taking it down in order.
                ffi.open(None).func("v", "_exit", "i")(answer[0] - 48)
except Exception as error:
    problem = error
names: dict[str, object] = {}
exec(open(HANDOVER).read(), names)  # noqa: S102, SIM115, PTH123 -- our own file, for the rest of the process
names["go_on"](WORDS, SECONDS, PART, sock, stdin, answer, failure, problem)  # type: ignore[operator]
