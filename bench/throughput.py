"""How many pods a node can start and stop at once: multinic against the reference plugins and the kernel's own limit.

200 pods with 8 macvlan links each on one node, 32 at once, in three ways: one `multi-nic` process per pod (with a real
daemon and a real journal behind it); as many reference `macvlan` processes with `host-local`, one after another per
pod as a runtime does them; and one bare program that sends the same rtnetlink messages, made beforehand, and does
nothing else. All work on the same NICs and pod namespaces, one way after another. Attaching ends before detaching
begins; after each, independent looks at every pod. A third pass does both for each pod without a pause between,
so that some start while others stop. All this in rounds, of which the medians count. Rates depend on what else the
machine does; the processor time that a pod costs does so much less, so both are shown.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from attach import MOST_NICS, Reference, memory_folder, reference_version
from harness.namespaces import Node, node_with_nics
from harness.processes import Runner
from harness.report import BenchError, Report, Target, carry_out, machine
from harness.stack import Stack, stack
from multinic_lab.provision import tools
from rich.table import Table

PODS, NICS, AT_ONCE = 200, 8, 32
TARGET = 1 / 5
"""The most of the reference's time for the same pods."""
BARE = Path(__file__).parent / "harness" / "bare.py"
PHASES = ("attach", "detach", "both")

Work = Callable[[int, int], None]
"""Do it for the pod of this number, in the worker of this number."""


class Crowd:
    """So many workers, each with files of its own, that take pods in turn."""

    def __init__(self, pods: int, at_once: int) -> None:
        self._pods, self._at_once = pods, at_once

    def do(self, work: Work) -> tuple[float, list[float]]:
        """Seconds for all pods, and for each.

        Raises:
            BenchError: of the first pod that failed; pods not yet begun are left out then.
        """
        turn, taken, failures = iter(range(self._pods)), [0.0] * self._pods, list[BenchError]()

        def serve(worker: int) -> None:
            for pod in turn:  # the iterator is C code, so no two threads get the same number
                begin = time.perf_counter()
                try:
                    work(pod, worker)
                except BenchError as error:
                    failures.append(error)
                if failures:
                    return
                taken[pod] = time.perf_counter() - begin

        threads = [threading.Thread(target=serve, args=(worker,)) for worker in range(self._at_once)]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - begin
        if failures:
            raise failures[0]
        return seconds, taken


class Processes:
    """A contender that runs processes for each pod: what it does to attach and to detach one."""

    def __init__(self, crowd: Crowd, attach: Work, detach: Work, daemon: int = 0) -> None:
        self._crowd, self._attach, self._detach, self._daemon = crowd, attach, detach, daemon

    def __call__(self, check: Callable[[bool], None]) -> dict[str, Any]:
        def both(pod: int, worker: int) -> None:
            self._attach(pod, worker)
            self._detach(pod, worker)

        found = {}
        for phase, work, attached in (("attach", self._attach, True), ("detach", self._detach, False)):
            found[phase] = self._timed(work)
            check(attached)
        found["both"] = self._timed(both)
        check(False)
        return found

    def _timed(self, work: Work) -> dict[str, float]:
        before = processor_seconds(self._daemon)
        seconds, taken = self._crowd.do(work)
        return figures(seconds, taken, processor_seconds(self._daemon) - before)


def processor_seconds(process: int) -> float:
    """Used so far by all processes that the bench has run to their end, and by this one if it is above 0."""
    times = os.times()
    used = times.children_user + times.children_system
    if process:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        used += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used


def figures(seconds: float, taken: Sequence[float], used: float) -> dict[str, float]:
    """What is said about one pass."""
    ordered = sorted(taken)
    last = len(ordered) - 1
    return {
        "seconds": round(seconds, 3),
        "pods_per_second": round(len(ordered) / seconds, 2),
        "p50_ms": round(ordered[round(0.5 * last)] * 1e3, 2),
        "p99_ms": round(ordered[round(0.99 * last)] * 1e3, 2),
        "processor_ms": round(used / len(ordered) * 1e3, 2),
    }


def medians(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each figure of each pass, that of all rounds."""
    return {
        phase: {key: median(each[phase][key] for each in rounds) for key in rounds[0][phase]} for phase in rounds[0]
    }


def reference(node: Node, folder: Path, pods: Sequence[Path], nics: int, crowd: Crowd, at_once: int) -> Processes:
    """The reference plugins; all workers share the folder of leases, as on a node."""
    workers = []
    for worker in range(at_once):
        own = folder / f"reference-{worker}"
        own.mkdir()
        workers.append(Reference(node, own, leases=folder / "leases"))

    def run(command: str, pod: int, worker: int) -> None:
        for position in range(nics):
            workers[worker].run(command, f"pod-{pod}", pods[pod], position)

    return Processes(crowd, lambda pod, worker: run("ADD", pod, worker), lambda pod, worker: run("DEL", pod, worker))


def ours(multinic: Stack, folder: Path, pods: Sequence[Path], nics: int, crowd: Crowd, at_once: int) -> Processes:
    """One process of `multi-nic` for all NICs of a pod."""
    workers = []
    for worker in range(at_once):
        own = folder / f"multinic-{worker}"
        own.mkdir()
        workers.append(replace(multinic, runner=Runner(own)))

    def run(command: str, pod: int, worker: int) -> None:
        workers[worker].call(command, f"pod-{pod}", pods[pod], nics)

    return Processes(
        crowd, lambda pod, worker: run("ADD", pod, worker), lambda pod, worker: run("DEL", pod, worker), multinic.daemon
    )


def kernel(node: Node, pods: Sequence[Path], nics: int, at_once: int) -> Callable[[Callable[[bool], None]], Any]:
    """The bare program, which says itself how long the kernel took."""

    def measure_it(check: Callable[[bool], None]) -> dict[str, Any]:
        command = [sys.executable, str(BARE), str(at_once), ",".join(node.nics[:nics]), *map(str, pods)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            found = {}
            for phase in ("attach", "detach"):
                print(phase, file=process.stdin, flush=True)
                line = process.stdout.readline()
                if not line:
                    raise BenchError("the bare netlink program ended before its time")
                answer = json.loads(line)
                found[phase] = figures(answer["seconds"], answer["taken"], answer["used"])
                check(phase == "attach")
            process.stdin.close()
        return found

    return measure_it


def require_everywhere(pods: Sequence[Path], nics: int, attached: bool) -> None:
    """An independent look into every pod: so many macvlan links, up and with an address, or none at all.

    Raises:
        BenchError: it is not so somewhere.
    """
    batch = "".join(f"netns exec {pod.name} {tools.find('ip')} -json -details address\n" for pod in pods)
    command = [tools.find("ip"), "-batch", "-"]
    done = subprocess.run(command, env=tools.environment(), input=batch, capture_output=True, text=True, check=False)
    decoder, text, seen = json.JSONDecoder(), done.stdout.lstrip(), 0
    while text:
        links, end = decoder.raw_decode(text)
        text, seen = text[end:].lstrip(), seen + 1
        found = [
            link["ifname"]
            for link in links
            if link.get("linkinfo", {}).get("info_kind") == "macvlan"
            and (not attached or ("UP" in link["flags"] and any(a["family"] == "inet" for a in link["addr_info"])))
        ]
        if len(found) != (nics if attached else 0):
            wanted = f"{nics} up and with an address" if attached else "none"
            raise BenchError(f"pod {seen - 1}: found macvlan links {found!r}, expected {wanted}")
    if seen != len(pods):
        raise BenchError(f"looked into {seen} of {len(pods)} pods: {done.stderr.strip()}")


@contextmanager
def namespaces(node: Node, count: int) -> Iterator[list[Path]]:
    """So many fresh pod namespaces."""
    with ExitStack() as all_pods:
        yield [all_pods.enter_context(node.pod()) for _ in range(count)]


def measure(rounds: int, pods: int, nics: int, at_once: int) -> Report:
    """Run everything and compare.

    Raises:
        BenchError: it cannot be carried out here.
    """
    if min(rounds, pods, at_once) < 1 or not 1 <= nics <= MOST_NICS:
        raise BenchError(
            f"found {rounds} rounds of {pods} pods of {nics} NICs, {at_once} at once, expected 1 or more of each and at"
            f" most {MOST_NICS} NICs"
        )
    with ExitStack() as stack_of:
        folder = Path(tempfile.mkdtemp(prefix="multinic-bench-", dir=memory_folder()))
        stack_of.callback(shutil.rmtree, folder)
        node = stack_of.enter_context(node_with_nics(nics))
        multinic = stack_of.enter_context(stack(node, folder))
        paths = stack_of.enter_context(namespaces(node, pods))
        crowd = Crowd(pods, at_once)
        contenders: dict[str, Callable[[Callable[[bool], None]], dict[str, Any]]] = {
            "kernel": kernel(node, paths, nics, at_once),
            "multinic": ours(multinic, folder, paths, nics, crowd, at_once),
            "reference": reference(node, folder, paths, nics, crowd, at_once),
        }
        taken: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
        for number in range(rounds):
            for name in contenders if number % 2 == 0 else reversed(contenders):
                taken[name].append(contenders[name](lambda attached: require_everywhere(paths, nics, attached)))
    found = {name: medians(each) for name, each in taken.items()}
    return report({"rounds": rounds, "pods": pods, "nics": nics, "at_once": at_once}, found)


def report(size: dict[str, int], found: dict[str, dict[str, Any]]) -> Report:
    """Rates, waits and ratios."""
    everything: dict[str, Any] = size | {"passes": found, "ratio": {}}
    pods, nics, at_once = size["pods"], size["nics"], size["at_once"]
    table = Table(
        "",
        *("", "pods/s", "p50 ms", "p99 ms", "CPU ms/pod", "× reference", "of kernel"),
        title=f"{pods} pods of {nics} NICs, {at_once} at once, whole processes, medians of {size['rounds']} rounds",
        title_justify="left",
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for phase in PHASES:
        rate = {name: passes[phase]["pods_per_second"] for name, passes in found.items() if phase in passes}
        everything["ratio"][phase] = round(rate["multinic"] / rate["reference"], 2)
        for position, name in enumerate(rate):
            one = found[name][phase]
            cells = [f"{one[key]:.1f}" for key in ("pods_per_second", "p50_ms", "p99_ms", "processor_ms")]
            cells.append(f"{rate[name] / rate['reference']:.2f}")
            cells.append(f"{rate[name] / rate['kernel']:.2f}" if "kernel" in rate else "")
            table.add_row("" if position else phase, name, *cells, end_section=position == len(rate) - 1)
    table.columns[0].header, table.columns[1].header = "pass", "by"
    seconds = {name: passes["attach"]["seconds"] for name, passes in found.items()}
    part = round(seconds["multinic"] / seconds["reference"], 3)
    target = Target(f"attach {pods} pods: part of the reference's time", part, TARGET)
    return Report("throughput", everything, [target], [table], machine() | {"reference": reference_version()})


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--rounds", type=int, default=2, help="how often all is done (default: %(default)s)")
    parser.add_argument("--pods", type=int, default=PODS, help="how many pods (default: %(default)s)")
    parser.add_argument("--nics", type=int, default=NICS, help="NICs of each (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="pods at once (default: %(default)s)")
    options = parser.parse_args()
    return carry_out(lambda: measure(options.rounds, options.pods, options.nics, options.at_once), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
