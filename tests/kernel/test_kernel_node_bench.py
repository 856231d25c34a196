"""The bench of a node's targets can be carried out, small, and its figures fit together."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench" / "node.py"


@pytest.mark.needs_root
@pytest.mark.link_kind("veth", "macvlan")
def test_node_measures_all_contenders_and_prints_one_object():
    """One run: every step and number of NICs by everyone, the multiples of one NIC, many pods, memory and targets."""
    command = [sys.executable, BENCH, "--json", "--runs", "1", "--cycles", "16", "--rounds", "1", "--pods", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"name", "machine", "figures", "targets"}
    figures = found["figures"]
    assert (found["name"], figures["runs"]) == ("node", 1)
    for step in ("attach", "detach"):
        assert set(figures[step]) == {"1", "8", "16"}
        for who in ("reference", "multinic", "usual", "daemon", "inside", "kernel"):
            one, sixteen = figures[step]["1"][who]["median_ms"], figures[step]["16"][who]["median_ms"]
            assert one > 0
            # milliseconds and multiples are told to two digits
            assert figures["sixteen_to_one"][step][who] == pytest.approx(sixteen / one, abs=0.01)
    assert figures["throughput"]["pods"] == 2
    memory = figures["memory"]
    assert memory["growth"] == pytest.approx(memory["after"] / memory["before"], abs=0.001)
    assert memory["before"] > 1 << 20
    assert len(found["targets"]) == 10
    assert all(target["ok"] == (target["value"] <= target["limit"]) for target in found["targets"])


def test_node_that_cannot_be_carried_out_says_so():
    """Exit status 1, a sentence on stderr and nothing on stdout."""
    command = [sys.executable, BENCH, "--json", "--cycles", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("bench not carried out: found 15 runs, 0 cycles")
