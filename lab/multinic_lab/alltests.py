"""``python -m multinic_lab.alltests``: every test, each in the kernel that can run it; what ``make test`` runs.

The parts run at once, as none keeps two processors busy: those for the lab kernel, those for the emulated PC, and those
for this machine in two processes. Their outputs are shown one after the other. The end tells every failure of every
part again and closes with one line of pytest's form, whose numbers are those of all parts.
"""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from .emulator.sriov_tests import CANNOT

WHOLE = ("tests/kernel", "tests/lab")
"""Folders of one of this machine's processes, half of the work; the other runs the rest, folders yet to come too."""
POLL_SECONDS = 0.1
END_SECONDS = 30.0
"""From asking a part to end until it is killed."""
SUMMARY = re.compile(r"^=+ (?P<counts>\d+ \w+(?:, \d+ \w+)*) in [\d.]+s.*=+$", re.MULTILINE)
"""Source: pytest, TerminalReporter.summary_stats."""
FAILURE = re.compile(r"^(?:FAILED|ERROR) \S.*$", re.MULTILINE)
REASON = re.compile(r"^(?:\*\*\*|provision emulator:) .*$", re.MULTILINE)
WORST_FIRST = ("failed", "error", "passed")


@dataclass(frozen=True, slots=True)
class Part:
    """Tests that one process runs.

    Attributes:
        name: where, for the reader.
        argv: the process.
        needed: whether this machine must be able to run them; if not, exit status 77 is told and no failure.
    """

    name: str
    argv: Sequence[str]
    needed: bool = True


def parts() -> list[Part]:
    """All tests, each in one of them, in the order in which they are shown."""
    pytest = [sys.executable, "-m", "pytest"]
    emulated = f"make --no-print-directory .tools/.emulator; exec {shlex.quote(sys.executable)}"
    return [
        Part("lab kernel", [sys.executable, "-m", "multinic_lab.kernel.kernel_tests"]),
        Part("emulated PC", ["sh", "-c", f"{emulated} -m multinic_lab.emulator.sriov_tests"], needed=False),
        Part("this machine: " + ", ".join(WHOLE), [*pytest, *WHOLE]),
        # Both would keep what failed last in the same file.
        Part("this machine: the rest", [*pytest, "-p", "no:cacheprovider", *(f"--ignore={name}" for name in WHOLE)]),
    ]


def run(every: Sequence[Part], out: TextIO, asked: Sequence[int] = ()) -> int:
    """Run the parts at once; 0 when all of them ended well. None outlives it.

    Raises:
        SystemExit: `asked` got a signal's number; the status is 128 more.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="multinic-tests-") as folder, ExitStack() as ending:
        running = []
        for number, part in enumerate(every):
            log = Path(folder, str(number))
            with log.open("wb") as file:
                process = subprocess.Popen(part.argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
            ending.callback(_end, process)
            running.append((part, process, log))
        ended = [
            (part, _show(process, log, out, asked), log.read_text(errors="replace")) for part, process, log in running
        ]
    return _conclude(ended, time.monotonic() - began, out)


def _show(process: subprocess.Popen[bytes], log: Path, out: TextIO, asked: Sequence[int]) -> int:
    """Copy the log as it grows until the process has ended; its status."""
    with log.open(encoding="utf-8", errors="replace") as file:
        while True:
            status = process.poll()  # before reading, so that the last words are not missed
            out.write(file.read())
            out.flush()
            if status is not None:
                return status
            if asked:
                sys.exit(128 + asked[0])
            time.sleep(POLL_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that has not ended."""
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _conclude(ended: Sequence[tuple[Part, int, str]], seconds: float, out: TextIO) -> int:
    """Tell the failures, a line for each part, and the sum."""
    counts, told, status = Counter[str](), [], 0
    for part, code, text in ended:
        found = [match["counts"] for match in SUMMARY.finditer(text)]
        own = Counter({word: int(number) for counted in found for number, word in re.findall(r"(\d+) (\w+)", counted)})
        said = ", ".join(found) or "no test ran"
        if not part.needed and code == CANNOT:
            said = "\n".join(["this machine cannot run these tests:", *REASON.findall(text)])
        elif code:
            status = 1
            out.writelines(f"{line} (in: {part.name})\n" for line in FAILURE.findall(text))
            if not own["failed"] + own["error"] + own["errors"]:
                own["error"] += 1
                said += f", yet it ended with status {code}: see above"
        own["error"] += own.pop("errors", 0)
        del own["deselected"]  # another part's own
        counts += own
        told.append(f"{part.name}: {said}\n")
    out.writelines(told)
    words = sorted(
        counts, key=lambda word: (WORST_FIRST.index(word) if word in WORST_FIRST else len(WORST_FIRST), word)
    )
    total = ", ".join(f"{counts[word]} {word}" for word in words) or "no tests ran"
    minutes, rest = divmod(round(seconds), 60)
    out.write(f" {total} in {seconds:.2f}s ({minutes // 60}:{minutes % 60:02}:{rest:02}) ".center(80, "=") + "\n")
    return status


def main() -> None:
    """Run all tests. On SIGTERM what it started is ended first: the signal is noted, as raising from a handler could
    lose a process that is just being started."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    sys.exit(run(parts(), sys.stdout, asked))


if __name__ == "__main__":
    main()
