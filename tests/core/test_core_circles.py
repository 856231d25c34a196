"""How the modules of each package hang together."""

from graphlib import TopologicalSorter

import grimp
import pytest


@pytest.mark.parametrize(
    "package", ["multinic_core", "multinic_operator", "multinic_daemon", "multinic_cni", "multinic_lab"]
)
def test_no_modules_import_each_other(package: str) -> None:
    """There is an order in which each module needs only those before it, also for the types it names."""
    graph = grimp.build_graph(package, cache_dir=None)
    order = TopologicalSorter({module: graph.find_modules_directly_imported_by(module) for module in graph.modules})
    order.prepare()  # raises CycleError, which names the circle
    assert order.is_active()
