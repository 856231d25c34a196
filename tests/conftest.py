"""Every test runs in exactly one kernel: here when this kernel can, else in the lab kernel or the emulated PC. None is
skipped."""

from collections import Counter

import pytest
from multinic_lab.kernel.placement import EMULATED_PC, LAB_KERNEL, NATIVE, here, place

ELSEWHERE = pytest.StashKey[Counter[str]]()
RUN = {
    NATIVE: "",
    LAB_KERNEL: " (make test runs them first)",
    EMULATED_PC: " (make test-sriov; make test runs them too)",
}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that belong to this kernel; the rest is deselected and counted."""
    kept, elsewhere, counts = [], [], Counter[str]()
    for item in items:
        kinds = [kind for marker in item.iter_markers("link_kind") for kind in marker.args]
        needs_root = item.get_closest_marker("needs_root") is not None
        where = place(kinds, needs_root, item.get_closest_marker("sriov") is not None)
        if where == here():
            kept.append(item)
        else:
            elsewhere.append(item)
            counts[where] += 1
    config.stash[ELSEWHERE] = counts
    if elsewhere:
        items[:] = kept
        config.hook.pytest_deselected(items=elsewhere)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """A line for each place that says how many of the rest run there."""
    return [f"{count} tests run in {where}{RUN[where]}" for where, count in config.stash.get(ELSEWHERE, {}).items()]
