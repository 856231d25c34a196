"""The bench of strategies runs, and says what it found in the shape that every bench has."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench/policies.py"


def run(*arguments: str) -> Any:
    command = [sys.executable, BENCH, "--json", *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout)


def test_each_strategy_is_timed_beside_the_original():
    """All that are installed; the original has no rails."""
    report = run("--runs", "30")
    assert report["name"] == "policies"
    choosing = report["figures"]["choosing"]
    assert set(choosing) == {"none", "devClass", "topology", "costOpt", "perfOpt", "rail"}
    assert [name for name, found in choosing.items() if "original" not in found] == ["rail"]
    assert all(each["median_us"] >= each["least_us"] > 0 for found in choosing.values() for each in found.values())
    assert [set(target) for target in report["targets"]] == [{"name", "value", "limit", "ok"}] * len(choosing)


def test_the_simulation_is_the_same_again_and_finds_topology_near_and_perfopt_even():
    """By its seed alone: every link of topology is below a GPU's switch, and none loads a NIC beyond its speed."""
    report = run("--simulate", "--pods", "150", "--seed", "3")
    assert report["figures"] == run("--simulate", "--pods", "150", "--seed", "3")["figures"]
    ways = report["figures"]["ways"]
    assert ways["topology"]["same_switch"] == 1
    assert ways["topology"]["hops"] < min(
        ways[other]["hops"] for other in ("random", "round-robin", "original topology")
    )
    assert ways["perfOpt"]["spread"] < min(ways[other]["spread"] for other in ("random", "round-robin", "none"))
    assert ways["perfOpt"]["overloaded"] == ways["costOpt"]["overloaded"] == 0


@pytest.mark.parametrize("arguments", [["--runs", "0"], ["--simulate", "--pods", "1"]])
def test_too_little_to_measure_is_refused(arguments: list[str]):
    """With what was found and what would do."""
    done = subprocess.run([sys.executable, BENCH, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected at least 1 and 10" in done.stderr
