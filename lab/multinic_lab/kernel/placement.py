"""Which kernel runs which test: one rule for all of them, so that every test has exactly one place.

The rule reads the test's markers: ``link_kind("ipvlan", …)`` names kinds of link, ``needs_root`` the right to
make network namespaces, ``sriov`` NICs with VFs that a test may do with as it pleases. A machine's own such NICs carry
somebody's traffic, so those tests run in the emulated PC everywhere. The other kernels' runs are told by the
environment where they are, and what the native kernel could do, since they cannot ask it any more.
"""

import os
from collections.abc import Iterable

from .probe import KINDS, native_link_kinds

NATIVE_KINDS = "MULTINIC_NATIVE_KINDS"
"""Set in the test run in another kernel: the native kernel's kinds, separated by commas."""
IN_EMULATED_PC = "MULTINIC_IN_EMULATED_PC"
"""Set in the emulated PC's test run, besides that."""
NATIVE, LAB_KERNEL, EMULATED_PC = "this machine's own kernel", "the lab kernel", "the emulated PC"


def here() -> str:
    """The place of this test run: one of the three."""
    if IN_EMULATED_PC in os.environ:
        return EMULATED_PC
    return LAB_KERNEL if NATIVE_KINDS in os.environ else NATIVE


def place(kinds: Iterable[str], needs_root: bool, sriov: bool) -> str:
    """The one place where a test of these markers runs.

    Raises:
        ValueError: as `runs_natively`.
    """
    if sriov:
        return EMULATED_PC
    kinds = tuple(kinds)
    # Only tests that ask for something pay for the probe.
    native = not (kinds or needs_root) or runs_natively(kinds, needs_root, native_kinds())
    return NATIVE if native else LAB_KERNEL


def native_kinds() -> frozenset[str]:
    """The kinds of the machine's own kernel, from either side."""
    told = os.environ.get(NATIVE_KINDS)
    if told is None:
        return native_link_kinds()
    return frozenset(filter(None, told.split(",")))


def runs_natively(kinds: Iterable[str], needs_root: bool, native: frozenset[str]) -> bool:
    """True when the machine's own kernel can run a test of these markers; `native` is empty when it makes no
    namespaces.

    Raises:
        ValueError: a kind that nobody probes, which would silently send the test to the lab kernel on every
        machine.
    """
    wanted = frozenset(kinds)
    if unknown := wanted - KINDS.keys():
        raise ValueError(f"link_kind: {sorted(unknown)} not among the probed kinds {sorted(KINDS)}")
    return wanted <= native and (bool(native) or not needs_root)
