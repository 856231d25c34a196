"""The benches can be carried out and say what they found in the one form that programs read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.mark.needs_root
@pytest.mark.link_kind("veth", "macvlan")
def test_attach_measures_both_and_prints_one_object():
    """One run with two NICs: figures of both contenders, targets with their limits, nothing else on stdout."""
    command = [sys.executable, BENCH / "attach.py", "--json", "--runs", "1", "--nics", "1", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"name", "machine", "figures", "targets"}
    assert found["name"] == "attach"
    for step in ("attach", "detach"):
        for count in ("1", "2"):
            both = found["figures"][step][count]
            assert both["reference"]["median_ms"] > 0
            assert both["multinic"]["median_ms"] > 0
    (target,) = found["targets"]
    assert target["limit"] == 1.0
    assert target["ok"] == (target["value"] <= target["limit"])


@pytest.mark.needs_root
@pytest.mark.link_kind("veth")
def test_routes_measures_each_size_and_prints_one_object():
    """Two small clusters: as many routes as nodes, NICs and joins make, and the target of the larger one."""
    command = [sys.executable, BENCH / "routes.py", "--json", "--nodes", "20", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["name"] == "routes"
    assert {size: each["routes"] for size, each in found["figures"].items()} == {"5": 8 * 14, "20": 8 * 29}
    (target,) = found["targets"]
    assert target["name"].startswith("a node joins 20")
    assert target["value"] == pytest.approx(found["figures"]["20"]["join_ms"] / 1000)


@pytest.mark.parametrize("nodes", [["1"], ["8190"]])
def test_routes_refuses_clusters_that_it_cannot_make(nodes: list[str]):
    """Fewer than two nodes, or more than the network has blocks for."""
    command = [sys.executable, BENCH / "routes.py", "--nodes", *nodes]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--nodes" in done.stderr


def test_a_bench_that_cannot_be_carried_out_says_so():
    """Exit status 1, a sentence on stderr and nothing on stdout."""
    command = [sys.executable, BENCH / "attach.py", "--json", "--nics", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("bench not carried out: ")
