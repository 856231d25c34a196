"""ADD, CHECK and DEL in which executables and actions have a part."""

import json
from pathlib import Path

import pytest
from multinic_daemon.testing import Rig, addresses, refuse
from multinic_daemon.testing.executables import Executables

from multinic_core.errors import (
    CheckFailedError,
    ConfigError,
    ExecutableError,
    KernelError,
    NotReadyError,
    SelectionError,
)

IPAM = {"type": "fake-ipam"}


@pytest.fixture
def executables(rig: Rig) -> Executables:
    """Executables of this node, in a folder that the daemon was told of."""
    made = Executables(rig.folder / "bin")
    rig.engine.outside.cni_bin = str(made.folder)
    return made


async def test_an_ipam_executable_is_asked_once_for_each_link(rig: Rig, executables: Executables) -> None:
    """An IPAM that is not installed as a plugin is run for each link, and its addresses are the links'."""
    result = await rig.call("ADD", ipam=IPAM)
    assert executables.calls() == [f"ADD net1-{number} fake-ipam" for number in range(3)]
    assert addresses(result) == ["172.20.0.10/16", "172.20.0.11/16", "172.20.0.12/16"]
    assert [ip["interface"] for ip in result["ips"]] == [0, 1, 2]
    assert {ip["gateway"] for ip in result["ips"]} == {"172.20.0.1"}
    (record,) = rig.journal.of_interface("c1", "net1")
    assert [str(step.address) for step in record.plan.addresses] == addresses(result)
    assert (record.state, rig.held()) == ("ready", {})
    config, environment = executables.config("ADD", "net1-1"), executables.environment("ADD", "net1-1")
    assert (config["ipam"], config["name"], config["master"], config["cniVersion"]) == (IPAM, "net-a", "eth2", "0.4.0")
    assert environment["CNI_NETNS"] == rig.pod()
    assert environment["CNI_CONTAINERID"] == "c1"
    assert "K8S_POD_NAME=pod-1" in environment["CNI_ARGS"]


async def test_del_lets_the_ipam_executable_free_what_it_gave(rig: Rig, executables: Executables) -> None:
    """DEL calls the executable with the configuration of ADD, whatever the network says by then, last link first."""
    await rig.call("ADD", ipam=IPAM)
    assert len(executables.given()) == 3
    await rig.call("DEL", ipam={"type": "other"})
    assert executables.given() == {}
    assert executables.calls()[3:] == [f"DEL net1-{number} fake-ipam" for number in (2, 1, 0)]
    assert executables.config("DEL", "net1-0")["prevResult"]["ips"][0]["address"] == "172.20.0.10/16"
    rig.assert_clean()
    await rig.call("DEL", ipam=IPAM)
    assert len(executables.calls()) == 6


async def test_del_without_its_namespace_frees_too(rig: Rig, executables: Executables) -> None:
    """What gives addresses is told when the pod's namespace is gone, by an empty CNI_NETNS."""
    await rig.call("ADD", ipam=IPAM)
    for file in Path(rig.pod()).iterdir():
        file.unlink()
    Path(rig.pod()).rmdir()
    await rig.call("DEL", netns="", ipam=IPAM)
    assert executables.given() == {}
    assert executables.environment("DEL", "net1-0")["CNI_NETNS"] == ""


async def test_refusal_of_an_ipam_executable_is_passed_on_and_undone(rig: Rig, executables: Executables) -> None:
    """Its code and words reach the runtime with NIC and executable, and what the others gave is free again."""
    executables.tell("refuse-ADD-net1-1")
    with pytest.raises(ExecutableError) as refusal:
        await rig.call("ADD", ipam=IPAM)
    assert refusal.value.cni_code == 77
    assert "refused as told" in str(refusal.value)
    assert "'eth2'" in str(refusal.value)
    assert str(executables.folder / "fake-ipam") in str(refusal.value)
    assert refusal.value.details == "by a file"
    assert executables.given() == {}
    rig.assert_clean()


async def test_refusal_of_the_kernel_frees_what_an_ipam_executable_gave(rig: Rig, executables: Executables) -> None:
    """Links that cannot be made cost no address."""
    rig.kernel.before_step = refuse("link net1-1")
    await rig.refused(KernelError, "ADD", ipam=IPAM)
    assert executables.given() == {}
    rig.assert_clean()


async def test_failing_release_keeps_the_row_until_it_succeeds(rig: Rig, executables: Executables) -> None:
    """Addresses are free when the executable says so: till then the row stays, to be removed later."""
    await rig.call("ADD", ipam=IPAM)
    executables.tell("refuse-DEL-net1-1")
    await rig.refused(ExecutableError, "DEL", ipam=IPAM)
    (record,) = rig.journal.of_interface("c1", "net1")
    assert record.state == "deleting"
    assert list(executables.given()) == ["c1.net1-1"]
    executables.untell("refuse-DEL-net1-1")
    await rig.call("DEL", ipam=IPAM)
    assert executables.given() == {}
    rig.assert_clean()


async def test_check_asks_the_ipam_executable(rig: Rig, executables: Executables) -> None:
    """An address that its IPAM knows nothing of is a difference."""
    result = await rig.call("ADD", ipam=IPAM)
    await rig.call("CHECK", ipam=IPAM, prevResult=result)
    (executables.folder / "given-fake-ipam" / "c1.net1-2").unlink()
    assert "not given" in await rig.refused(CheckFailedError, "CHECK", ipam=IPAM, prevResult=result)


async def test_missing_executable_is_named_with_where_it_was_looked_for(rig: Rig, executables: Executables) -> None:
    """A typo in ipam.type is told with folders and installed IPAMs, before anything is written."""
    message = await rig.refused(ExecutableError, "ADD", ipam={"type": "host-lokal"})
    assert message == (
        f"ipam.type: no executable 'host-lokal' in ['/opt/cni/bin', '{executables.folder}'];"
        " installed IPAMs are ['multi-nic-ipam']; this node has pools of the network, so its IPAM may have to be"
        " installed in the daemon too"
    )
    rig.assert_clean()


@pytest.mark.parametrize("name", ["multi-nic", "../sh", "a/b", ""])
async def test_ipam_type_that_names_no_executable_is_refused(rig: Rig, executables: Executables, name: str) -> None:
    """Neither a path nor this system itself can be an IPAM."""
    if name:
        assert "ipam.type" in await rig.refused(ConfigError, "ADD", ipam={"type": name})
    rig.assert_clean()


async def test_address_that_the_pod_asks_for_reaches_the_executable(rig: Rig, executables: Executables) -> None:
    """The first address goes to the first link, and the links without one get theirs from the executable."""
    result = await rig.call("ADD", ipam=IPAM, args="K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;IP=172.20.0.200/16")
    assert addresses(result) == ["172.20.0.200/16", "172.20.0.10/16", "172.20.0.11/16"]
    assert executables.config("ADD", "net1-0")["runtimeConfig"] == {"ips": ["172.20.0.200/16"]}
    assert "IP=172.20.0.200/16" in executables.environment("ADD", "net1-0")["CNI_ARGS"]
    assert "IP=" not in executables.environment("ADD", "net1-1")["CNI_ARGS"]


async def test_more_addresses_asked_for_than_links_are_refused(rig: Rig, executables: Executables) -> None:
    """No address of the pod's choice is dropped."""
    wanted = ",".join(f"172.20.0.{number}/16" for number in range(1, 5))
    assert "172.20.0.4" in await rig.refused(ConfigError, "ADD", ipam=IPAM, args=f"IP={wanted}")
    assert executables.calls() == []


async def test_address_that_the_executable_does_not_give_is_refused(rig: Rig, executables: Executables) -> None:
    """An IPAM that gives another address than the pod asks for is no success."""
    executables.write_text(
        "stubborn",
        '#!/bin/sh\n[ $CNI_COMMAND != ADD ] || echo \'{"cniVersion":"1.0.0","ips":[{"address":"10.1.1.1/24"}]}\'\n',
    )
    message = await rig.refused(ExecutableError, "ADD", ipam={"type": "stubborn"}, args="IP=10.1.1.9/24")
    assert "10.1.1.9/24" in message
    rig.assert_clean()


async def test_addresses_of_the_pods_choice_need_no_ipam(rig: Rig) -> None:
    """On a network without an IPAM a pod brings its addresses: first to first link, of each family."""
    result = await rig.call("ADD", ipam={}, args="IP=10.9.0.1/24,10.9.1.1/24,fd00::1/64")
    assert [(ip["interface"], ip["address"]) for ip in result["ips"]] == [
        (0, "10.9.0.1/24"),
        (0, "fd00::1/64"),
        (1, "10.9.1.1/24"),
    ]


async def test_routes_and_name_servers_of_ipam_executables_are_merged(rig: Rig, executables: Executables) -> None:
    """Every link's executable names them; the pod gets each route once, gateways of one destination as one route."""
    executables.tell("routes", json.dumps([{"dst": "10.50.0.0/16"}, {"dst": "10.60.0.0/16", "gw": "172.20.0.9"}]))
    executables.tell("dns", json.dumps({"nameservers": ["10.0.0.53"], "domain": "a"}))
    routes = [{"dst": "10.50.0.0/16", "gw": "172.20.0.7"}, {"dst": "10.50.0.0/16", "gw": "172.20.0.8"}]
    ipam = IPAM | {"routes": routes, "dns": {"nameservers": ["10.0.0.54"], "domain": "b"}}
    result = await rig.call("ADD", ipam=ipam)
    assert result["dns"] == {"nameservers": ["10.0.0.54", "10.0.0.53"], "domain": "b"}
    (record,) = rig.journal.of_interface("c1", "net1")
    found = {str(route.dst): [str(hop.gateway) for hop in (route, *route.others)] for route in record.plan.routes}
    assert found == {"10.50.0.0/16": ["172.20.0.7", "172.20.0.8", "172.20.0.1"], "10.60.0.0/16": ["172.20.0.9"]}
    assert executables.config("ADD", "net1-0")["ipam"]["routes"] == []


def multi_config(**entries: dict[str, object]) -> dict[str, object]:
    return {"type": "multi-config", "ipam_type": "fake-ipam", "args": entries}


async def test_multi_config_gives_each_nic_its_own_block(rig: Rig, executables: Executables) -> None:
    """A NIC's entry is its block; a NIC without one is no NIC of the network, and whoever asks for it hears so."""
    ipam = multi_config(eth1={"range": "a"}, eth3={"range": "b"})
    result = await rig.call("ADD", ipam=ipam)
    assert [interface["name"] for interface in result["interfaces"]] == ["net1-0", "net1-1"]
    assert executables.config("ADD", "net1-0")["ipam"] == {"type": "fake-ipam", "range": "a"}
    assert executables.config("ADD", "net1-1")["ipam"] == {"type": "fake-ipam", "range": "b"}
    assert executables.config("ADD", "net1-1")["master"] == "eth3"
    stdin = json.dumps(rig.netconf(ipam=ipam, args={"cni": {"masters": ["eth2"]}})).encode()
    assert "eth2" in await rig.refused(SelectionError, "ADD", "c2", stdin=stdin)


async def test_whereabouts_keeps_the_pools_of_nics_apart(rig: Rig, executables: Executables) -> None:
    """whereabouts gets network_name, the NIC's, in both modes, unless the configuration names one."""
    (executables.folder / "whereabouts").symlink_to(executables.folder / "fake-ipam")
    await rig.call("ADD", ipam={"type": "whereabouts", "range": "172.20.0.0/16"})
    assert executables.config("ADD", "net1-1")["ipam"]["network_name"] == "eth2"
    ipam = {"type": "multi-config", "ipam_type": "whereabouts", "args": {"eth1": {}, "eth2": {"network_name": "x"}}}
    await rig.call("ADD", "c2", ipam=ipam)
    assert [executables.config("ADD", f"net1-{n}")["ipam"]["network_name"] for n in (0, 1)] == ["eth1", "x"]


@pytest.mark.parametrize(
    ("ipam", "path"),
    [
        ({"type": "multi-config", "args": {"eth1": {}}}, "ipam.ipam_type"),
        ({"type": "multi-config", "ipam_type": "fake-ipam"}, "ipam.args"),
        ({"type": "multi-config", "ipam_type": "fake-ipam", "args": ["eth1"]}, "ipam.args"),
        ({"type": "multi-config", "ipam_type": "fake-ipam", "args": {"eth1": "10.0.0.0/8"}}, "ipam.args.eth1"),
        ({"type": "multi-config", "ipam_type": "fake-ipam", "args": {"eth1": {"type": "x"}}}, "ipam.args.eth1.type"),
        ({"type": "multi-config", "ipam_type": "multi-config", "args": {"eth1": {}}}, "ipam.ipam_type"),
    ],
)
async def test_multi_config_that_cannot_be_read_is_refused(
    rig: Rig, executables: Executables, ipam: dict[str, object], path: str
) -> None:
    """Every fault is told with its field path, before anything is asked."""
    assert path in await rig.refused(ConfigError, "ADD", ipam=ipam)
    assert executables.calls() == []


async def test_addresses_of_an_earlier_plugin_are_used_as_they_are(rig: Rig, executables: Executables) -> None:
    """With addresses in prevResult no IPAM is asked; its links, addresses and routes stay in front of ours."""
    earlier = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "eth0", "sandbox": "/x", "mac": "02:00:00:00:00:01"}],
        "ips": [{"address": "10.244.0.5/24", "interface": 0}, {"address": "192.168.5.7/24"}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {"nameservers": ["10.96.0.10"]},
    }
    result = await rig.call("ADD", ipam=IPAM, prevResult=earlier)
    assert executables.calls() == []
    assert [each["name"] for each in result["interfaces"]] == ["eth0", "net1-0", "net1-1", "net1-2"]
    assert [(ip["address"], ip["interface"]) for ip in result["ips"]] == [("10.244.0.5/24", 0), ("192.168.5.7/24", 1)]
    assert result["routes"] == [{"dst": "0.0.0.0/0"}]
    assert result["dns"] == {"nameservers": ["10.96.0.10"]}
    await rig.call("CHECK", ipam=IPAM, prevResult=result)
    await rig.call("DEL", ipam=IPAM, prevResult=result)
    rig.assert_clean()


async def test_earlier_plugin_without_addresses_for_us_leaves_the_ipam_to_do(rig: Rig) -> None:
    """Addresses of an earlier plugin's own links are its own; ours come from the network's IPAM."""
    earlier = {"interfaces": [{"name": "eth0", "sandbox": "/x"}], "ips": [{"address": "10.244.0.5/24", "interface": 0}]}
    result = await rig.call("ADD", prevResult=earlier)
    assert addresses(result) == ["10.244.0.5/24", "192.168.0.1/18", "192.168.64.1/18", "192.168.128.1/18"]
    assert [ip["interface"] for ip in result["ips"]] == [0, 1, 2, 3]


async def test_same_add_again_asks_no_executable(rig: Rig, executables: Executables) -> None:
    """A runtime that lost the answer gets it again."""
    first = await rig.call("ADD", ipam=IPAM)
    assert await rig.call("ADD", ipam=IPAM) == first
    assert len(executables.calls()) == 3


async def test_gc_frees_what_executables_gave(rig: Rig, executables: Executables) -> None:
    """GC is a DEL for each attachment that nobody lists."""
    await rig.call("ADD", ipam=IPAM)
    await rig.call("ADD", "c2", ipam=IPAM)
    keep = [{"containerID": "c2", "ifname": "net1"}]
    await rig.call("GC", "", netns="", ipam=IPAM, **{"cni.dev/valid-attachments": keep})
    assert list(executables.given()) == ["c2.net1-0", "c2.net1-1", "c2.net1-2"]


async def test_multi_nic_ipam_passes_on_addresses_of_an_earlier_plugin(rig: Rig) -> None:
    """As an IPAM it holds nothing where addresses are given already."""
    earlier = {"cniVersion": "1.1.0", "ips": [{"address": "192.168.5.7/24"}], "dns": {}}
    call = {"executable": "multi-nic-ipam", "masters": ["eth1"], "prevResult": earlier}
    assert await rig.call("ADD", **call) == earlier
    assert rig.held() == {}
    await rig.call("CHECK", **call)
    await rig.call("DEL", **call)
    rig.assert_clean()


async def test_status_says_when_an_executable_is_missing(rig: Rig, executables: Executables) -> None:
    """Before a pod comes: of IPAM and main plugin, and of neither where this daemon does the work itself."""
    for good in (IPAM, multi_config(eth1={}), {"type": "host-device-ipam"}, {}):
        assert await rig.call("STATUS", ipam=good) is None
    assert await rig.call("STATUS", plugin={"type": "fake-plugin"}) is None
    for ipam in ({"type": "nothing"}, multi_config(eth1={}) | {"ipam_type": "nothing"}):
        assert "ipam.type: no executable 'nothing'" in await rig.refused(NotReadyError, "STATUS", ipam=ipam)
    assert "plugin.type: no executable" in await rig.refused(NotReadyError, "STATUS", plugin={"type": "nothing"})


async def test_plain_file_that_an_unmounted_namespace_leaves_is_none(rig: Rig, executables: Executables) -> None:
    """An executable would fail on it for ever, so it hears that the namespace is gone."""
    await rig.call("ADD", ipam=IPAM)
    netns = Path(rig.pod())
    for file in netns.iterdir():
        file.unlink()
    netns.rmdir()
    netns.touch()
    await rig.call("DEL", netns=str(netns), ipam=IPAM)
    assert executables.environment("DEL", "net1-0")["CNI_NETNS"] == ""


async def test_status_of_multi_config_needs_one_of_its_nics(rig: Rig, executables: Executables) -> None:
    """A node that has none of the NICs with an entry cannot serve."""
    assert "eth1: ipam.args has no entry for it" in await rig.refused(
        NotReadyError, "STATUS", ipam=multi_config(ens7={})
    )
