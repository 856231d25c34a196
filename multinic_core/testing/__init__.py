"""For plugin authors: one conformance function per register, and example values to test with.

Call the function for your kind of plugin in your own tests; it raises AssertionError with one sentence that says which
part of the contract in :mod:`multinic_core.hookspecs` is broken::

    def test_conforms():
        check_strategy(MyStrategy())

The fake of the Kubernetes port is in :mod:`multinic_core.testing.kube`.
"""

from multinic_core.testing.actions import check_action
from multinic_core.testing.conformance import check_ipam, check_main_plugin, check_strategy
from multinic_core.testing.examples import (
    example_network,
    example_nic,
    example_node,
    example_pool,
    example_request,
    example_vf,
)

__all__ = [
    "check_action",
    "check_ipam",
    "check_main_plugin",
    "check_strategy",
    "example_network",
    "example_nic",
    "example_node",
    "example_pool",
    "example_request",
    "example_vf",
]
