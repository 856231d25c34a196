"""Our own plugins keep the contract that foreign ones are held to."""

import pytest

from multinic_core import ClassId, PodReference, SelectionRequest, load_plugins
from multinic_core.testing import check_ipam, check_main_plugin, check_strategy

REGISTRY = load_plugins()


@pytest.mark.parametrize(
    ("name", "args"),
    [
        pytest.param("ipvlan", {}, id="ipvlan-defaults"),
        pytest.param("ipvlan", {"mode": "l3", "flag": "vepa", "mtu": "1400", "vlan": "100"}, id="ipvlan-all"),
        pytest.param("macvlan", {}, id="macvlan-defaults"),
        pytest.param("macvlan", {"mode": "passthru", "mtu": "1280", "vlan": "4094"}, id="macvlan-all"),
        pytest.param("sriov", {}, id="sriov-defaults"),
        pytest.param("sriov", {"vlan": "210", "vlanQoS": "3", "trust": "on", "mtu": "1400"}, id="sriov-all"),
        pytest.param("host-device", {}, id="host-device-defaults"),
        pytest.param("host-device", {"mtu": "1400"}, id="host-device-mtu"),
        pytest.param("mellanox", {}, id="mellanox"),
        pytest.param("delegate", {"type": "bridge"}, id="delegate"),
        pytest.param("aws-ipvlan", {}, id="aws-ipvlan-defaults"),
        pytest.param("aws-ipvlan", {"mode": "l3s", "mtu": "1280", "region": "eu-west-1"}, id="aws-ipvlan-all"),
    ],
)
def test_main_plugin_conforms(name, args):
    """Each main plugin passes the conformance function with and without arguments."""
    spec = {"subnet": ""} if name == "aws-ipvlan" else {}
    check_main_plugin(REGISTRY.main_plugins[name], args, **spec)


def test_every_main_plugin_is_covered():
    """A main plugin that is added is also held to the contract here."""
    names = sorted(REGISTRY.main_plugins.objects)
    assert names == ["aws-ipvlan", "delegate", "host-device", "ipvlan", "macvlan", "mellanox", "sriov"]


@pytest.mark.parametrize("name", sorted(REGISTRY.strategies.objects))
def test_strategy_conforms(name):
    """Each strategy passes the conformance function, devClass with a class that the example NICs are of."""
    request = None
    if name == "devClass":
        pod = PodReference("default", "pod-1", "uid-1")
        request = SelectionRequest("example", pod, device_class="fast", class_ids=(ClassId("15b3"),))
    check_strategy(REGISTRY.strategies[name], request)


@pytest.mark.parametrize("name", sorted(REGISTRY.ipams.objects))
def test_ipam_conforms(name):
    """Each IPAM passes the conformance function."""
    check_ipam(REGISTRY.ipams[name])


def test_no_plugin_is_left_out():
    """All of our distributions load."""
    assert REGISTRY.problems == []
