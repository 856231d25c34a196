"""The strategy none: all, named, or as many as asked for."""

from dataclasses import replace

import pytest
from multinic_plugin_policies.none import NoPreference

from multinic_core import PodReference, SelectionError, SelectionRequest
from multinic_core.testing import example_nic

REQUEST = SelectionRequest("example", PodReference("default", "pod-1", "uid-1"))
CANDIDATES = [example_nic(number) for number in (3, 1, 2)]


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        pytest.param({}, ("eth3", "eth1", "eth2"), id="all-in-the-networks-order"),
        pytest.param({"nics": 0}, ("eth3", "eth1", "eth2"), id="zero-means-all"),
        pytest.param({"nics": 2}, ("eth3", "eth1"), id="the-first-ones"),
        pytest.param({"masters": ("eth2", "eth1")}, ("eth2", "eth1"), id="named-in-the-pods-order"),
        pytest.param({"masters": ("eth2", "eth1"), "nics": 1}, ("eth2",), id="named-then-cut"),
    ],
)
def test_choice(asked, chosen):
    """What is asked for decides which NICs are chosen, and in which order."""
    assert NoPreference().select(replace(REQUEST, **asked), CANDIDATES).chosen == chosen


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        pytest.param({"masters": ("eth9",)}, "masters ['eth9'] are not among its NICs", id="unknown-master"),
        pytest.param({"masters": ("eth1", "eth1")}, "name a NIC twice", id="repeated-master"),
        pytest.param({"nics": 4}, "4 NICs asked for, found 3 NICs", id="too-many"),
        pytest.param({"nics": 2, "masters": ("eth1",)}, "2 NICs asked for, found 1 masters", id="too-many-of-named"),
        pytest.param({"device_class": "fast"}, "cannot honour class 'fast'", id="class"),
        pytest.param({"target": "10Gbps"}, "cannot honour target '10Gbps'", id="target"),
    ],
)
def test_what_cannot_be_satisfied_fails_loudly(asked, told):
    """Nothing falls through to "all": the refusal says what was asked and what there is."""
    with pytest.raises(SelectionError) as refused:
        NoPreference().select(replace(REQUEST, **asked), CANDIDATES)
    assert told in str(refused.value)


def test_every_nic_has_a_reason():
    """Taken or left, each NIC is explained."""
    selection = NoPreference().select(replace(REQUEST, masters=("eth1", "eth2"), nics=1), CANDIDATES)
    assert selection.reasons == {
        "eth3": "not named in masters",
        "eth1": "named in masters",
        "eth2": "beyond the 1 asked for",
    }
