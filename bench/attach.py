"""How long a pod start waits for its NICs: multinic against the reference plugins, whole processes on a real kernel.

For 1, 2, 4, 8 and 16 macvlan links, one run of `multi-nic` (with a real daemon and a real journal behind it) against
as many runs of the reference `macvlan` with `host-local`, one after another as a runtime does them. Both work on the
same NICs and in fresh pod namespaces, take turns, and are timed from before the spawn to the exit.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harness.forms import FORMS
from harness.namespaces import Node, node_with_nics
from harness.processes import Runner
from harness.report import BenchError, Report, Target, carry_out, machine, ratios, summary
from harness.stack import Stack, stack
from multinic_cni.install import choose_interpreter
from multinic_lab.provision import tools
from rich.table import Table

COUNTS = (1, 2, 4, 8, 16)
TARGETS = ((1, 1.0), (8, 1 / 3))
"""NICs, and the most that attaching them may take as a part of the reference's time."""

MOST_NICS = 32

Seconds = tuple[float, float]
"""Of attaching and of detaching."""


class Reference:
    """The reference macvlan plugin: one process for each NIC, and host-local, which it starts for each address."""

    def __init__(self, node: Node, folder: Path, *, leases: Path | None = None) -> None:
        try:
            self.executable, host_local = tools.find("macvlan"), tools.find("host-local")
        except tools.ToolMissingError as error:
            raise BenchError(str(error)) from error
        self._node, self._runner = node, Runner(folder)
        self._leases = leases or folder / "leases"
        self._path = f"{self.executable.parent}:{host_local.parent}"

    def __call__(self, container_id: str, netns: Path, count: int) -> Seconds:
        attach = sum(self.run("ADD", container_id, netns, position) for position in range(count))
        require_links(netns, count)
        detach = sum(self.run("DEL", container_id, netns, position) for position in range(count))
        require_links(netns, 0)
        return attach, detach

    def run(self, command: str, container_id: str, netns: Path, position: int) -> float:
        nic = self._node.nics[position]
        netconf = {
            "cniVersion": "1.0.0",
            "name": f"reference-{nic}",
            "type": "macvlan",
            "master": nic,
            "mode": "bridge",
            "ipam": {"type": "host-local", "subnet": f"10.{10 + position}.0.0/16", "dataDir": str(self._leases)},
        }
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container_id,
            "CNI_NETNS": str(netns),
            "CNI_IFNAME": f"net1-{position}",
            "CNI_PATH": self._path,
        }
        return self._runner.run(self.executable, environment, json.dumps(netconf).encode())[0]


class Ours:
    """One process of `multi-nic` for all NICs."""

    def __init__(self, multinic: Stack) -> None:
        self._stack = multinic

    def __call__(self, container_id: str, netns: Path, count: int) -> Seconds:
        attach, printed = self._stack.call("ADD", container_id, netns, count)
        interfaces, addresses = json.loads(printed)["interfaces"], json.loads(printed)["ips"]
        if len(interfaces) != count or len(addresses) != count:
            raise BenchError(f"multi-nic: found {printed!r}, expected {count} interfaces with an address each")
        require_links(netns, count)
        detach, _ = self._stack.call("DEL", container_id, netns, count)
        require_links(netns, 0)
        return attach, detach


class Interpreter:
    """The host's interpreter, started in full for nothing: what an executable in Python costs as a rule."""

    def __init__(self, folder: Path) -> None:
        self._script, self._runner = folder / "nothing", Runner(folder)
        self._script.write_text(f"#!{choose_interpreter()} -IS\nimport posix\nposix._exit(0)\n")
        self._script.chmod(0o755)

    def __call__(self) -> float:
        return self._runner.run(self._script, {}, b"")[0]


def require_links(netns: Path, count: int) -> None:
    """An independent look, so that nobody is quick by doing nothing: so many macvlan links, up, each with an address.

    Raises:
        BenchError: it is not so.
    """
    command = [tools.find("ip"), "-netns", netns.name, "-details", "-json", "address"]
    done = subprocess.run(command, env=tools.environment(), capture_output=True, check=True)
    found = [
        link["ifname"]
        for link in json.loads(done.stdout)
        if link.get("linkinfo", {}).get("info_kind") == "macvlan"
        and "UP" in link["flags"]
        and any(address["family"] == "inet" for address in link["addr_info"])
    ]
    if len(found) != count:
        raise BenchError(f"pod {netns.name}: found macvlan links {found!r} up and with an address, expected {count}")


def measure(runs: int, counts: Sequence[int], *, form: str = "") -> Report:
    """Run everything and compare.

    Raises:
        BenchError: it cannot be carried out here.
    """
    if runs < 1 or min(counts) < 1 or max(counts) > MOST_NICS:
        raise BenchError(f"found {runs} runs of {list(counts)} NICs, expected 1 or more of 1 to {MOST_NICS}")
    with ExitStack() as stack_of:
        folder = Path(tempfile.mkdtemp(prefix="multinic-bench-", dir=memory_folder()))
        stack_of.callback(shutil.rmtree, folder)
        node = stack_of.enter_context(node_with_nics(max(counts)))
        multinic = stack_of.enter_context(stack(node, folder, form=form))
        contenders: dict[str, Callable[[str, Path, int], Seconds]] = {
            "reference": Reference(node, folder),
            "multinic": Ours(multinic),
        }
        interpreter = Interpreter(folder)
        starts: list[float] = []
        taken: dict[tuple[str, int], list[Seconds]] = {}
        for run in range(runs):
            for count in counts:
                turn = list(contenders) if run % 2 else list(reversed(contenders))
                for name in turn:
                    with node.pod() as pod:
                        seconds = contenders[name](f"{name}-{run}-{count}", pod, count)
                    taken.setdefault((name, count), []).append(seconds)
                with node.pod():  # so that it is started after the same work as the others
                    starts.append(interpreter())
    return report(runs, counts, taken, starts)


def memory_folder() -> str:
    """A tmpfs, where a node has its run directory: this machine's /run may be on a disk."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for folder in ("/run", "/dev/shm"):
        kinds = [kind for mounted, kind in mounts if mounted == folder]
        if kinds[-1:] == ["tmpfs"]:
            return folder
    raise BenchError("no tmpfs found at /run or /dev/shm")


def report(
    runs: int, counts: Sequence[int], taken: dict[tuple[str, int], list[Seconds]], starts: Sequence[float]
) -> Report:
    """Medians and ratios of all that was measured."""
    figures: dict[str, Any] = {"runs": runs, "interpreter": summary(starts)}
    tables = []
    for step, title in enumerate(("attach", "detach")):
        table = Table(
            "NICs",
            *("reference", "least", "p90", "multinic", "least", "p90", "ratio"),
            title=f"{title.capitalize()}: whole processes, milliseconds, medians of {runs} runs",
            title_justify="left",
        )
        for column in table.columns:
            column.justify = "right"
        figures[title] = {}
        for count in counts:
            both: dict[str, Any] = {
                name: summary([seconds[step] for seconds in taken[name, count]]) for name in ("reference", "multinic")
            }
            both["ratio"] = ratios(both, "multinic", "reference")
            figures[title][str(count)] = both
            cells = [f"{value:.1f}" for name in ("reference", "multinic") for value in both[name].values()]
            table.add_row(str(count), *cells, f"{both['ratio']:.2f}")
        tables.append(table)
    tables[
        0
    ].caption = "the host's interpreter, started for nothing: median {median_ms:.1f}, least {least_ms:.1f}".format(
        **figures["interpreter"]
    )
    targets = [
        Target(f"attach {count} NICs: part of the reference's time", figures["attach"][str(count)]["ratio"], limit)
        for count, limit in TARGETS
        if count in counts
    ]
    return Report("attach", figures, targets, tables, machine() | {"reference": reference_version()})


def reference_version() -> str:
    """Of the reference's Debian package; "unknown" where dpkg does not know it."""
    command = ["dpkg-query", "--show", "--showformat", "${Version}", "containernetworking-plugins"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"containernetworking-plugins {done.stdout or 'unknown'}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--runs", type=int, default=15, help="how often each is done (default: %(default)s)")
    parser.add_argument(
        "--nics", type=int, nargs="+", default=COUNTS, metavar="N", help="numbers of NICs (default: 1 2 4 8 16)"
    )
    parser.add_argument(
        "--form", choices=FORMS, default="", help="of the executables (default: the quickest that can be had here)"
    )
    options = parser.parse_args()
    counts = sorted(set(options.nics))
    return carry_out(lambda: measure(options.runs, counts, form=options.form), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
