"""ADD: what a pod gets, and that a failed one leaves nothing."""

import json
import threading
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from multinic_daemon.engine.lanes import Lane
from multinic_daemon.pools.nodepools import NodePools
from multinic_daemon.recovery.adoption import Adoption
from multinic_daemon.testing import NETWORK, NODE, Rig, Strategy, addresses, refuse

from multinic_core.errors import (
    AddressInUseError,
    ApiError,
    AttachmentExistsError,
    ConfigError,
    ContainerGoneError,
    DaemonUnavailableError,
    DecodeError,
    ExecutableError,
    IncompatibleVersionError,
    InvocationError,
    KernelError,
    PluginError,
    PoolExhaustedError,
    SelectionError,
)
from multinic_core.model import IPPOOLS, NETWORKS
from multinic_core.plan import AddRule, Plan, SetSysctl
from multinic_core.registry import Owner


async def test_add_gives_one_link_and_address_per_nic(rig: Rig) -> None:
    """Interfaces are numbered in the order of the NICs, and each address points at its own."""
    result = await rig.call("ADD")
    assert [interface["name"] for interface in result["interfaces"]] == ["net1-0", "net1-1", "net1-2"]
    assert {interface["sandbox"] for interface in result["interfaces"]} == {rig.pod()}
    assert all(interface["mac"] and interface["mtu"] == 1500 for interface in result["interfaces"])
    assert addresses(result) == ["192.168.0.1/18", "192.168.64.1/18", "192.168.128.1/18"]
    assert [ip["interface"] for ip in result["ips"]] == [0, 1, 2]
    assert rig.pod_links() == ["net1-0", "net1-1", "net1-2"]
    (record,) = rig.journal.of_interface("c1", "net1")
    assert (record.state, record.pod.uid, record.key.network) == ("ready", "u1", NETWORK)


@pytest.mark.parametrize(("version", "keys"), [("0.3.0", {"version"}), ("0.4.0", {"version"}), ("1.0.0", set())])
async def test_answer_is_in_the_callers_version(rig: Rig, version: str, keys: set[str]) -> None:
    """A runtime gets the result in the version its configuration names."""
    result = await rig.call("ADD", cniVersion=version)
    assert result["cniVersion"] == version
    assert set(result["ips"][0]) == {"address", "interface"} | keys
    assert "mtu" not in result["interfaces"][0]


async def test_same_add_again_gets_the_same_answer(rig: Rig) -> None:
    """A runtime that lost the answer asks again and takes no second address."""
    first = await rig.call("ADD")
    assert await rig.call("ADD") == first
    assert set(rig.held().values()) == {1}


async def test_add_again_after_its_links_vanished_attaches_anew(rig: Rig) -> None:
    """An answer is repeated only while it is true."""
    await rig.call("ADD")
    (rig.folder / "netns" / "c1" / "net1-1").unlink()
    await rig.call("ADD")
    assert rig.pod_links() == ["net1-0", "net1-1", "net1-2"]
    assert set(rig.held().values()) == {1}


async def test_add_again_in_another_namespace_cleans_up_first(rig: Rig) -> None:
    """The old namespace's links go before the new one gets any."""
    await rig.call("ADD")
    await rig.call("ADD", netns=rig.pod("other"))
    assert rig.pod_links("c1") == []
    assert rig.pod_links("other") == ["net1-0", "net1-1", "net1-2"]
    assert set(rig.held().values()) == {1}


async def test_interface_name_held_by_another_configuration_is_refused(rig: Rig) -> None:
    """By the specification, ADD on an existing interface is an error when it asks for something else."""
    await rig.call("ADD")
    assert "another configuration" in await rig.refused(
        AttachmentExistsError, "ADD", args="K8S_POD_NAMESPACE=default;K8S_POD_NAME=other"
    )
    rig.add_network("net-b", 1, prefix="172.30")
    assert NETWORK in await rig.refused(AttachmentExistsError, "ADD", name="net-b")
    assert rig.pod_links() == ["net1-0", "net1-1", "net1-2"]


@pytest.mark.parametrize("undo", [True, False])
@pytest.mark.parametrize("step", ["link net1-0", "link net1-1", "link net1-2"])
async def test_refusal_by_the_kernel_leaves_nothing(rig: Rig, step: str, undo: bool) -> None:
    """At whichever link the kernel says no, no link, no row and no address stays."""
    rig.kernel.before_step, rig.kernel.undo = refuse(step), undo
    await rig.refused(KernelError, "ADD")
    rig.assert_clean()


async def test_namespace_that_is_not_there_leaves_nothing(rig: Rig) -> None:
    """A container that died meanwhile is code 3, so that the runtime need not DEL."""
    await rig.refused(ContainerGoneError, "ADD", netns=str(rig.folder / "nothing"))
    rig.assert_clean()


async def test_add_cancelled_before_the_kernel_is_free_leaves_nothing(rig: Rig) -> None:
    """Being stopped while waiting for the kernel is a failure like any other."""
    rig.engine.making = Lane("make links", 1, 8)
    with await rig.engine.making.worker("other"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.call, "ADD")
            await trio.testing.wait_all_tasks_blocked()
            assert rig.journal.unfinished() == []
            nursery.cancel_scope.cancel()
    assert rig.engine.making.idle
    rig.assert_clean()


async def test_add_cancelled_inside_the_kernel_is_finished(rig: Rig) -> None:
    """What the kernel is already doing is not torn apart: the attachment is whole, and DEL takes it."""
    reached, go_on = trio.Event(), threading.Event()
    loop = trio.lowlevel.current_trio_token()

    def wait(step: str) -> None:
        if step == "link net1-1":
            loop.run_sync_soon(reached.set)
            assert go_on.wait(10)

    rig.kernel.before_step = wait
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.call, "ADD")
        await reached.wait()
        nursery.cancel_scope.cancel()
        go_on.set()
    assert rig.pod_links() == ["net1-0", "net1-1", "net1-2"]
    assert rig.journal.unfinished() == []
    await rig.call("DEL")
    rig.assert_clean()


async def test_links_that_cannot_be_undone_keep_their_addresses(rig: Rig) -> None:
    """An address is free only when its link is known to be gone; a later DEL finishes it."""

    def fail(step: str) -> None:
        if step in ("link net1-1", "remove"):
            raise KernelError("no", 16)

    rig.kernel.before_step, rig.kernel.undo = fail, False
    await rig.refused(KernelError, "ADD")
    assert rig.pod_links() == ["net1-0"]
    assert set(rig.held().values()) == {1}
    rig.kernel.before_step = refuse("nothing")
    await rig.call("DEL")
    rig.assert_clean()


async def test_fifty_adds_at_once_get_distinct_addresses(rig: Rig) -> None:
    """No interleaving gives an address twice."""
    given: list[str] = []

    async def add(number: int) -> None:
        given.extend(addresses(await rig.call("ADD", f"c{number}")))

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(add, number)
    assert len(given) == len(set(given)) == 150


async def test_same_add_twice_at_once_is_served_once(rig: Rig) -> None:
    """Calls for one interface wait for each other."""
    results = []

    async def add() -> None:
        results.append(await rig.call("ADD"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(add)
        nursery.start_soon(add)
    assert results[0] == results[1]
    assert set(rig.held().values()) == {1}


async def test_full_pool_says_so_and_changes_nothing(rig: Rig) -> None:
    """Of three pools the second is full: none of them gives an address."""
    rig.add_network("small", 0, prefix="10.9")
    rig.add_pool("small", "eth1", "10.9.0.0/24", "10.9.0.0/18")
    rig.add_pool("small", "eth2", "10.9.64.0/30", "10.9.64.0/18")
    for number in range(2):
        await rig.call("ADD", f"c{number}", name="small")
    assert "small-10.9.64.0-30" in await rig.refused(PoolExhaustedError, "ADD", "c3", name="small")
    assert rig.held() == {"small-10.9.0.0-24": 2, "small-10.9.64.0-30": 2}
    await rig.call("DEL", "c0", name="small")
    await rig.call("ADD", "c3", name="small")


async def test_released_address_rests_until_the_top_is_reached(rig: Rig) -> None:
    """The cursor moves on over DEL, and over a restart of the daemon."""
    await rig.call("ADD")
    await rig.call("DEL")
    assert addresses(await rig.call("ADD"))[0] == "192.168.0.2/18"
    await rig.call("DEL")
    rig.restart()
    assert addresses(await rig.call("ADD"))[0] == "192.168.0.3/18"


async def test_static_addresses_are_given_and_held(rig: Rig) -> None:
    """CNI_ARGS IP= and runtimeConfig.ips name addresses; NICs without one get the next."""
    args = "IP=192.168.64.77/18"
    result = await rig.call("ADD", args=args, runtimeConfig={"ips": ["192.168.128.9/18"]})
    assert addresses(result) == ["192.168.0.1/18", "192.168.64.77/18", "192.168.128.9/18"]
    assert "held by another" in await rig.refused(AddressInUseError, "ADD", "c2", args=args)
    assert "192.168.64" in await rig.refused(AddressInUseError, "ADD", "c2", args="IP=10.1.1.1/24")
    assert addresses(await rig.call("ADD", "c2"))[1] == "192.168.64.1/18"


async def test_addresses_mirrored_by_another_generation_are_not_given(rig: Rig) -> None:
    """What an IPPool object records and this journal does not know belongs to a pod that still runs."""
    rig.add_network("old", 0)
    rig.add_pool(
        "old",
        "eth1",
        "10.8.0.0/24",
        "10.8.0.0/18",
        allocations=[{"pod": "p", "namespace": "default", "index": 1, "address": "10.8.0.1"}],
        excludes=["10.8.0.2/31"],
    )
    assert addresses(await rig.call("ADD", name="old")) == ["10.8.0.4/18"]


async def test_network_configuration_chooses(rig: Rig) -> None:
    """``masters`` names NICs and ``masterNets`` their networks, both in the order given."""
    result = await rig.call("ADD", masters=["eth3", "eth1"])
    assert addresses(result) == ["192.168.128.1/18", "192.168.0.1/18"]
    result = await rig.call("ADD", "c2", masterNets=["10.0.2.0/24", "10.0.1.0/24"])
    assert [ip.split(".")[2] for ip in addresses(result)] == ["64", "0"]


@pytest.mark.parametrize(
    ("cni", "expected"),
    [
        ({"nics": 2}, ["192.168.0.1/18", "192.168.64.1/18"]),
        ({"nics": 0}, ["192.168.0.1/18", "192.168.64.1/18", "192.168.128.1/18"]),
        ({"master": "eth2"}, ["192.168.64.1/18"]),
        ({"masters": ["eth2", "eth1"], "nics": 1}, ["192.168.64.1/18"]),
    ],
)
async def test_pod_arguments_choose(rig: Rig, cni: dict[str, object], expected: list[str]) -> None:
    """``nics`` cuts, ``masters`` names."""
    stdin = json.dumps(rig.netconf() | {"args": {"cni": cni}}).encode()
    assert addresses(await rig.call("ADD", stdin=stdin)) == expected


@pytest.mark.parametrize("cni", [{"nics": 4}, {"masters": ["eth9"]}, {"class": "fast"}])
async def test_pod_arguments_that_cannot_be_had_fail(rig: Rig, cni: dict[str, object]) -> None:
    """Nothing falls through to all NICs."""
    stdin = json.dumps(rig.netconf() | {"args": {"cni": cni}}).encode()
    await rig.refused(SelectionError, "ADD", stdin=stdin)
    rig.assert_clean()


async def test_nic_named_by_master_nets_without_a_pool_is_not_dropped(rig: Rig, autojump_clock: trio.abc.Clock) -> None:
    """A pod does not get fewer NICs in silence: the call fails and may be tried again."""
    await rig.kubernetes.delete(IPPOOLS, "net-a-192.168.64.0-24")
    message = await rig.refused(DaemonUnavailableError, "ADD", masterNets=["10.0.1.0/24", "10.0.2.0/24"])
    assert "'eth2'" in message
    assert "'eth2'" in await rig.refused(DaemonUnavailableError, "ADD")
    assert addresses(await rig.call("ADD", masters=["eth3"])) == ["192.168.128.1/18"]


async def test_add_waits_for_pools_that_are_being_written(rig: Rig, autojump_clock: trio.abc.Clock) -> None:
    """A pod may start before the operator has written the last pool."""
    rig.add_network("new", 0)

    async def write_pool() -> None:
        await trio.sleep(1)
        rig.add_pool("new", "eth1", "10.7.0.0/24", "10.7.0.0/18")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_pool)
        assert addresses(await rig.call("ADD", name="new")) == ["10.7.0.1/18"]


async def test_nic_outside_the_network_is_left_out(rig: Rig) -> None:
    """Without masterNets, a NIC whose network the operator gave no block is not of the network."""
    rig.add_network("two", 2, prefix="10.6")
    assert len(addresses(await rig.call("ADD", name="two"))) == 2


async def test_network_without_ipam_gets_links_without_addresses(rig: Rig) -> None:
    """L2 networks may leave addresses to the pod."""
    result = await rig.call("ADD", ipam={})
    assert len(result["interfaces"]) == 3
    assert "ips" not in result


async def test_route_goes_through_the_link_that_reaches_its_gateway(rig: Rig) -> None:
    """ipam.routes with one gateway become routes in the pod, and part of the result."""
    routes = [{"dst": "10.50.0.0/16", "gw": "192.168.64.254"}]
    result = await rig.call("ADD", ipam={"type": "multi-nic-ipam", "routes": routes})
    assert result["routes"] == routes
    (record,) = rig.journal.of_interface("c1", "net1")
    (route,) = record.plan.routes
    assert (route.ifname, str(route.gateway)) == ("net1-1", "192.168.64.254")


async def test_source_routing_leads_the_networks_routes_through_their_link(rig: Rig) -> None:
    """A route of the network is in the table of its link too, or replies to its far end would take another NIC."""
    routes = [{"dst": "10.50.0.0/16", "gw": "192.168.64.254"}]
    plugin = {"type": "macvlan", "sourceRouting": True}
    await rig.call("ADD", plugin=plugin, ipam={"type": "multi-nic-ipam", "routes": routes})
    (record,) = rig.journal.of_interface("c1", "net1")
    far = [route for route in record.plan.routes if route.gateway]
    assert [(route.ifname, str(route.dst), route.table) for route in far] == [
        ("net1-1", "10.50.0.0/16", 254),
        ("net1-1", "10.50.0.0/16", 1101),
    ]
    assert [rule.table for rule in record.rules] == [1100, 1101, 1102]


async def test_several_gateways_of_one_destination_make_one_route(rig: Rig) -> None:
    """Traffic is spread over next hops; with source routing each link's table has those that the link reaches."""
    gateways = ["192.168.0.254", "192.168.64.254", "192.168.64.253"]
    routes = [{"dst": "10.50.0.0/16", "gw": gateway} for gateway in gateways]
    plugin = {"type": "macvlan", "sourceRouting": True}
    result = await rig.call("ADD", plugin=plugin, ipam={"type": "multi-nic-ipam", "routes": routes})
    assert result["routes"] == routes
    (record,) = rig.journal.of_interface("c1", "net1")
    far = [route for route in record.plan.routes if route.gateway]
    hops = {route.table: [(hop.ifname, str(hop.gateway)) for hop in (route, *route.others)] for route in far}
    assert hops == {
        254: [("net1-0", gateways[0]), ("net1-1", gateways[1]), ("net1-1", gateways[2])],
        1100: [("net1-0", gateways[0])],
        1101: [("net1-1", gateways[1]), ("net1-1", gateways[2])],
    }


@pytest.mark.parametrize(
    ("routes", "error"),
    [
        ([{"dst": "10.50.0.0/16"}], ConfigError),
        ([{"dst": "10.50.0.0/16", "gw": "10.0.0.1"}], ConfigError),
        ([{"dst": "nonsense", "gw": "192.168.0.1"}], ConfigError),
        ([{"dst": "fd00::/8", "gw": "192.168.0.1"}], ConfigError),
        ("10.50.0.0/16", ConfigError),
    ],
)
async def test_route_that_cannot_be_made_is_refused(rig: Rig, routes: object, error: type[Exception]) -> None:
    """No route is dropped in silence."""
    assert "ipam.routes" in await rig.refused(error, "ADD", ipam={"type": "multi-nic-ipam", "routes": routes})
    rig.assert_clean()


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"ipam": {"type": "whereabouts"}}, ExecutableError, "multi-nic-ipam"),
        ({"plugin": {"type": "teapot"}}, ExecutableError, "macvlan"),
        ({"plugin": {}}, ConfigError, "plugin.type"),
        ({"plugin": {"type": "macvlan", "mtu": 9000}}, ConfigError, "1500"),
        ({"name": "unknown"}, ConfigError, "MultiNicNetwork"),
        ({"name": ""}, ConfigError, "name"),
        ({"prevResult": {"ips": [{"address": "x"}]}}, DecodeError, "prevResult"),
        ({"deviceIDs": ["0000:00:01.0"]}, ConfigError, "deviceIDs: found '0000:00:01.0', expected a NIC of this node"),
        ({"runtimeConfig": {"ips": ["x"]}}, ConfigError, "runtimeConfig.ips"),
        ({"args": "IP"}, ConfigError, "CNI_ARGS"),
        ({"cniVersion": "2.0.0"}, IncompatibleVersionError, "1.1.0"),
        ({"masterNets": ["10.99.0.0/24"]}, SelectionError, "10.0.1.0/24"),
        ({"ifname": "averylongname"}, None, ""),
        ({"ifname": "averylongname1"}, InvocationError, "averylongname1-2"),
        ({"ifname": "a/b"}, InvocationError, "CNI_IFNAME"),
        ({"container": "-x"}, InvocationError, "CNI_CONTAINERID"),
        (
            {"container": "", "ifname": "", "netns": ""},
            InvocationError,
            "CNI_CONTAINERID: missing; CNI_NETNS: missing; CNI_IFNAME: missing",
        ),
        ({"netns": "/proc/self/ns/net"}, InvocationError, "node's own"),
        ({"stdin": b"{"}, DecodeError, "JSON"),
        ({"stdin": b"[]"}, DecodeError, "object"),
    ],
)
async def test_bad_input_is_refused_before_anything_is_done(
    rig: Rig, fields: dict[str, object], error: type[Exception] | None, words: str
) -> None:
    """Each refusal names what was found or what would do."""
    if error is None:
        await rig.call("ADD", **fields)
        return
    assert words in await rig.refused(error, "ADD", **fields)
    assert "apply" not in rig.kernel.calls
    rig.assert_clean()


async def test_unknown_strategy_is_refused(rig: Rig) -> None:
    """A network whose strategy is not installed attaches nobody."""
    rig.add_network("policed", 1, prefix="10.5", attachPolicy={"strategy": "astrology"})
    message = await rig.refused(ConfigError, "ADD", name="policed")
    assert "astrology" in message
    assert "'none'" in message


@pytest.mark.parametrize(
    "answer", [["eth1", "eth1"], ["eth9"], [], RuntimeError("boom")], ids=["repeats", "foreign", "none", "raises"]
)
async def test_strategy_that_breaks_its_contract_is_named(rig: Rig, answer: list[str] | Exception) -> None:
    """The error names the plugin and the distribution it comes from."""
    rig.registry.strategies.objects["none"] = Strategy(answer)
    rig.registry.strategies.owners["none"] = Owner("multinic-bad", "3.1", "bad")
    message = await rig.refused(PluginError, "ADD")
    assert "'none'" in message
    assert "multinic-bad 3.1" in message
    rig.assert_clean()


async def test_main_plugin_that_breaks_its_contract_is_named(rig: Rig) -> None:
    """A plan without the links asked for is not applied."""

    class Lazy(type(rig.registry.main_plugins["macvlan"])):  # type: ignore[misc]
        def plan(self, request: object, node: object) -> Plan:
            return Plan(())

    rig.registry.main_plugins.objects["macvlan"] = Lazy()
    assert "'macvlan' of multinic-plugin-macvlan" in await rig.refused(PluginError, "ADD")
    rig.assert_clean()


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (AddRule(ip_network("10.0.0.0/8"), 7, 1), "a rule from 10.0.0.0/8, expected one of the pod's addresses"),
        (SetSysctl("net/ipv4/conf/all/rp_filter", "0"), "setting 'net/ipv4/conf/all/rp_filter'"),
        (SetSysctl("kernel/core_pattern", "|sh"), "setting 'kernel/core_pattern'"),
        ("a step", "planned 'a step'"),
    ],
)
async def test_main_plugin_that_reaches_beyond_its_links_is_named(rig: Rig, step: Any, words: str) -> None:
    """Rules and settings of others are not a plugin's to change."""

    class Greedy(type(rig.registry.main_plugins["macvlan"])):  # type: ignore[misc]
        def plan(self, request: object, node: object) -> Plan:
            return Plan((*super().plan(request, node).steps, step))

    rig.registry.main_plugins.objects["macvlan"] = Greedy()
    assert words in await rig.refused(PluginError, "ADD")
    rig.assert_clean()


async def test_ipam_that_gives_a_held_address_is_named(rig: Rig) -> None:
    """A broken IPAM cannot give an address twice."""
    await rig.call("ADD")
    ipam = rig.registry.ipams["multi-nic-ipam"]

    class Stale:
        name = "multi-nic-ipam"

        def allocate(self, request: object, pools: object) -> object:
            return stale

    (record,) = rig.journal.of_interface("c1", "net1")
    stale = rig.journal.allocations(record)
    rig.registry.ipams.objects["multi-nic-ipam"] = Stale()  # type: ignore[assignment]
    assert "held already" in await rig.refused(PluginError, "ADD", "c2")
    rig.registry.ipams.objects["multi-nic-ipam"] = ipam
    assert rig.pod_links("c2") == []


async def test_network_not_yet_watched_is_fetched_once(rig: Rig) -> None:
    """A pod may be faster than the watch."""
    with rig.kubernetes.stale():
        rig.kubernetes.seed(NETWORKS, rig.kubernetes.raw(NETWORKS, NETWORK) | {"metadata": {"name": "fresh"}})
        assert "interfaces" in await rig.call("ADD", name="fresh", ipam={})


async def test_add_waits_for_the_first_lists(tmp_path: Path, autojump_clock: trio.abc.Clock) -> None:
    """The socket is open before the API has been reached; a call that comes early is answered when it has."""
    rig = Rig(tmp_path)
    result: list[object] = []

    async def add() -> None:
        result.append(await rig.call("ADD"))

    async with trio.open_nursery() as nursery:
        with rig.kubernetes.stale():
            rig.kubernetes._stores.clear()
            rig.pools = NodePools(rig.kubernetes, NODE)
            rig.engine = rig.make_engine()
            adoption = Adoption(rig.engine, rig.kubernetes, NODE, rig.pools)
            nursery.start_soon(add)
            await trio.sleep(5)
            assert result == []
        adoption.hold(rig.kernel.survey())
    assert len(result) == 1
    rig.journal.close()


async def test_daemon_that_never_reached_the_api_says_try_again(tmp_path: Path, autojump_clock: trio.abc.Clock) -> None:
    """Before the first lists have come, ADD ends after a bounded wait with code 11."""
    rig = Rig(tmp_path)
    with rig.kubernetes.stale():
        rig.kubernetes._stores.clear()
        rig.engine = rig.make_engine()
        with pytest.raises(DaemonUnavailableError) as caught:
            await rig.call("ADD")
        assert caught.value.cni_code == 11
    rig.journal.close()


async def test_network_being_deleted_takes_no_pods(rig: Rig) -> None:
    """Its pools are about to go."""
    raw = rig.kubernetes.raw(NETWORKS, NETWORK)
    gone = raw | {"metadata": {"name": "gone", "finalizers": ["multinic.fms.io/test"]}}
    rig.kubernetes.seed(NETWORKS, gone)
    await rig.kubernetes.delete(NETWORKS, "gone")
    assert "being deleted" in await rig.refused(ConfigError, "ADD", name="gone", ipam={})


async def test_unreadable_objects_are_named(rig: Rig, autojump_clock: trio.abc.Clock) -> None:
    """A network or pool that does not fit its schema is not mistaken for an absent one."""
    rig.kubernetes.seed_invalid(NETWORKS, {"metadata": {"name": "odd"}, "spec": {"ipam": 7}})
    assert "spec" in await rig.refused(ConfigError, "ADD", name="odd")
    rig.add_network("new", 0)
    body = {"metadata": {"name": "new-10.0.0.0-24", "labels": {"hostname": "node-1"}}, "spec": {}}
    rig.kubernetes.seed_invalid(IPPOOLS, body)
    assert "IPPool 'new-10.0.0.0-24'" in await rig.refused(DaemonUnavailableError, "ADD", name="new")
    rig.add_pool("new", "eth1", "10.7.0.0/24", "10.8.0.0/18")
    assert "not within vlanCIDR" in await rig.refused(ConfigError, "ADD", name="new")


async def test_api_that_fails_on_an_unknown_network_says_try_again(rig: Rig) -> None:
    """An API error is not the same as a network that does not exist."""
    rig.kubernetes.fail(ApiError("away", status=503), verb="get", resource=NETWORKS)
    assert "away" in await rig.refused(DaemonUnavailableError, "ADD", name="unknown")


async def test_rest_of_a_crashed_attachment_to_another_network_is_cleaned_up(rig: Rig) -> None:
    """What is not ready does not hold the interface name."""
    await rig.call("ADD")
    rig.journal.mark_deleting(rig.journal.of_interface("c1", "net1")[0])
    rig.add_network("net-b", 1, prefix="172.30")
    assert addresses(await rig.call("ADD", name="net-b")) == ["172.30.0.1/18"]
    assert rig.pod_links() == ["net1-0"]
