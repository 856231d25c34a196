"""What choosing NICs costs, strategy by strategy, and with --simulate what it is good for.

Timed is one choice among 32 NICs in use by others, for a pod with two of the node's eight GPUs that asks for four NICs;
each strategy is asked as its pods would ask it. Beside it the steps of the original, written anew from a description.

Simulated are 1,000 pods that come to four nodes of 16 NICs and 8 GPUs and go again, once for each way of choosing: how
even the traffic of the NICs is, and how near they are to the pods' GPUs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median

from harness import original_choice
from harness.gpu_node import SPEED, make_gpus, make_nics
from harness.report import Report, Target, carry_out
from harness.simulation import simulate, ways
from multinic_plugin_policies import multinic_register_strategies
from rich.table import Table

from multinic_core import PodReference, SelectionRequest
from multinic_core.bandwidth import MEGABIT
from multinic_core.selection import ClassId, NicUse

NICS = 32
LIMIT_MICROSECONDS = 200.0
SEED = 20


def requests() -> dict[str, list[SelectionRequest]]:
    """Strategy to what its pods ask, one pod after another with other GPUs and other use of the NICs."""
    nics, gpus = make_nics(NICS), make_gpus()
    found: dict[str, list[SelectionRequest]] = {}
    for turn in range(28):
        use = {
            nic.ifname: NicUse(number * 7 % 5, (number * 11 + turn) % 90 * 1000 * MEGABIT, number * 1e9, turn * 1e9)
            for number, nic in enumerate(nics)
        }
        plain = SelectionRequest(
            "net-a",
            PodReference("default", f"pod-{turn}"),
            nics=4,
            use=use,
            indexes={nic.ifname: number for number, nic in enumerate(nics)},
            devices=(gpus[turn % 8], gpus[(turn + 1 + turn // 8) % 8]),
            labels={"job-name": f"job-{turn}"},
        )
        of_class = {"device_class": "fast", "class_ids": (ClassId("15b3", frozenset({"1021"})),)}
        for name, own in {
            "devClass": of_class,
            "costOpt": {"target": "40Gbps"},
            "perfOpt": {"target": "40Gbps"},
        }.items():
            found.setdefault(name, []).append(replace(plain, **own))
        for name in ("none", "topology", "rail"):
            found.setdefault(name, []).append(plain)
    return found


def timed(choose: Callable[[SelectionRequest], object], asked: list[SelectionRequest], runs: int) -> dict[str, float]:
    """Microseconds of one choice: median, least and ninth decile."""
    seconds = []
    for run in range(runs):
        request = asked[run % len(asked)]
        start = time.perf_counter()
        choose(request)
        seconds.append(time.perf_counter() - start)
    seconds.sort()
    return {
        "median_us": round(median(seconds) * 1e6, 1),
        "least_us": round(seconds[0] * 1e6, 1),
        "p90_us": round(seconds[int(0.9 * (runs - 1))] * 1e6, 1),
    }


def bench(runs: int) -> Report:
    """Every strategy among 32 NICs, ours and the original's."""
    nics, asked = make_nics(NICS), requests()
    figures: dict[str, dict[str, dict[str, float]]] = {}
    table = Table("strategy", "median, µs", "least, µs", "p90, µs", "original, µs", title=f"Choosing 4 of {NICS} NICs")
    for strategy in multinic_register_strategies():
        own = asked[strategy.name]
        found = {"multinic": timed(lambda request, ask=strategy.select: ask(request, nics), own, runs)}
        if strategy.name != "rail":
            found["original"] = timed(partial(original_choice.choose, strategy.name, nics=nics), own, runs)
        figures[strategy.name] = found
        theirs = found.get("original", {}).get("median_us")
        table.add_row(strategy.name, *map(str, found["multinic"].values()), "" if theirs is None else str(theirs))
    targets = [
        Target(f"{name}: microseconds of one choice", found["multinic"]["median_us"], LIMIT_MICROSECONDS)
        for name, found in figures.items()
    ]
    return Report("policies", {"choosing": figures}, targets, [table])


def simulation(pods: int, seed: int) -> Report:
    """Every way of choosing on the same pods."""
    figures = {name: simulate(name, pods, seed) for name in ways(seed)}
    heads = ("way", "spread", "busiest by mean", "overloaded", "same switch", "same NUMA node", "bridges to a GPU")
    table = Table(*heads, title=f"{pods:,} pods on nodes of 16 NICs of {SPEED // 1000} Gbit/s and 8 GPUs")
    for name, found in figures.items():
        table.add_row(name, *map(str, found.values()))
    spread = min(figures[name]["spread"] for name in ("round-robin", "random", "original topology"))
    hops = min(figures[name]["hops"] for name in ("round-robin", "random", "original topology"))
    targets = [
        Target("perfOpt: spread by the best of the others", round(figures["perfOpt"]["spread"] / spread, 3), 1.0),
        Target(
            "topology: bridges to a GPU by the best of the others", round(figures["topology"]["hops"] / hops, 3), 1.0
        ),
    ]
    return Report("policies-simulation", {"pods": pods, "seed": seed, "ways": figures}, targets, [table])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--runs", type=int, default=5000, help="choices of each strategy (default: %(default)s)")
    parser.add_argument("--simulate", action="store_true", help="simulate pods rather than measure time")
    parser.add_argument("--pods", type=int, default=1000, help="pods to simulate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the simulation (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.runs < 1 or arguments.pods < 10:
        parser.error(f"--runs, --pods: found {arguments.runs}, {arguments.pods}, expected at least 1 and 10")
    carried = (
        partial(simulation, arguments.pods, arguments.seed) if arguments.simulate else partial(bench, arguments.runs)
    )
    return carry_out(carried, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
