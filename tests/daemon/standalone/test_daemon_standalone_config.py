"""A standalone network configuration: what it means, and what is refused with the path of the field."""

import json
from typing import Any

import pytest
from multinic_daemon.standalone.config import engine_netconf, read_data_dir, read_document, read_network

from multinic_core import ConfigError, load_plugins
from multinic_core.errors import DecodeError, MultinicError, PluginError
from multinic_core.registry import Owner, Registry

REGISTRY = load_plugins()
POOL = {"interfaceName": "eth1", "podCIDR": "10.0.1.128/25"}


def document(**fields: Any) -> dict[str, Any]:
    """A sound one with these keys changed; None removes."""
    whole = {
        "cniVersion": "1.1.0",
        "name": "fast",
        "type": "multi-nic",
        "standalone": True,
        "subnet": "192.168.0.0/16",
        "masters": ["eth1", "eth2"],
        "ipam": {"type": "multi-nic-ipam", "interfaceBlock": 2, "hostBlock": 6},
        "plugin": {"type": "macvlan", "args": {"mode": "bridge"}},
    } | fields
    return {key: value for key, value in whole.items() if value is not None}


def ipam(**fields: Any) -> dict[str, Any]:
    return {"type": "multi-nic-ipam", "interfaceBlock": 2, "hostBlock": 6} | fields


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        pytest.param({"subnet": None}, ["subnet: missing"], id="no subnet"),
        pytest.param({"subnet": "192.168.0.0"}, ["subnet: found '192.168.0.0'"], id="subnet without length"),
        pytest.param({"subnet": "192.168.0.1/16"}, ["subnet: found '192.168.0.1/16' with host bits"], id="host bits"),
        pytest.param({"subnet": 7}, ["subnet: found 7"], id="subnet is no text"),
        pytest.param({"masters": None}, ["masters: missing"], id="no NICs"),
        pytest.param({"masters": "eth1"}, ["masters: found 'eth1'"], id="masters is no list"),
        pytest.param({"masters": ["eth1", "eth1"]}, ["masters: found ['eth1', 'eth1']"], id="a NIC twice"),
        pytest.param({"masterNets": ["10.0.1.0/24"]}, ["masterNets: found ['10.0.1.0/24'] beside masters"], id="both"),
        pytest.param(
            {"masters": None, "masterNets": ["10.0.1.1/24"]},
            ["masterNets[0]: found '10.0.1.1/24' with host bits"],
            id="masterNets with host bits",
        ),
        pytest.param({"masters": None, "masterNets": ["eth1"]}, ["masterNets.0: found 'eth1'"], id="name for network"),
        pytest.param({"hostIndex": 64}, ["hostIndex: found 64, expected 0 to 63"], id="hostIndex past the blocks"),
        pytest.param({"hostIndex": -1}, ["hostIndex: found -1"], id="hostIndex below 0"),
        pytest.param({"hostIndex": "first"}, ["hostIndex: found 'first'"], id="hostIndex is no number"),
        pytest.param(
            {"ipam": ipam(interfaceBlock=0)},
            ["ipam.interfaceBlock: found 0, which makes 1 blocks for 2 NICs"],
            id="few",
        ),
        pytest.param({"ipam": ipam(hostBlock=20)}, ["ipam.hostBlock: found 20, but"], id="too many bits"),
        pytest.param({"ipam": ipam(hostBlock="x")}, ["ipam.hostBlock: found 'x'"], id="hostBlock is no number"),
        pytest.param({"ipam": {"interfaceBlock": 2}}, ["ipam.type: found None"], id="no IPAM type"),
        pytest.param({"ipam": ipam(excludeCIDRs=["x"])}, ["ipam.excludeCIDRs[0]: found 'x'"], id="bad exclude"),
        pytest.param(
            {"ipam": ipam(excludeCIDRs=["172.16.0.0/24"])}, ["ipam.excludeCIDRs[0]: found '172.16.0.0/24'"], id="afar"
        ),
        pytest.param(
            {"ipam": ipam(excludeCIDRs=["192.168.64.0/24"])}, ["masters[1]: found no address in"], id="all excluded"
        ),
        pytest.param({"plugin": None}, ["plugin.type:"], id="no main plugin"),
        pytest.param({"plugin": {"type": "token/ring"}}, ["plugin.type: found 'token/ring'"], id="unknown main plugin"),
        pytest.param(
            {"plugin": {"type": "macvlan", "args": {"mod": "x"}}}, ["plugin.args.mod: unknown argument"], id="argument"
        ),
        pytest.param({"plugin": {"type": "macvlan", "mode": "x"}}, ["plugin.mode: found 'x'"], id="bad mode, flat"),
        pytest.param({"plugin": {"type": "macvlan", "args": 5}}, ["plugin.args: found 5"], id="args is no object"),
        pytest.param({"attachPolicy": {}}, ["attachPolicy.strategy:"], id="policy without strategy"),
        pytest.param(
            {"attachPolicy": {"strategy": "costOpt", "target": "fast"}},
            ["attachPolicy.target: found 'fast'"],
            id="rate",
        ),
        pytest.param({"pools": [POOL]}, ["pools: found beside subnet"], id="pools and subnet"),
        pytest.param(
            {"subnet": None, "pools": [{"podCIDR": "10.0.0.0/24"}]}, ["pools.0.interfaceName:"], id="pool without NIC"
        ),
        pytest.param(
            {"subnet": None, "pools": [POOL | {"podCIDR": "10.0.1.1/25", "vlanCIDR": "q"}]},
            ["pools[0].podCIDR: found '10.0.1.1/25'", "pools[0].vlanCIDR: found 'q'"],
            id="two faults in a pool",
        ),
        pytest.param(
            {"subnet": None, "pools": [POOL | {"vlanCIDR": "10.0.2.0/24"}]},
            ["pools[0].vlanCIDR: found '10.0.2.0/24', expected a network around 10.0.1.128/25"],
            id="block elsewhere",
        ),
        pytest.param(
            {"subnet": None, "pools": [POOL, POOL | {"interfaceName": "eth2"}]},
            ["pools[1].podCIDR: found '10.0.1.128/25', which overlaps that of pools[0]"],
            id="overlapping pools",
        ),
        pytest.param({"ipam": None, "pools": [POOL]}, ["pools: found some, but ipam.type"], id="pools without IPAM"),
        pytest.param({"name": "a b"}, ["name: found 'a b'"], id="name"),
        pytest.param(
            {"hostIndex": 64, "ipam": ipam(interfaceBlock=0, excludeCIDRs=["x"])},
            ["ipam.interfaceBlock:", "hostIndex:", "ipam.excludeCIDRs[0]:"],
            id="three faults at once",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_its_path(changes, problems):
    """Each problem starts with the path of the field in the configuration, and says what was found."""
    with pytest.raises(ConfigError) as refusal:
        read_network("multi-nic", document(**changes), REGISTRY)
    assert len(refusal.value.problems) == len(problems)
    for found, expected in zip(sorted(refusal.value.problems), sorted(problems), strict=True):
        assert found.startswith(expected)


@pytest.mark.parametrize(
    ("stdin", "error", "word"),
    [
        (b"{", DecodeError, "not JSON"),
        (b"[]", DecodeError, "list"),
        (b'{"standalone": false}', ConfigError, "standalone: found False"),
        (b'{"standalone": "yes"}', ConfigError, "standalone: found 'yes'"),
        (b"{}", ConfigError, "standalone: found None"),
    ],
)
def test_what_is_not_standalone_is_not_served(stdin, error, word):
    """Nothing but an object that says true goes on."""
    with pytest.raises(error, match=word):
        read_document(stdin)


def test_the_journals_folder_is_read_from_any_configuration():
    """However broken the rest of it is: a DEL needs no more than this."""
    assert str(read_data_dir({"plugin": 5})) == "/run/multinic/standalone"
    assert str(read_data_dir({"dataDir": "/x", "hostIndex": "?"})) == "/x"
    for wrong in ("x", 5, None):
        with pytest.raises(ConfigError, match=r"^dataDir: found"):
            read_data_dir({"dataDir": wrong})


@pytest.mark.parametrize("args", [{"mode": "vepa", "mtu": 1400}, {"mode": "vepa", "mtu": "1400"}])
@pytest.mark.parametrize("flat", [False, True], ids=["as a network has them", "as attachment definitions have them"])
def test_arguments_reach_the_engine_with_their_types(args, flat):
    """In either form, as text or not, the engine reads what the operator would have written."""
    plugin = {"type": "macvlan", **args} if flat else {"type": "macvlan", "args": args}
    network = read_network("multi-nic", document(plugin=plugin), REGISTRY)
    read = json.loads(network.netconf)
    assert read["plugin"] == {"type": "macvlan", "cniVersion": "1.1.0", "mode": "vepa", "mtu": 1400}
    assert "standalone" not in read


def test_the_engine_never_reads_that_it_is_standalone():
    """A daemon's engine refuses such a configuration, and it is the same engine."""
    assert json.loads(engine_netconf(document(prevResult={}))) == {
        key: value for key, value in document(prevResult={}).items() if key != "standalone"
    }


def test_the_network_object_is_the_one_a_cluster_would_have():
    """Strategy and its target come from attachPolicy, as in a MultiNicNetwork."""
    policy = {"strategy": "costOpt", "target": "10Gbps"}
    network = read_network("multi-nic", document(attachPolicy=policy), REGISTRY).network
    assert network.name == "fast"
    assert network.spec.attach_policy.to_json() == policy


def test_without_an_ipam_there_are_no_pools():
    """Links without addresses need no subnet; NICs that are named are still used whatever else they are."""
    network = read_network("multi-nic", document(ipam=None, subnet=None), REGISTRY)
    assert (network.pools, network.named) == ((), ("eth1", "eth2"))


def test_as_an_ipam_it_takes_the_nic_of_the_main_plugin():
    """``multi-nic-ipam`` below macvlan: no plugin block, and ``master`` names the NIC."""
    found = document(type="macvlan", master="eth2", masters=None, plugin=None, mode="bridge")
    network = read_network("multi-nic-ipam", found, Registry())
    assert [pool.nic for pool in network.pools] == ["eth2"]
    assert json.loads(network.netconf)["mode"] == "bridge"


class Broken:
    """A main plugin that raises what no plugin may."""

    name = "broken"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def network_config(self, network: Any, nodes: Any) -> Any:
        raise self.error


def test_a_main_plugin_that_raises_is_named_with_its_distribution():
    """The call fails with the plugin's error code; errors of ours pass as they are."""
    registry = Registry()
    registry.main_plugins.objects["broken"] = Broken(ZeroDivisionError("x"))
    registry.main_plugins.owners["broken"] = Owner("their-plugin", "1.2", "broken")
    with pytest.raises(PluginError, match=r"'broken' of their-plugin 1.2 .*ZeroDivisionError"):
        read_network("multi-nic", document(plugin={"type": "broken"}), registry)
    registry.main_plugins.objects["broken"] = Broken(MultinicError("no licence"))
    with pytest.raises(MultinicError, match=r"^no licence$"):
        read_network("multi-nic", document(plugin={"type": "broken"}), registry)


def test_an_installed_ipam_has_the_pools_of_ours() -> None:
    """The subnet is cut by the same keys for each IPAM that is installed; for other names there is nothing to cut."""
    registry = load_plugins()
    ours = read_network("multi-nic", document(), registry).pools
    foreign = document(ipam=ipam(type="foreign", row=7))
    assert read_network("multi-nic", foreign, registry).pools == ()
    registry.ipams.objects["foreign"] = registry.ipams["multi-nic-ipam"]
    assert read_network("multi-nic", foreign, registry).pools == ours
    assert len(ours) == 2
