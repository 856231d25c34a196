"""What one call of the CNI executable costs beside starting its interpreter for nothing.

`multi-nic` in its three forms, with the host's interpreter, with its own private copy, and with that and a first stage
on MicroPython, take turns with `python3 -I -S -c pass` with the same interpreter and with `/bin/true`. The daemon is a
process that answers at once, so that what is measured is the executable: the processor time of the finished process, in
user space and in the kernel, and the time that passed.
"""

import argparse
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from harness import forms
from harness.processes import Run, Runner
from harness.report import BenchError, Report, Target, carry_out, machine, ratios, summary
from multinic_cni.install import choose_interpreter
from rich.table import Table

NOTHING, LEAST = "interpreter alone", "/bin/true"
LABELS = {forms.USUAL: "multi-nic", forms.PRIVATE: "self-contained", forms.QUICK: "first stage"}
TARGETS = (
    (LABELS[forms.USUAL], NOTHING, 1.3),
    (LABELS[forms.PRIVATE], LABELS[forms.USUAL], 1.5),
    (LABELS[forms.QUICK], LABELS[forms.PRIVATE], 0.5),
)
"""Whose processor time may be at most so many times whose."""
RESULT = b'{"cniVersion":"1.0.0","interfaces":[{"name":"net1-0"}],"ips":[{"address":"10.0.0.2/16","interface":0}]}\n'
NETCONF = b'{"cniVersion":"1.0.0","name":"bench","type":"multi-nic","plugin":{"type":"macvlan"},"ipam":{"type":"x"}}'
ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "bench",
    "CNI_NETNS": "/run/netns/bench",
    "CNI_IFNAME": "net1",
    "CNI_ARGS": "K8S_POD_NAMESPACE=default;K8S_POD_NAME=bench",
    "CNI_PATH": "/opt/cni/bin",
    "PATH": os.defpath,
}


@contextmanager
def daemon(path: Path) -> Iterator[None]:
    """A process on this socket that reads each request to its end and answers it at once."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(8)
    pid = os.fork()
    if not pid:
        while True:
            connection, _ = listener.accept()
            with connection:
                while connection.recv(65536):
                    pass
                connection.sendall(b"0" + RESULT)
    listener.close()
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def measure(runs: int, interpreter: Path) -> Report:
    """Run everything and compare.

    Raises:
        BenchError: it cannot be carried out here.
    """
    if runs < 1:
        raise BenchError(f"found {runs} runs, expected 1 or more")
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="multinic-bench-"))
        stack.callback(shutil.rmtree, folder)
        path, runner = folder / "cni.sock", Runner(folder)
        commands = {NOTHING: [str(interpreter), "-I", "-S", "-c", "pass"]}
        for form in forms.available():
            commands[LABELS[form]] = [str(forms.install_form(form, folder / form, path, interpreter))]
        commands[LEAST] = [LEAST]
        stack.enter_context(daemon(path))
        taken: dict[str, list[Run]] = {name: [] for name in commands}
        for _ in range(runs):
            for name, command in commands.items():
                done = runner.measure(command, ENVIRONMENT, NETCONF)
                if done.printed != (b"" if name in (NOTHING, LEAST) else RESULT):
                    raise BenchError(f"{name}: found {done.printed!r}, expected {RESULT!r}")
                taken[name].append(done)
    return report(runs, interpreter, taken)


def report(runs: int, interpreter: Path, taken: dict[str, list[Run]]) -> Report:
    """Medians and ratios of all that was measured."""
    cpu: dict[str, Any] = {name: summary([run.cpu_seconds for run in done]) for name, done in taken.items()}
    elapsed: dict[str, Any] = {name: summary([run.seconds for run in done]) for name, done in taken.items()}
    tables = []
    for title, times in (("Processor time", cpu), ("Time passed", elapsed)):
        table = Table(
            *("process", "median", "least", "p90", "ratio"),
            title=f"{title}: ms, {runs} runs in turn",
            title_justify="left",
        )
        for column in table.columns[1:]:
            column.justify = "right"
        for name in taken:
            cells = [f"{value:.2f}" for value in times[name].values()]
            table.add_row(name, *cells, f"{ratios(times, name, NOTHING):.2f}")
        tables.append(table)
    targets = [
        Target(f"processor time: {one} / {other}", ratios(cpu, one, other), limit)
        for one, other, limit in TARGETS
        if one in cpu
    ]
    figures = {"runs": runs, "cpu": cpu, "elapsed": elapsed}
    return Report("executable", figures, targets, tables, machine() | {"interpreter": str(interpreter)})


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--runs", type=int, default=300, help="how often each is done (default: %(default)s)")
    parser.add_argument(
        "--interpreter", type=Path, default=choose_interpreter(), help="of the executables (default: %(default)s)"
    )
    options = parser.parse_args()
    return carry_out(lambda: measure(options.runs, options.interpreter), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
