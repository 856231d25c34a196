"""The lab's specification."""

import copy

import pytest
from multinic_lab.machine.spec import read_spec

from multinic_core.errors import ConfigError

GOOD = {
    "prefix": "mn1",
    "api_port": 6443,
    "networks": [{"index": 0, "bridge_address": "172.20.0.1/24"}, {"index": 1}],
    "nodes": [
        {
            "name": "node-1",
            "nics": [
                {"ifname": "eth0", "network": 0, "address": "172.20.0.11/24,fd00::11/64"},
                {"ifname": "eth1", "network": 1, "address": "10.0.1.1/24", "mtu": 9000},
            ],
        }
    ],
}


def changed(path, value):
    document = copy.deepcopy(GOOD)
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return document


def test_addresses_may_be_one_string_several_or_a_list():
    """One address, several joined by commas, a list and none at all are all lists of addresses."""
    spec = read_spec(GOOD)
    assert [str(a) for a in spec.nodes[0].primary.addresses] == ["172.20.0.11/24", "fd00::11/64"]
    path = ("nodes", 0, "nics", 1, "address")
    assert [str(a) for a in read_spec(changed(path, ["10.0.1.9/24"])).nodes[0].nics[1].addresses] == ["10.0.1.9/24"]
    assert read_spec(changed(path, None)).nodes[0].nics[1].addresses == ()


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("prefix",), "Big_", r"spec\.prefix: .*found 'Big_'"),
        (("prefix",), "lab", "the lab kernel's own"),
        (("api_port",), 0, r"spec\.api_port: .*found 0"),
        (("extra",), 1, r"spec\.extra"),
        (("nodes",), [], r"spec\.nodes"),
        (("nodes", 0, "nics", 1, "network"), 7, r"nics\[eth1\]\.network: 7 is not one of \[0, 1\]"),
        (("nodes", 0, "nics", 1, "ifname"), "eth0", "'eth0' appears twice"),
        (("nodes", 0, "nics", 1, "address"), "10.0.1.300/24", r"spec\.nodes\[0\]\.nics\[1\]\.address"),
        (("nodes", 0, "nics", 0, "address"), None, "needs a NIC with an address on network 0"),
        (("networks", 0, "bridge_address"), None, "needs a bridge_address"),
    ],
)
def test_a_bad_spec_is_refused_with_its_path(path, value, problem):
    """The error says where and what was found."""
    with pytest.raises(ConfigError, match=problem):
        read_spec(changed(path, value))
