"""Commands of the lab that are told to end: nothing that they opened stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SECONDS = 240.0
PROGRAM = """
import sys, tempfile
import trio
from multinic_lab.ending import run_to_end

async def main():
    with tempfile.TemporaryDirectory(dir=sys.argv[1]):
        if sys.argv[2] == "wait":
            await trio.sleep_forever()
        if sys.argv[2] == "fail":
            raise ValueError("as told")
        return 7

print(run_to_end(main))
"""
TWIN = """
from multinic_core.cli import multinic
multinic("lab twin --nodes 10 --alone --processes 1 --sample 1".split())
"""


def ended_by(number: int, command: list[str], sign: str, folder: Path) -> int:
    """The exit status of a command that is sent a signal once such a file is below the folder."""
    environment = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            limit = time.monotonic() + SECONDS
            while not [*folder.rglob(sign)] and process.poll() is None and time.monotonic() < limit:
                time.sleep(0.02)
            assert process.poll() is None
            process.send_signal(number)
            return process.wait(SECONDS)
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_and_is_the_exit_status(tmp_path: Path, number: int) -> None:
    """What the program had opened is closed, and the shell is told which signal it was."""
    assert ended_by(number, ["-c", PROGRAM, str(tmp_path), "wait"], "tmp*", tmp_path) == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_without_a_signal_the_outcome_is_that_of_the_program(tmp_path: Path) -> None:
    """Its value is given, and its error goes on as it is."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path, "end"], capture_output=True, text=True, timeout=SECONDS
    )
    assert (done.returncode, done.stdout) == (0, "7\n")
    failed = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path, "fail"], capture_output=True, text=True, timeout=SECONDS
    )
    assert failed.stderr.splitlines()[-1] == "ValueError: as told"
    assert "ExceptionGroup" not in failed.stderr


def test_a_twin_that_is_told_to_end_leaves_no_folder(tmp_path: Path) -> None:
    """With an operator at work, its logs go with the rest."""
    assert ended_by(signal.SIGTERM, ["-c", TWIN], "operator.log", tmp_path) == 128 + signal.SIGTERM
    assert list(tmp_path.glob("multinic-twin-*")) == []
