"""Links that a CNI main plugin executable makes: ``spec.plugin.type`` names it, and delegate serves the network."""

import json
from pathlib import Path

import pytest
from multinic_daemon.testing import Rig, addresses, refuse
from multinic_daemon.testing.executables import Executables

from multinic_core.errors import CheckFailedError, ConfigError, ExecutableError, KernelError, MultinicError

PLUGIN = {"type": "fake-plugin", "cniVersion": "0.4.0", "mode": "x"}
NAME = Executables.PLUGIN


@pytest.fixture
def executables(rig: Rig) -> Executables:
    """Executables of this node, in a folder that the daemon was told of."""
    made = Executables(rig.folder / "bin")
    rig.engine.outside.cni_bin = str(made.folder)
    return made


async def test_executable_makes_a_link_on_each_nic_with_addresses_of_the_pools(
    rig: Rig, executables: Executables
) -> None:
    """Each call gets the plugin block, a name, its NIC and a static block; interfaces are numbered as the links are."""
    result = await rig.call("ADD", plugin=PLUGIN)
    assert rig.pod_links() == ["net1-0", "net1-1", "net1-2"]
    assert executables.config("ADD", "net1-1", NAME) == {
        "cniVersion": "0.4.0",
        "type": "fake-plugin",
        "mode": "x",
        "name": "net1-1",
        "master": "eth2",
        "ipam": {"type": "static", "addresses": [{"address": "192.168.64.1/18"}]},
    }
    names = [each["name"] for each in result["interfaces"]]
    assert names == ["net1-0", "net1-1", "net1-2", "host-net1-0", "host-net1-1", "host-net1-2"]
    assert [(ip["interface"], ip["address"]) for ip in result["ips"]] == [
        (0, "192.168.0.1/18"),
        (1, "192.168.64.1/18"),
        (2, "192.168.128.1/18"),
    ]
    await rig.call("CHECK", plugin=PLUGIN, prevResult=result)
    await rig.call("DEL", plugin=PLUGIN)
    assert executables.calls()[-3:] == [f"DEL net1-{number} {NAME}" for number in (2, 1, 0)]
    assert executables.config("DEL", "net1-0", NAME)["prevResult"]["interfaces"][1]["name"] == "net1-0"
    assert executables.given(NAME) == {}
    rig.assert_clean()


async def test_version_is_that_of_the_network_where_the_block_names_none(rig: Rig, executables: Executables) -> None:
    """cniVersion falls back to the outer one."""
    await rig.call("ADD", plugin={"type": "fake-plugin"}, cniVersion="0.4.0")
    assert executables.config("ADD", "net1-0", NAME)["cniVersion"] == "0.4.0"


async def test_failing_executable_leaves_no_link_of_the_others(rig: Rig, executables: Executables) -> None:
    """Links that were made before are removed again, and the error names NIC, link and executable with its code."""
    executables.tell("refuse-ADD-net1-2")
    with pytest.raises(ExecutableError) as refusal:
        await rig.call("ADD", plugin=PLUGIN)
    assert refusal.value.cni_code == 77
    assert str(refusal.value) == (
        f"NIC 'eth3', link 'net1-2': ADD of executable '{executables.folder / NAME}': refused as told"
    )
    assert executables.given(NAME) == {}
    rig.assert_clean()


async def test_failing_del_keeps_row_and_addresses(rig: Rig, executables: Executables) -> None:
    """As long as an executable does not say that its link is gone, the link's address is nobody else's."""
    await rig.call("ADD", plugin=PLUGIN)
    executables.tell("refuse-DEL-net1-1")
    await rig.refused(ExecutableError, "DEL", plugin=PLUGIN)
    (record,) = rig.journal.of_interface("c1", "net1")
    assert (record.state, set(rig.held().values()), rig.pod_links()) == ("deleting", {1}, ["net1-1"])
    executables.untell("refuse-DEL-net1-1")
    await rig.call("DEL", plugin=PLUGIN)
    rig.assert_clean()


async def test_check_asks_the_executable_and_looks_for_its_links(rig: Rig, executables: Executables) -> None:
    """A link that is gone, and one that its executable finds wrong, are differences."""
    result = await rig.call("ADD", plugin=PLUGIN)
    (Path(rig.pod()) / "net1-0").unlink()
    executables.tell("refuse-CHECK-net1-1")
    message = await rig.refused(CheckFailedError, "CHECK", plugin=PLUGIN, prevResult=result)
    assert "link 'net1-0' is missing" in message
    assert "NIC 'eth2', link 'net1-1': CHECK of executable" in message


async def test_add_again_after_its_link_vanished_makes_it_anew(rig: Rig, executables: Executables) -> None:
    """What an executable made is compared as well, and given back before it is asked again."""
    await rig.call("ADD", plugin=PLUGIN)
    (Path(rig.pod()) / "net1-0").unlink()
    await rig.call("ADD", plugin=PLUGIN)
    assert rig.pod_links() == ["net1-0", "net1-1", "net1-2"]
    assert [call.split()[0] for call in executables.calls()] == ["ADD"] * 3 + ["DEL"] * 3 + ["ADD"] * 3


async def test_typo_in_the_plugin_type_names_what_is_there(rig: Rig, executables: Executables) -> None:
    """Neither a main plugin nor an executable: the error says where was looked and what is installed."""
    message = await rig.refused(ExecutableError, "ADD", plugin={"type": "ipvaln"})
    assert message.startswith(f"plugin.type: no executable 'ipvaln' in ['/opt/cni/bin', '{executables.folder}'];")
    assert "installed main plugins are [" in message
    assert "'ipvlan'" in message
    rig.assert_clean()


async def test_addresses_of_an_ipam_executable_reach_the_main_plugin_executable(
    rig: Rig, executables: Executables
) -> None:
    """Both kinds of executable together: first addresses, then links with them, and back in reverse order."""
    result = await rig.call("ADD", plugin=PLUGIN, ipam={"type": "fake-ipam"})
    assert addresses(result) == ["172.20.0.10/16", "172.20.0.11/16", "172.20.0.12/16"]
    assert executables.config("ADD", "net1-0", NAME)["ipam"] == {
        "type": "static",
        "addresses": [{"address": "172.20.0.10/16", "gateway": "172.20.0.1"}],
    }
    executables.tell("refuse-DEL-net1-2")
    await rig.refused(ExecutableError, "DEL")
    assert len(executables.given()) == 3  # no address is free before every link is known to be gone
    executables.untell("refuse-DEL-net1-2")
    await rig.call("DEL")
    assert (executables.given(), executables.given(NAME)) == ({}, {})
    rig.assert_clean()


async def test_ipam_that_needs_the_link_is_left_to_the_executable(rig: Rig, executables: Executables) -> None:
    """dhcp asks over the link, so the executable that makes the link runs it itself."""
    (executables.folder / "dhcp").symlink_to(executables.folder / "fake-ipam")
    await rig.call("ADD", plugin=PLUGIN, ipam={"type": "dhcp"})
    assert executables.config("ADD", "net1-0", NAME)["ipam"] == {"type": "dhcp"}
    assert executables.calls() == [f"ADD net1-{number} {NAME}" for number in range(3)]


async def test_ipam_that_needs_the_link_is_run_when_the_daemon_has_made_it(rig: Rig, executables: Executables) -> None:
    """dhcp on links of our own making is asked when they are there and up, and its addresses are added then."""
    executables.write("dhcp", '[ -e "$CNI_NETNS/$CNI_IFNAME" ] || exit 3\n' + _static("10.7.0.$number/16"), "true")
    result = await rig.call("ADD", ipam={"type": "dhcp"})
    assert addresses(result) == ["10.7.0.0/16", "10.7.0.1/16", "10.7.0.2/16"]
    assert rig.kernel.calls == ["apply", "complete"]
    await rig.call("CHECK", ipam={"type": "dhcp"}, prevResult=result)
    await rig.call("DEL", ipam={"type": "dhcp"})
    rig.assert_clean()


def _static(address: str) -> str:
    return (
        'number=${{CNI_IFNAME##*-}}; touch "$mine"\n'
        f'printf \'{{{{"cniVersion":"0.4.0","ips":[{{{{"version":"4","address":"%s"}}}}]}}}}\' "{address}"\n'
    )


async def test_links_of_executables_get_the_settings_of_several_links(rig: Rig, executables: Executables) -> None:
    """Reverse-path filter and ARP are set on links of any making, when those are there."""
    await rig.call("ADD", plugin=PLUGIN)
    (record,) = rig.journal.of_interface("c1", "net1")
    assert {step.ifname for step in record.plan.sysctls} == {"net1-0", "net1-1", "net1-2"}
    assert rig.kernel.calls == ["complete"]


async def test_routes_reach_the_executable_except_those_with_several_gateways(
    rig: Rig, executables: Executables
) -> None:
    """A route with one gateway is in the block of the link that reaches it; one with several is added by the daemon."""
    routes = [
        {"dst": "10.50.0.0/16", "gw": "192.168.64.9"},
        {"dst": "10.60.0.0/16", "gw": "192.168.0.9"},
        {"dst": "10.60.0.0/16", "gw": "192.168.64.9"},
    ]
    await rig.call("ADD", plugin=PLUGIN, ipam={"type": "multi-nic-ipam", "routes": routes})
    assert "routes" not in executables.config("ADD", "net1-0", NAME)["ipam"]
    assert executables.config("ADD", "net1-1", NAME)["ipam"]["routes"] == routes[:1]
    (record,) = rig.journal.of_interface("c1", "net1")
    (route,) = record.plan.routes
    assert (str(route.dst), route.ifnames) == ("10.60.0.0/16", {"net1-0", "net1-1"})


async def test_refused_routes_remove_the_links_of_executables(rig: Rig, executables: Executables) -> None:
    """What comes after the executables is undone with them."""
    rig.kernel.before_step = refuse("complete")
    await rig.refused(KernelError, "ADD", plugin=PLUGIN)
    assert executables.given(NAME) == {}
    rig.assert_clean()


async def test_executable_that_answers_no_interface_is_refused(rig: Rig, executables: Executables) -> None:
    """An answer without the link that was asked for is no success."""
    executables.write("odd", """echo '{{"cniVersion":"1.0.0","interfaces":[{{"name":"x","sandbox":"/n"}}]}}'""")
    message = await rig.refused(ExecutableError, "ADD", plugin={"type": "odd"})
    assert message == "NIC 'eth1': executable 'odd' answered interfaces ['x'] in the pod, expected 'net1-0'"
    rig.assert_clean()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("exit 3", "failed with status 3"),
        ("echo nonsense; exit 1", "printed 'nonsense'"),
        ("echo nonsense", "expected a CNI result"),
        ("echo '[]'", "expected a CNI result"),
        ("true", "printed nothing"),
        ("echo oops >&2; exit 1", "failed with status 1"),
        ("kill -9 $$", "ended by signal 9"),
        ("head -c 2000000 /dev/zero", "more than 1048576 bytes"),
        ("""echo '{"ips": [{"address": "x"}]}'""", "expected a CNI result"),
    ],
)
async def test_executable_that_breaks_the_protocol_is_named(
    rig: Rig, executables: Executables, body: str, words: str
) -> None:
    """Whatever it does, the error says what it did, and nothing is left."""
    executables.write_text("broken", f"#!/bin/sh\n[ $CNI_COMMAND = ADD ] || exit 0\n{body}\n")
    message = await rig.refused(MultinicError, "ADD", plugin={"type": "broken"})
    assert words in message
    assert "broken" in message
    rig.assert_clean()


async def test_block_without_a_type_is_refused(rig: Rig) -> None:
    """delegate serves any type, but not none."""
    assert "plugin.type: found None" in await rig.refused(ConfigError, "ADD", plugin={})
    assert "plugin.executable" in await rig.refused(ConfigError, "ADD", plugin={"type": "delegate"})


async def test_executable_that_fails_del_as_it_failed_add_keeps_nothing(rig: Rig, executables: Executables) -> None:
    """A configuration that an executable cannot read fails both: its DEL is tried, and keeps no row and no address."""
    executables.write_text(
        "picky",
        '#!/bin/sh\necho "$CNI_COMMAND $CNI_IFNAME picky" >> ' + str(executables.folder / "calls") + "\nexit 1\n",
    )
    await rig.refused(ExecutableError, "ADD", plugin={"type": "picky"})
    assert executables.calls() == ["ADD net1-0 picky", "DEL net1-0 picky"]
    rig.assert_clean()


async def test_failed_add_undoes_what_was_done_and_asks_nobody_else(rig: Rig, executables: Executables) -> None:
    """DEL of those that answered and of the one that failed, and none of those whose turn never came."""
    executables.tell("refuse-ADD-net1-1")
    await rig.refused(ExecutableError, "ADD", plugin=PLUGIN)
    assert executables.calls() == [
        f"{call} {NAME}" for call in ("ADD net1-0", "ADD net1-1", "DEL net1-1", "DEL net1-0")
    ]
    assert executables.config("DEL", "net1-0", NAME)["prevResult"]["interfaces"]


async def test_addresses_that_only_the_executable_knows_have_routes_too(rig: Rig, executables: Executables) -> None:
    """Where it runs the IPAM itself, a destination with several gateways is routed by what it answered."""
    executables.write_text(
        "leasing",
        '#!/bin/sh\ncase $CNI_COMMAND in ADD) ;; *) rm -f "$CNI_NETNS/$CNI_IFNAME"; exit 0 ;; esac\n'
        'link=\'[{\\"step\\":\\"link\\",\\"ifname\\":\\"\'$CNI_IFNAME\'\\",\\"link_kind\\":\\"veth\\",\\"parent\\":\\"\\"\'\n'
        'link=$link\',\\"parent_ifindex\\":0,\\"mtu\\":1500,\\"attributes\\":{},\\"mac_address\\":\\"\\"}]\'\n'
        'printf \'{"group":0,"mac_address":"","mtu":1500,"plan":"%s"}\' "$link" > "$CNI_NETNS/$CNI_IFNAME"\n'
        'printf \'{"cniVersion":"1.0.0","interfaces":[{"name":"%s","sandbox":"x"}],\' "$CNI_IFNAME"\n'
        'printf \'"ips":[{"address":"10.7.%s.5/24","interface":0}]}\' "${CNI_IFNAME##*-}"\n',
    )
    routes = [{"dst": "10.9.0.0/16", "gw": "10.7.0.1"}, {"dst": "10.9.0.0/16", "gw": "10.7.2.1"}]
    result = await rig.call("ADD", plugin={"type": "leasing"}, ipam={"type": "dhcp", "routes": routes})
    assert addresses(result) == ["10.7.0.5/24", "10.7.1.5/24", "10.7.2.5/24"]
    (record,) = rig.journal.of_interface("c1", "net1")
    (route,) = record.plan.routes
    assert route.ifnames == {"net1-0", "net1-2"}
    await rig.call("DEL", plugin={"type": "leasing"})
    rig.assert_clean()


async def test_mac_address_that_the_pod_asks_for_is_given_or_refused(rig: Rig, executables: Executables) -> None:
    """The executable hears of it, and one that gives another has failed."""
    pod = "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b"
    one = {"args": {"cni": {"nics": 1}}}
    for address, good in (("02:00:00:00:00:77", True), ("02:00:00:00:00:78", False)):
        stdin = json.dumps(rig.netconf(plugin=PLUGIN, **one)).encode()
        call = {"stdin": stdin, "args": f"{pod};MAC={address}"}
        if good:
            await rig.call("ADD", "c1", **call)
        else:
            message = await rig.refused(ExecutableError, "ADD", "c2", **call)
            assert "gave 'net1-0' the MAC address '02:00:00:00:00:77', but the pod asks for" in message
        assert executables.config("ADD", "net1-0", NAME)["runtimeConfig"] == {"mac": address}
