"""Every test runs in exactly one kernel: here when this kernel can, else in the lab kernel. None is
skipped."""

import pytest
from multinic_lab.kernel.placement import in_lab_kernel, native_kinds, runs_natively

ELSEWHERE = pytest.StashKey[int]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that belong to this kernel; the rest is deselected and counted."""
    here, elsewhere = [], []
    for item in items:
        kinds = [kind for marker in item.iter_markers("link_kind") for kind in marker.args]
        needs_root = item.get_closest_marker("needs_root") is not None
        native = not (kinds or needs_root) or runs_natively(kinds, needs_root, native_kinds())
        (elsewhere if native == in_lab_kernel() else here).append(item)
    config.stash[ELSEWHERE] = len(elsewhere)
    if elsewhere:
        items[:] = here
        config.hook.pytest_deselected(items=elsewhere)


def pytest_report_collectionfinish(config: pytest.Config) -> str | list[str]:
    """The line that says where the rest runs; none when there is no rest."""
    elsewhere = config.stash.get(ELSEWHERE, 0)
    if not elsewhere:
        return []
    if in_lab_kernel():
        return f"{elsewhere} tests run in this machine's own kernel"
    return f"{elsewhere} tests run in the lab kernel (make test runs them first)"
