"""``python -m multinic_lab.emulator.sriov_tests [PYTEST ARGUMENTS]``: the tests that need SR-IOV NICs, in the emulated
PC.

One pytest process runs all of them; its report is shown as it comes. A PC in which no test runs is a failure.
"""

import os
import sys
from pathlib import Path

from ..kernel.kernel_tests import NO_TESTS, files_with_tests, pytest_command
from ..kernel.placement import IN_EMULATED_PC
from ..provision import tools
from .run import run_in_pc

FOLDER = "tests/kernel/sriov"
TIMEOUT_SECONDS = 1800.0
CANNOT = 77
"""Exit status when this machine cannot run the emulated PC. Source: Automake, "Scripts-based Testsuites"."""


def main(arguments: list[str]) -> int:
    """0 when every such test passed; 77 when this machine cannot run the emulated PC, which is said."""
    os.environ[IN_EMULATED_PC] = "1"
    pytest = pytest_command(arguments)
    files, status = files_with_tests(pytest, FOLDER)
    if status:
        sys.stdout.write("SR-IOV tests: no test selected\n" if status == NO_TESTS else "")
        return status
    sys.stdout.write("SR-IOV tests in the emulated PC (its processors are slow: half a minute until the first test):\n")
    sys.stdout.flush()
    environment = tools.environment() | {"COLUMNS": os.environ.get("COLUMNS", "120")}
    try:
        status = run_in_pc([*pytest, *files], environment, cwd=Path.cwd(), timeout_seconds=TIMEOUT_SECONDS)
    except tools.ToolMissingError as error:
        sys.stdout.write(f"*** SR-IOV tests did not run: {error}\n")
        return CANNOT
    if status:
        sys.stdout.write(f"SR-IOV tests in the emulated PC failed with status {status}\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
