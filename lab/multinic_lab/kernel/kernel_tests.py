"""``python -m multinic_lab.kernel.kernel_tests [PYTEST ARGUMENTS]``: the kernel tests that this machine's
kernel cannot run, in the lab kernel.

One pytest process in one guest runs all of them; its report is shown as it comes. A guest in which no test
runs is a failure.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .guest import run_in_guest
from .placement import NATIVE_KINDS
from .probe import native_link_kinds

FOLDER = "tests"
MEMORY_MB = 2048
TIMEOUT_SECONDS = 1800.0
NO_TESTS = 5
"""pytest's exit status when nothing was selected. Source: pytest.ExitCode.NO_TESTS_COLLECTED."""


def main(arguments: list[str]) -> int:
    """0 when every such test passed, or when there is none because this kernel runs them all."""
    os.environ[NATIVE_KINDS] = ",".join(sorted(native_link_kinds()))
    command, status = pytest_command(arguments)
    if status == NO_TESTS:
        sys.stdout.write("kernel tests: this machine's kernel runs them all\n")
        return 0
    if status:
        return status
    sys.stdout.write("kernel tests in the lab kernel (this machine's kernel lacks a link kind or a right they need):\n")
    sys.stdout.flush()
    status = run_in_guest(command, memory_mb=MEMORY_MB, timeout_seconds=TIMEOUT_SECONDS)
    if status:
        sys.stdout.write(f"kernel tests in the lab kernel failed with status {status}\n")
    return status


def pytest_command(arguments: Sequence[str]) -> tuple[list[str], int]:
    """pytest's command for the tests of the place that the environment names, and 0 or pytest's exit status when that
    is not to be run: 5 when there is no such test.

    A guest is given only the files that hold such tests, unless `arguments` name some themselves: importing the others
    would take it longer than running these. What pytest says is shown when it fails here.
    """
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    named = any("/" in word and Path(word.partition("::")[0]).exists() for word in arguments)
    listing = subprocess.run(
        [*pytest, *([] if named else [FOLDER]), "--collect-only", "-q"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode not in (0, NO_TESTS):
        sys.stdout.write(listing.stdout + listing.stderr)
    files = dict.fromkeys(line.partition("::")[0] for line in listing.stdout.splitlines() if "::" in line)
    return [*pytest, *([] if named else files)], listing.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
