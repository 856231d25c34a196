"""What a plugin author tests: the contract, and the idea."""

from multinic_spread_policy import Spread

from multinic_core import PodReference, SelectionRequest
from multinic_core.testing import check_strategy, example_nic


def test_conforms():
    """The strategy keeps the contract that multinic holds every strategy to."""
    check_strategy(Spread())


def test_pods_spread():
    """Many pods that ask for one NIC each use all of them."""
    candidates = [example_nic(number) for number in range(1, 5)]
    requests = (SelectionRequest("example", PodReference("default", f"pod-{number}")) for number in range(40))
    chosen = [Spread().select(request, candidates).chosen[0] for request in requests]
    assert {chosen.count(nic.ifname) > 3 for nic in candidates} == {True}
