"""The bench of one call can be carried out and says what it found in the form that programs read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench" / "executable.py"


@pytest.mark.usefixtures("quick")
def test_executable_measures_every_form_and_prints_one_object():
    """A few runs: figures of each contender, and all targets with their limits."""
    done = subprocess.run(
        [sys.executable, BENCH, "--json", "--runs", "3"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (set(found), found["name"]) == ({"name", "machine", "figures", "targets"}, "executable")
    for times in (found["figures"]["cpu"], found["figures"]["elapsed"]):
        assert set(times) == {"interpreter alone", "multi-nic", "self-contained", "first stage", "/bin/true"}
        assert all(figure["median_ms"] > 0 for figure in times.values())
    assert [target["limit"] for target in found["targets"]] == [1.3, 1.5, 0.5]
    assert all(target["ok"] == (target["value"] <= target["limit"]) for target in found["targets"])


def test_no_runs_are_no_bench():
    """Exit status 1, a sentence on stderr and nothing on stdout."""
    done = subprocess.run(
        [sys.executable, BENCH, "--json", "--runs", "0"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("bench not carried out: ")
