"""A process that has imported the daemon once and forks others from itself, which start in milliseconds.

For tests that kill daemons by the dozen. Run as a module it reads one JSON object per line and answers each by one:
``{"call": "module:function", "arguments": […], "environment": {…}, "output": path}`` by ``{"pid": …}``, and
``{"wait": pid, "seconds": …}`` by ``{"status": …}``, as :class:`subprocess.Popen` has it, null while it lives. A forked
process finds its arguments in ``sys.argv``. All die with their parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multinic_daemon import crashpoints

PRELOADED = ("multinic_core.kube.api", "multinic_daemon.__main__", "multinic_daemon.service", "multinic_daemon.testing")
_PR_SET_PDEATHSIG = 1
TICK_SECONDS = 0.005


class Forks:
    """The other end: starts such a process, and processes from it."""

    def __init__(self, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        """``prefix`` is put before the command, such as ``ip netns exec NAME``."""
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "multinic_daemon.testing.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def start(self, function: str, *arguments: str, output: Path, environment: Mapping[str, str] = {}) -> int:
        """Call ``module:function`` in a process of its own; its pid."""
        document = {"call": function, "arguments": arguments, "environment": dict(environment), "output": str(output)}
        return int(self._ask(document)["pid"])

    def wait(self, pid: int, seconds: float = 60.0) -> int | None:
        """Its exit status, minus the number of the signal that ended it; None: it lives on after so many seconds."""
        status = self._ask({"wait": pid, "seconds": seconds})["status"]
        return None if status is None else int(status)

    def crash(self, function: str, folder: Path, *words: str, at: str = "") -> None:
        """Call ``module:function`` on a folder in a process of its own, which must die by SIGKILL.

        Args:
            at: crash point at which it kills itself; "": something else does.
        """
        output = folder / "output"
        environment = {crashpoints.VARIABLE: at}
        pid = self.start(function, str(folder), *words, output=output, environment=environment)
        status = self.wait(pid)
        if status != -signal.SIGKILL:
            raise AssertionError(f"ended with {status}, expected to be killed: {output.read_text()}")

    def _ask(self, document: Mapping[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(document).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End it and all that it has started."""
        self._process.kill()
        self._process.communicate()


def _fork(document: Mapping[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        output = os.open(document["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for here, there in ((null, 0), (output, 1), (output, 2)):
            os.dup2(here, there)
        os.environ.update(document["environment"])
        sys.argv = [document["call"], *document["arguments"]]
        module, _, name = document["call"].partition(":")
        getattr(importlib.import_module(module), name)()
        os._exit(0)
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else bool(end.code))
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _wait(pid: int, seconds: float) -> int | None:
    end = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(TICK_SECONDS)


def main() -> None:
    """Serve until standard input ends."""
    for module in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        document = json.loads(line)
        if "call" in document:
            answer: dict[str, int | None] = {"pid": _fork(document)}
        else:
            answer = {"status": _wait(document["wait"], document["seconds"])}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
