"""The bench of many pods at once can be carried out, small, and its figures fit together."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench" / "throughput.py"


@pytest.mark.needs_root
@pytest.mark.link_kind("veth", "macvlan")
def test_throughput_measures_three_ways_and_prints_one_object():
    """Six pods of two NICs, three at once: all passes of ours and the reference, and the kernel's own limit."""
    command = [sys.executable, BENCH, "--json", "--rounds", "1", "--pods", "6", "--nics", "2", "--at-once", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"name", "machine", "figures", "targets"}
    figures = found["figures"]
    assert (found["name"], figures["pods"], figures["nics"], figures["at_once"]) == ("throughput", 6, 2, 3)
    passes = figures["passes"]
    assert {name: set(each) for name, each in passes.items()} == {
        "kernel": {"attach", "detach"},
        "multinic": {"attach", "detach", "both"},
        "reference": {"attach", "detach", "both"},
    }
    for each in passes.values():
        for one in each.values():
            # Seconds are told to the millisecond, and the bare kernel needs but a few.
            assert 6 / one["pods_per_second"] == pytest.approx(one["seconds"], abs=0.001)
            assert 0 < one["p50_ms"] <= one["p99_ms"] <= one["seconds"] * 1e3
    (target,) = found["targets"]
    assert target["ok"] == (target["value"] <= target["limit"])


def test_throughput_that_cannot_be_carried_out_says_so():
    """Exit status 1, a sentence on stderr and nothing on stdout."""
    command = [sys.executable, BENCH, "--json", "--pods", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("bench not carried out: found 2 rounds of 0 pods")
