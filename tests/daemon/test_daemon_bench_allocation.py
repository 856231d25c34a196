"""The allocation bench runs and says what it found in the shape that every bench has."""

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench/allocation.py"


def test_it_prints_one_object_for_programs():
    """Figures per size, and one target per growth exponent, each with its verdict."""
    command = [sys.executable, BENCH, "--json", "--held", "10", "1000", "--runs", "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    report = json.loads(done.stdout)
    assert report["name"] == "allocation"
    assert set(report["figures"]["held"]) == {"10", "1000"}
    assert all(found["allocate_us"] > 0 for found in report["figures"]["held"].values())
    assert [set(target) for target in report["targets"]] == [{"name", "value", "limit", "ok"}] * 2


def test_sizes_that_show_no_growth_are_refused():
    """One size alone has no exponent: the message says what was found and what would do."""
    done = subprocess.run([sys.executable, BENCH, "--held", "5"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--held: found [5], expected at least two" in done.stderr
