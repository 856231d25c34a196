"""What the cluster half costs as the cluster grows: digital twins of several sizes, and what they are held to.

A twin (``multinic lab twin``) is the real operator and the daemons' control logic for every node, against the lab's API
server, all on this machine and beside each other: its seconds are those of server, operator and all nodes together.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import trio
from harness.report import BenchError, Report, Target, carry_out
from multinic_lab.twin.phases import Phase
from multinic_lab.twin.report import document, growth, growth_table, parts_table, phase_table
from multinic_lab.twin.run import Wish, run_twins

from multinic_core.errors import MultinicError

SMALL, LARGE = 100, 5000
"""Sizes that have targets of their own, with eight NICs each."""
BOOT_SECONDS = {SMALL: 10.0, LARGE: 120.0}
OPERATOR_MIB = 1024.0
JOIN_WRITES = 8.0
JOIN_SECONDS = 1.0
EXPONENT = 1.05


def targets(found: dict[int, list[Phase]]) -> list[Target]:
    """What was promised of the sizes that were measured."""
    wanted = []
    for nodes, phases in found.items():
        named = {phase.name: phase for phase in phases}
        if nodes in BOOT_SECONDS:
            wanted.append(Target(f"{nodes} nodes ready, seconds", named["boot"].seconds, BOOT_SECONDS[nodes]))
        if nodes == LARGE:
            peak = max(phase.operator_peak_mib for phase in phases)
            wanted.append(Target(f"operator of {nodes} nodes, MiB", peak, OPERATOR_MIB))
    joins = next(phase for phase in found[max(found)] if phase.name == "one node joins")
    wanted.append(Target(f"operator's writes when one joins {max(found)}", joins.operator_writes, JOIN_WRITES))
    wanted.append(Target(f"all know it, seconds, of {max(found)}", joins.seconds, JOIN_SECONDS))
    exponent = growth(found)["boot"]["writes"]
    if exponent is not None:
        wanted.append(Target("growth exponent of writes at the boot", round(exponent, 3), EXPONENT))
    return wanted


def bench(sizes: Sequence[int], nics: int) -> Report:
    """Run twins of these sizes, the smallest first.

    Raises:
        BenchError: a twin did not come to its end.
    """
    wish = Wish(tuple(sorted(sizes)), nics)
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = trio.run(lambda: run_twins(wish, folder=Path(folder), progress=tell))
        except (MultinicError, ExceptionGroup) as error:
            raise BenchError(f"a twin of {sizes} nodes: {error!r}") from error
    tables = [phase_table(nodes, nics, phases) for nodes, phases in found.items()]
    tables += [parts_table(nodes, phases) for nodes, phases in found.items()]
    if len(found) > 1:
        tables.append(growth_table(found))
    return Report("cluster", document(found, nics), targets(found), tables)


def tell(text: str) -> None:
    """Say on stderr how far it is."""
    print(text, file=sys.stderr)


def main() -> int:
    """Print what was found; the exit status says whether it could be carried out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[SMALL, 500, 1000, LARGE], help="nodes of the clusters")
    parser.add_argument("--nics", type=int, default=8, help="NICs of each node")
    parser.add_argument("--json", action="store_true", help="print one JSON object for programs")
    arguments = parser.parse_args()
    return carry_out(lambda: bench(arguments.nodes, arguments.nics), as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
