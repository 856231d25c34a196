"""What strategies cannot honour is refused: the field, what was found, and what there is or would do."""

from dataclasses import replace
from typing import Any

import pytest
from multinic_plugin_policies import multinic_register_strategies

from multinic_core import PodReference, SelectionError, SelectionRequest
from multinic_core.selection import ClassId, NicUse
from multinic_core.testing import example_nic

ALL = {strategy.name: strategy for strategy in multinic_register_strategies()}
REQUEST = SelectionRequest("example", PodReference("default", "pod-1", "uid-1"))
NICS = [example_nic(number) for number in (1, 2, 3)]
"""Of 25 Gbit/s each, vendor 15b3, product 1019."""
FULL = {nic.ifname: NicUse(3, 25_000_000_000) for nic in NICS}
DOWN = [replace(nic, up=False) for nic in NICS]
SLOW = [replace(nic, speed=0) for nic in NICS]
RAILS = {"eth1": 0, "eth2": 1, "eth3": 2}
JOB = {"labels": {"job-name": "train"}}

FILTERS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown-master": ({"masters": ("eth9",)}, "masters ['eth9'] are not among its NICs ['eth1', 'eth2', 'eth3']"),
    "some-unknown-masters": ({"masters": ("eth1", "eth8", "eth9")}, "masters ['eth8', 'eth9'] are not among"),
    "repeated-master": ({"masters": ("eth2", "eth2")}, "masters ['eth2', 'eth2'] name a NIC twice"),
    "too-many": ({"nics": 4}, "4 NICs asked for, found 3: ['eth1', 'eth2', 'eth3']"),
    "too-many-of-named": ({"nics": 2, "masters": ("eth3",)}, "2 NICs asked for, found 1: ['eth3']; left eth1: not nam"),
    "no-such-class": ({"device_class": "fast"}, "class: found 'fast', expected the name of a DeviceClass"),
    "empty-class": ({"device_class": "fast", "class_ids": ()}, "eth1: vendor 15b3, product 1019: not of 'fast'"),
    "other-vendor": ({"device_class": "fast", "class_ids": (ClassId("8086"),)}, "no NIC can be chosen: eth1: vendor"),
    "other-product": (
        {"device_class": "fast", "class_ids": (ClassId("15b3", frozenset({"101b"})),)},
        "no NIC can be chosen: eth1: vendor 15b3, product 1019: not of 'fast'; eth2: vendor",
    ),
    "all-down": ({"candidates": DOWN}, "no NIC can be chosen: eth1: down or without carrier; eth2: down"),
    "too-many-of-up": ({"candidates": [*NICS[:2], DOWN[2]], "nics": 3}, "found 2: ['eth1', 'eth2']; left eth3: down"),
    "unknown-args": ({"args": {"stric": "true"}}, "attachPolicy.args: found ['stric'], expected some of ["),
    "no-candidates": ({"candidates": []}, "this node has no NIC of it"),
}
"""What four strategies check in the same way."""

NO_TARGET: dict[str, tuple[dict[str, Any], str]] = {
    "target": ({"target": "1Gbps"}, "cannot honour target '1Gbps'; remove it or choose costOpt or perfOpt"),
    "strict": ({"args": {"strict": "false"}}, "attachPolicy.args: found ['strict']"),
}

BANDWIDTH: dict[str, tuple[dict[str, Any], str]] = {
    "unreadable-target": ({"target": "fast"}, "target: found 'fast', expected a number with Gbps"),
    "no-unit": ({"target": "10"}, "target: found '10', expected a number with Gbps"),
    "bytes": ({"target": "10GBps"}, "target: found '10GBps', expected"),
    "negative": ({"target": "-1Gbps"}, "target: found '-1Gbps', expected"),
    "zero": ({"target": "0Gbps"}, "target: found '0Gbps', expected a bandwidth above 0"),
    "more-than-there-is": ({"target": "80Gbps"}, "is 80 Gbit/s, found 75 Gbit/s free to promise on its 3 NICs: eth1"),
    "more-than-nics-have": ({"target": "30Gbps", "nics": 1}, "found 25 Gbit/s free to promise on 1 of its 3 NICs"),
    "more-than-named-have": ({"target": "30Gbps", "masters": ("eth2",)}, "found 25 Gbit/s free to promise on its 1 NI"),
    "all-promised": ({"target": "1Kbps", "use": FULL}, "found 0 bit/s free to promise on its 3 NICs: eth1: 0 bit/s of"),
    "no-speeds": ({"candidates": SLOW}, "no NIC with a known speed: eth1: its speed is not known; eth2"),
    "target-without-speeds": ({"candidates": SLOW, "target": "1Gbps besteffort"}, "no NIC with a known speed"),
    "too-many-of-known": (
        {"candidates": [*NICS[:2], SLOW[2]], "nics": 3},
        "3 NICs asked for, found 2 of known speed: ['eth1', 'eth2']; left eth3: its speed is not known",
    ),
    "strict-no-flag": ({"args": {"strict": "no"}}, "attachPolicy.args.strict: found 'no', expected 'true' or 'false'"),
    "others-args": ({"args": {"label": "job"}}, "attachPolicy.args: found ['label'], expected some of ['strict']"),
}

RAIL: dict[str, tuple[dict[str, Any], str]] = {
    "unknown-master": ({"masters": ("eth9",)}, "masters ['eth9'] are not among"),
    "no-candidates": ({"candidates": []}, "this node has no NIC of it"),
    "too-many": ({"nics": 4, **JOB}, "4 NICs asked for, found 3 rails"),
    "no-job": ({"nics": 1}, "the pod has none of the labels ['training.kubeflow.org/job-name'"),
    "not-the-label": ({"nics": 1, "args": {"label": "team/job"}, **JOB}, "none of the labels ['team/job']"),
    "empty-label": ({"nics": 1, "labels": {"job-name": ""}}, "none of the labels"),
    "some-indexes": ({"indexes": {"eth1": 0}}, "NICs ['eth2', 'eth3'] have no interface index yet"),
    "shared-index": (
        {"indexes": {"eth1": 0, "eth2": 1, "eth3": 1}},
        "NICs 'eth2' and 'eth3' share index 1, expected one NIC per rail",
    ),
    "missing-rail": (
        {"indexes": RAILS, "index_count": 4},
        "rails [0, 1, 2, 3] of job '': this node has no NIC with in",
    ),
    "rails-beyond": ({"args": {"rails": "4"}}, "this node has no NIC with index 3"),
    "rails-below": ({"args": {"rails": "2"}}, "attachPolicy.args.rails: found '2', expected a number above 2"),
    "rails-no-number": ({"args": {"rails": "all"}}, "attachPolicy.args.rails: found 'all', expected a number above 2"),
    "down": ({"candidates": [NICS[0], DOWN[1], NICS[2]]}, "eth2 is down or without carrier; another NIC would be off"),
    "not-named": ({"masters": ("eth1", "eth2")}, "eth3 is not named in masters"),
    "not-of-class": ({"device_class": "fast", "class_ids": (ClassId("8086"),)}, "eth1 is not of class 'fast'"),
    "target": ({"target": "1Gbps"}, "cannot honour target '1Gbps'"),
    "unknown-args": ({"args": {"rail": "1"}}, "attachPolicy.args: found ['rail'], expected some of ['label', 'rails']"),
}

TABLES = {
    "devClass": FILTERS | NO_TARGET,
    "topology": FILTERS | NO_TARGET,
    "costOpt": FILTERS | BANDWIDTH,
    "perfOpt": FILTERS | BANDWIDTH,
    "rail": RAIL,
}


@pytest.mark.parametrize(
    ("name", "asked", "told"),
    [
        pytest.param(name, asked, told, id=f"{name}-{case}")
        for name, table in TABLES.items()
        for case, (asked, told) in table.items()
    ],
)
def test_what_cannot_be_satisfied_fails_loudly(name: str, asked: dict[str, Any], told: str):
    """Nothing falls through to "all" or to fewer NICs."""
    asked = dict(asked)
    candidates = asked.pop("candidates", NICS)
    with pytest.raises(SelectionError) as refused:
        ALL[name].select(replace(REQUEST, **asked), candidates)
    assert str(refused.value).startswith("network 'example': ")
    assert told in str(refused.value)
