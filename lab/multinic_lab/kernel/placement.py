"""Which kernel runs which kernel test: one rule for the native run and for the run in the lab kernel, so that
every test has exactly one place.

The rule reads the test's markers: ``link_kind("ipvlan", …)`` names kinds of link, ``needs_root`` the right to
make network namespaces. The lab kernel's run is told by the environment what the native kernel could do,
since it cannot ask it any more.
"""

import os
from collections.abc import Iterable

from .probe import KINDS, native_link_kinds

NATIVE_KINDS = "MULTINIC_NATIVE_KINDS"
"""Set in the lab kernel's test run: the native kernel's kinds, separated by commas."""


def in_lab_kernel() -> bool:
    """True in the test run inside the lab kernel."""
    return NATIVE_KINDS in os.environ


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
