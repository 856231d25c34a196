"""Whole processes with a clock around them, and processes that stay for the length of a bench."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.report import BenchError

STOP_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Run:
    """One process, from before its spawn to its exit."""

    seconds: float
    cpu_seconds: float
    """In user space and in the kernel together."""
    printed: bytes


class Runner:
    """Runs executables with a file as standard input and one as standard output, both in memory if the folder is.

    Spawning goes straight to ``posix_spawn``: what is measured is the executable, not the spawner's bookkeeping.
    """

    def __init__(self, folder: Path) -> None:
        self._stdin, self._stdout = folder / "stdin", folder / "stdout"

    def run(self, path: Path, env: Mapping[str, str], stdin: bytes) -> tuple[float, bytes]:
        """Seconds from before the spawn to the exit, and what was printed.

        Raises:
            BenchError: the exit status is not 0.
        """
        done = self.measure([str(path)], env, stdin)
        return done.seconds, done.printed

    def measure(self, command: Sequence[str], env: Mapping[str, str], stdin: bytes) -> Run:
        """One run of this command.

        Raises:
            BenchError: the exit status is not 0.
        """
        self._stdin.write_bytes(stdin)
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, str(self._stdin), os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self._stdout), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        ]
        begin = time.perf_counter()
        pid = os.posix_spawn(command[0], command, env, file_actions=actions)
        _, status, usage = os.wait4(pid, 0)
        seconds = time.perf_counter() - begin
        printed = self._stdout.read_bytes()
        if status:
            called = f"{Path(command[0]).name} {env.get('CNI_COMMAND')}"
            raise BenchError(f"{called}: exit status {os.waitstatus_to_exitcode(status)}: {printed!r}")
        return Run(seconds, usage.ru_utime + usage.ru_stime, printed)


@contextmanager
def staying(command: Sequence[str | Path], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs as long as the block, with its stderr in a file."""
    with log.open("wb") as errors, subprocess.Popen(command, stderr=errors, **options) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def require_alive(process: subprocess.Popen[bytes], log: Path) -> None:
    """Raises BenchError with the end of its log when the process has ended."""
    if process.poll() is not None:
        text = log.read_text(errors="replace")[-2000:]
        raise BenchError(f"{Path(str(process.args[0])).name} ended with {process.returncode}:\n{text}")  # type: ignore[index]
