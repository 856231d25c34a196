"""``python -m multinic_lab.emulator.sriov_tests [PYTEST ARGUMENTS]``: the tests that need SR-IOV NICs, in the emulated
PC.

One pytest process runs all of them; its report is shown as it comes. A PC in which no test runs is a failure.
"""

import os
import signal
import sys

from ..kernel.kernel_tests import NO_TESTS, pytest_command
from ..kernel.placement import IN_EMULATED_PC, NATIVE_KINDS
from ..kernel.probe import native_link_kinds
from ..provision import tools
from .run import run_in_pc

TIMEOUT_SECONDS = 1800.0
CANNOT = 77
"""Exit status when this machine cannot run the emulated PC. Source: Automake, "Scripts-based Testsuites"."""


def main(arguments: list[str]) -> int:
    """0 when every such test passed; 77 when this machine cannot run the emulated PC, which is said."""
    os.environ |= {IN_EMULATED_PC: "1", NATIVE_KINDS: ",".join(sorted(native_link_kinds()))}
    command, status = pytest_command(arguments)
    if status:
        sys.stdout.write("SR-IOV tests: no test of the marker sriov is selected\n" if status == NO_TESTS else "")
        return status
    sys.stdout.write(
        "SR-IOV tests in the emulated PC (some 20 s until pytest speaks, as its processors are emulated):\n"
    )
    sys.stdout.flush()
    try:
        status = run_in_pc(command, timeout_seconds=TIMEOUT_SECONDS)
    except tools.ToolMissingError as error:
        sys.stdout.write(f"*** SR-IOV tests did not run: {error}\n")
        return CANNOT
    if status:
        sys.stdout.write(f"SR-IOV tests in the emulated PC failed with status {status}\n")
    return status


if __name__ == "__main__":
    # Ended from outside, it still removes what it made.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main(sys.argv[1:]))
