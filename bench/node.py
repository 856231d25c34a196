"""What a node is held to: ADD and DEL of 1, 8 and 16 NICs, the daemon's own part, many pods at once, and memory.

In turn, in fresh pod namespaces and on the same NICs: the reference plugins and `multi-nic` as whole processes, the
latter in the quickest form and the usual one; the daemon alone, asked by a caller that runs already, whose time is
looked at from outside and, by the daemon itself, from inside; and the kernel alone, which gets the same links,
addresses and ups in two messages made beforehand, and one for the removal. After each step an independent `ip` looks
what is there, and before each the kernel gets a moment to clear away the namespace that the one before had. Then
thousands of pods come and go, and the daemon's memory is looked at; and, as `throughput.py` does it, 200 pods start and
stop.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import throughput
from attach import Ours, Reference, Seconds, memory_folder, reference_version, require_links
from harness.bare import Pod
from harness.forms import USUAL, install_form
from harness.namespaces import Node, node_with_nics
from harness.report import BenchError, Report, Target, carry_out, machine, ratios, summary
from harness.stack import Stack, stack
from rich.table import Table

COUNTS = (1, 8, 16)
STEPS = ("attach", "detach")
AGAINST_REFERENCE = (("attach", 8, 1 / 6), ("attach", 16, 1 / 10), ("detach", 16, 1 / 10))
"""Step, NICs, and the most that multinic may take as a part of the reference's time."""
SIXTEEN_TO_ONE = 1.6
DAEMON_TO_KERNEL = 3.0
"""For attaching 8 NICs."""
GROWTH = 1.02
"""The most that memory may be as a multiple of what it was after warming up."""
WARM_CYCLES, CYCLE_NICS, CYCLES_AT_ONCE = 5000, 8, 8
"""So many cycles before memory is looked at first: the C library's heap takes some thousands to find its size."""
SETTLE_SECONDS = 3
"""For the daemon to write the mirror, before its memory is looked at."""
QUIET_SECONDS = 0.05
"""For the kernel to clear away a namespace, which it does after its end and on the processors that are measured."""
CONTENDERS = ("reference", "multinic", "usual", "daemon", "inside", "kernel")
"""Names of figures and of columns; usual is `multi-nic` with the host's interpreter, inside the daemon's own clock."""

Contender = Callable[[str, Path, int], Seconds]


class Asked:
    """The daemon alone, from a caller's connecting to the end of its answer."""

    def __init__(self, multinic: Stack) -> None:
        self._stack = multinic
        self.inside: dict[int, list[Seconds]] = {}
        """Of the same calls, NICs to what the daemon took from request read to answer written."""

    def __call__(self, container_id: str, netns: Path, count: int) -> Seconds:
        attach, _ = self._stack.ask("ADD", container_id, netns, count)
        require_links(netns, count)
        detach, _ = self._stack.ask("DEL", container_id, netns, count)
        require_links(netns, 0)
        own = self._stack.inside("ADD", container_id), self._stack.inside("DEL", container_id)
        self.inside.setdefault(count, []).append(own)
        return attach, detach


class Kernel:
    """The kernel alone."""

    def __init__(self, node: Node) -> None:
        self._node, self._pods = node, 0

    def __call__(self, container_id: str, netns: Path, count: int) -> Seconds:
        self._pods += 1
        with closing(Pod(self._pods, str(netns), self._node.nics[:count])) as pod:
            attach = timed(pod.attach)
            require_links(netns, count)
            detach = timed(pod.detach)
        require_links(netns, 0)
        return attach, detach


def timed(work: Callable[[], None]) -> float:
    """Seconds."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def take_turns(node: Node, runs: int, contenders: Mapping[str, Contender]) -> dict[tuple[str, int], list[Seconds]]:
    """By contender and NICs; in every second run the last begins."""
    taken: dict[tuple[str, int], list[Seconds]] = {}
    for run in range(runs):
        for count in COUNTS:
            for name in list(contenders) if run % 2 else reversed(contenders):
                with node.pod() as pod:
                    time.sleep(QUIET_SECONDS)
                    taken.setdefault((name, count), []).append(contenders[name](f"{name}-{run}-{count}", pod, count))
    return taken


def memory_bytes(process: int) -> int:
    """What a process has made itself: its part of files, libraries mostly, depends on who else has them open."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith("Anonymous:"))
    return int(kib) << 10


def watch_memory(multinic: Stack, pods: Sequence[Path], cycles: int) -> dict[str, Any]:
    """Bytes after some cycles of ADD and DEL, and again after many more."""
    number = 0

    def cycle(done: int) -> Callable[[int, int], None]:
        def work(turn: int, worker: int) -> None:
            for command in ("ADD", "DEL"):
                multinic.ask(command, f"cycle-{done + turn}", pods[worker], CYCLE_NICS)

        return work

    held = []
    for count in (min(WARM_CYCLES, cycles), cycles):
        throughput.Crowd(count, len(pods)).do(cycle(number))
        number += count
        time.sleep(SETTLE_SECONDS)
        held.append(memory_bytes(multinic.daemon))
    before, after = held
    return {"cycles": cycles, "nics": CYCLE_NICS, "before": before, "after": after, "growth": round(after / before, 4)}


def measure(runs: int, cycles: int, rounds: int, pods: int) -> Report:
    """Run everything and compare.

    Raises:
        BenchError: it cannot be carried out here.
    """
    if min(runs, cycles, rounds, pods) < 1:
        raise BenchError(
            f"found {runs} runs, {cycles} cycles, {rounds} rounds, {pods} pods, expected 1 or more of each"
        )
    with ExitStack() as stack_of:
        folder = Path(tempfile.mkdtemp(prefix="multinic-bench-", dir=memory_folder()))
        stack_of.callback(rmtree, folder)
        node = stack_of.enter_context(node_with_nics(max(COUNTS)))
        multinic = stack_of.enter_context(stack(node, folder))
        usual = replace(multinic, executable=install_form(USUAL, folder / "usual", multinic.socket))
        asked = Asked(multinic)
        contenders: dict[str, Contender] = {
            "reference": Reference(node, folder),
            "multinic": Ours(multinic),
            "usual": Ours(usual),
            "daemon": asked,
            "kernel": Kernel(node),
        }
        taken = take_turns(node, runs, contenders)
        taken |= {("inside", count): found for count, found in asked.inside.items()}
        memory = watch_memory(multinic, stack_of.enter_context(throughput.namespaces(node, CYCLES_AT_ONCE)), cycles)
    many = throughput.measure(rounds, pods, throughput.NICS, throughput.AT_ONCE)
    return report(runs, taken, memory, many)


def report(
    runs: int, taken: Mapping[tuple[str, int], Sequence[Seconds]], memory: dict[str, Any], many: Report
) -> Report:
    """Medians, ratios and targets of all that was measured."""
    figures: dict[str, Any] = {"runs": runs, "memory": memory, "throughput": many.figures, "sixteen_to_one": {}}
    for step, name in enumerate(STEPS):
        figures[name] = {str(count): _compare(taken, step, count) for count in COUNTS}
        one, sixteen = figures[name]["1"], figures[name]["16"]
        figures["sixteen_to_one"][name] = {
            who: round(sixteen[who]["median_ms"] / one[who]["median_ms"], 2) for who in CONTENDERS
        }
    targets = [
        Target(f"{step} {count} NICs: part of the reference's time", figures[step][str(count)]["ratio"], limit)
        for step, count, limit in AGAINST_REFERENCE
    ]
    targets += [
        Target(f"{step} 16 NICs{form}: multiple of 1 NIC", figures["sixteen_to_one"][step][who], SIXTEEN_TO_ONE)
        for step in STEPS
        for who, form in (("multinic", ""), ("usual", ", usual form"))
    ]
    inside = figures["attach"]["8"]["inside_to_kernel"]
    targets += [
        Target("attach 8 NICs inside the daemon: multiple of the kernel's limit", inside, DAEMON_TO_KERNEL),
        *many.targets,
        Target(f"memory after {memory['cycles']} cycles: multiple of before", memory["growth"], GROWTH),
    ]
    tables = [*_step_tables(figures), _many_nics_table(figures), *many.tables, _memory_table(memory)]
    return Report("node", figures, targets, tables, machine() | {"reference": reference_version()})


def _compare(taken: Mapping[tuple[str, int], Sequence[Seconds]], step: int, count: int) -> dict[str, Any]:
    all_of_them: dict[str, Any] = {who: summary([each[step] for each in taken[who, count]]) for who in CONTENDERS}
    return all_of_them | {
        "ratio": ratios(all_of_them, "multinic", "reference"),
        "usual_ratio": ratios(all_of_them, "usual", "reference"),
        "daemon_to_kernel": ratios(all_of_them, "daemon", "kernel"),
        "inside_to_kernel": ratios(all_of_them, "inside", "kernel"),
    }


def _step_tables(figures: Mapping[str, Any]) -> list[Table]:
    tables = []
    for step in STEPS:
        table = Table(
            "NICs",
            *CONTENDERS,
            "of ref.",
            "x kernel",
            title=f"{step.capitalize()}: milliseconds, medians and least of {figures['runs']} runs",
            caption="usual: multi-nic with the host's interpreter; daemon: seen by its caller; inside: by itself;"
            " of ref.: multinic's part of the reference's time; x kernel: multiple of the kernel's inside the daemon",
            title_justify="left",
        )
        for count, found in figures[step].items():
            for name, key in ((count, "median_ms"), ("least", "least_ms")):
                times = {who: found[who][key] for who in CONTENDERS}
                parts = (times["multinic"] / times["reference"], times["inside"] / times["kernel"])
                table.add_row(name, *(f"{each:.2f}" for each in times.values()), f"{parts[0]:.3f}", f"{parts[1]:.2f}")
        tables.append(table)
    return [_to_the_right(table) for table in tables]


def _many_nics_table(figures: Mapping[str, Any]) -> Table:
    table = Table("", *CONTENDERS, title="16 NICs as a multiple of 1 NIC", title_justify="left")
    for step in STEPS:
        for name, key in ((step, "median_ms"), ("least", "least_ms")):
            one, sixteen = figures[step]["1"], figures[step]["16"]
            table.add_row(name, *(f"{sixteen[who][key] / one[who][key]:.2f}" for who in CONTENDERS))
    return _to_the_right(table)


def _memory_table(memory: Mapping[str, Any]) -> Table:
    table = Table("cycles", "before MiB", "after MiB", title="Memory of the daemon", title_justify="left")
    table.add_row(str(memory["cycles"]), *(f"{memory[when] / 2**20:.1f}" for when in ("before", "after")))
    return _to_the_right(table)


def _to_the_right(table: Table) -> Table:
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--runs", type=int, default=15, help="how often each is done (default: %(default)s)")
    parser.add_argument("--cycles", type=int, default=5000, help="pods that come and go (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="of the pods at once (default: %(default)s)")
    parser.add_argument("--pods", type=int, default=throughput.PODS, help="pods at once (default: %(default)s)")
    options = parser.parse_args()
    work = (options.runs, options.cycles, options.rounds, options.pods)
    return carry_out(lambda: measure(*work), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
