"""The operator of a twin as a process, and what the kernel says that a process has used."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import trio

from multinic_lab.cluster.processes import end

STARTED = "operator started"
"""In its log, once it leads and has taken in what there is."""
LOOK_SECONDS = 0.05
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Operator:
    """The operator as its image would start it, with its election."""

    kubeconfig: Path
    log: Path
    process: trio.Process | None = None

    @property
    def pid(self) -> int:
        return self.process.pid if self.process is not None else 0

    async def start(self) -> None:
        command = [sys.executable, "-m", "multinic_operator", "--kubeconfig", str(self.kubeconfig)]
        with self.log.open("ab") as log:
            self.process = await trio.lowlevel.open_process(command, stdin=subprocess.DEVNULL, stderr=log)

    async def stop(self) -> None:
        """SIGTERM, and its end."""
        if self.process is not None:
            await end(self.process)

    def starts(self) -> int:
        """How often an operator has said that it works."""
        return self.log.read_text(encoding="utf-8").count(STARTED) if self.log.exists() else 0

    async def working(self, starts: int) -> None:
        """Wait until it has been said so often."""
        while self.starts() < starts:  # noqa: ASYNC110 -- a file tells nobody
            await trio.sleep(LOOK_SECONDS)


def cpu_seconds(pid: int) -> float:
    """Processor time of a running process, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mib(pid: int) -> float:
    """Most memory that a running process has had resident so far."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024
