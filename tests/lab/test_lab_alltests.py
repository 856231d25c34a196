"""The parts of ``make test``: all are run, every failure is told at the end, and one line closes with the sum."""

import io
import signal
import subprocess
import sys
import time
from pathlib import Path

from multinic_lab.alltests import WHOLE, Part, parts, run
from multinic_lab.emulator.sriov_tests import CANNOT

ROOT = Path(__file__).parents[2]


def says(name: str, text: str, status: int = 0, needed: bool = True) -> Part:
    """A part that prints this and ends so."""
    program = f"import sys; sys.stdout.write({text!r}); sys.exit({status})"
    return Part(name, [sys.executable, "-c", program], needed)


def test_all_passed() -> None:
    """Status 0; outputs come whole and in order; what a part leaves to another one is not in the sum."""
    out = io.StringIO()
    first = says("one", "first words\n===== 3 passed, 9 deselected in 5.00s =====\n")
    assert run([first, says("two", "==== 4 passed, 1 warning in 61.00s (0:01:01) ====\n")], out) == 0
    lines = out.getvalue().splitlines()
    assert lines[:3] == [
        "first words",
        "===== 3 passed, 9 deselected in 5.00s =====",
        "==== 4 passed, 1 warning in 61.00s (0:01:01) ====",
    ]
    assert lines[3:5] == ["one: 3 passed, 9 deselected", "two: 4 passed, 1 warning"]
    assert lines[-1].strip("=").startswith(" 7 passed, 1 warning in ")


def test_a_failure_of_any_part_is_told_at_the_end() -> None:
    """Status 1; tests that failed stand after all outputs, with the part that they are of."""
    out = io.StringIO()
    failing = says("one", "FAILED tests/a.py::b - why\n=== 1 failed, 2 passed, 2 errors in 1.00s ===\n", 1)
    assert run([failing, says("two", "=== 4 passed in 1.00s ===\n")], out) == 1
    said = out.getvalue()
    assert said.index("FAILED tests/a.py::b - why (in: one)") > said.index("=== 4 passed in 1.00s ===")
    assert said.splitlines()[-1].strip("=").startswith(" 1 failed, 2 error, 6 passed in ")


def test_a_part_that_ends_badly_without_a_failure_is_an_error() -> None:
    """A guest that does not boot has no pytest to say so."""
    out = io.StringIO()
    assert run([says("one", "no memory\n", 3), says("two", "=== 4 passed in 1.00s ===\n")], out) == 1
    assert "one: no test ran, yet it ended with status 3: see above" in out.getvalue()
    assert out.getvalue().splitlines()[-1].strip("=").startswith(" 1 error, 4 passed in ")


def test_a_machine_without_the_emulated_pc_passes_and_says_why() -> None:
    """Only the part that may be missing, and only with the status that says so."""
    out = io.StringIO()
    assert run([says("PC", "*** did not run: no qemu\n", CANNOT, needed=False)], out) == 0
    assert "PC: this machine cannot run these tests:\n*** did not run: no qemu\n" in out.getvalue()
    assert run([says("PC", "", CANNOT)], io.StringIO()) == 1
    assert run([says("PC", "", 1, needed=False)], io.StringIO()) == 1


def test_every_folder_is_run_once() -> None:
    """What one of this machine's processes runs is there, and is what the other leaves out."""
    first, second = (part.argv for part in parts()[2:])
    assert [word for word in first if word.startswith("tests/")] == list(WHOLE)
    assert all((ROOT / folder).is_dir() for folder in WHOLE)
    assert [word for word in second if word.startswith("--ignore")] == [f"--ignore={folder}" for folder in WHOLE]
    assert not [word for word in second if word.startswith("tests")]


def test_its_end_is_the_end_of_its_parts(tmp_path: Path) -> None:
    """On SIGTERM nothing that it started is left, and its status is not that of a success."""
    pids = tmp_path / "pids"
    sleeper = ["sh", "-c", f"echo $$ >> {pids}; exec sleep 600"]
    program = (
        f"import multinic_lab.alltests as a\na.parts = lambda: [a.Part(name, {sleeper!r}) for name in 'ab']\na.main()\n"
    )
    runner = subprocess.Popen([sys.executable, "-c", program])
    end = time.monotonic() + 60
    while not pids.exists() or len(pids.read_text().split()) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    runner.terminate()
    assert runner.wait(60) == 128 + signal.SIGTERM
    for pid in pids.read_text().split():
        assert not Path("/proc", pid).exists()
