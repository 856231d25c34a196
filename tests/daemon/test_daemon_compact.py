"""A network whose CIDR lists no nodes: this node's pools by arithmetic, and no pod that notices."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from multinic_daemon.engine.lanes import Held
from multinic_daemon.pools.mirror import BOOT_ANNOTATION
from multinic_daemon.pools.mirrorkeeper import PAUSE_SECONDS, MirrorKeeper
from multinic_daemon.pools.nodepools import NodePools
from multinic_daemon.testing import NETWORK, NODE, Rig, addresses, run_in_place

from multinic_core.errors import ApiError, DaemonUnavailableError, NotReadyError
from multinic_core.model import CIDRS, HOST_INTERFACES, IPPOOLS, UNMANAGED_LABEL, IPPool
from multinic_core.ports import Key

POOL = "net-a-192.168.0.0-24"
OTHER = "node-2"
NEAR_SECONDS = 5.0


def host(name: str, index: int | None, nics: int = 3, last: int = 1, **status: Any) -> dict[str, Any]:
    """The HostInterface of a node with ``eth<n>`` on 10.0.<n>.0/24."""
    interfaces = [
        {"interfaceName": f"eth{n}", "netAddress": f"10.0.{n}.0/24", "hostIP": f"10.0.{n}.{last}"}
        for n in range(1, nics + 1)
    ]
    known = {} if index is None else {"status": {"hostIndex": index, **status}}
    return {"metadata": {"name": name}, "spec": {"hostName": name, "interfaces": interfaces}, **known}


def compact(rig: Rig, *, on: bool = True, **config: Any) -> None:
    """The operator leaves out the lists, or writes them again."""
    spec: dict[str, Any] = {"compact": True if on else None}
    write(rig, CIDRS, NETWORK, {"spec": spec | ({"config": config} if config else {})})


def write(rig: Rig, resource: Any, name: str, body: Any, subresource: str = "") -> None:
    """A write by somebody else, at once."""
    rig.kubernetes._objects.patch(resource, Key("", name), body, "merge", subresource, "somebody")


def delete_pools(rig: Rig) -> None:
    """What the operator may do with pools that nothing is held in."""
    for pool in rig.kubernetes.store(IPPOOLS).list():
        if not pool.spec.allocations:
            rig.kubernetes._objects.delete(IPPOOLS, Key("", pool.name))


@asynccontextmanager
async def serving(rig: Rig) -> AsyncIterator[None]:
    """A daemon's pools and mirror, kept while the block runs."""
    keeper = MirrorKeeper(rig.kubernetes, NODE, rig.pools, rig.journal, rig.engine.gate, rig.adoption.take_pool)
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.pools.serve)
        await nursery.start(keeper.serve)
        await trio.testing.wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


async def until(true: Callable[[], bool], seconds: float = NEAR_SECONDS) -> None:
    with trio.fail_after(seconds):
        while not true():
            await trio.sleep(0.05)


def pools(rig: Rig) -> list[IPPool]:
    return rig.kubernetes.store(IPPOOLS).list()


@pytest.fixture
def bare(rig: Rig) -> Rig:
    """A node in a compact network without any IPPool."""
    rig.kubernetes.seed(HOST_INTERFACES, host(NODE, 0))
    compact(rig)
    delete_pools(rig)
    return rig


async def test_engine_sees_the_pools_that_the_operator_would_have_made(rig: Rig) -> None:
    """Name, blocks, NIC, labels: the same pools before and after."""
    rig.kubernetes.seed(HOST_INTERFACES, host(NODE, 0))
    before = [(pool.spec, pool.metadata.labels) for pool in rig.pools.of_network(NETWORK)]
    compact(rig)
    delete_pools(rig)
    assert rig.pools.of_network(NETWORK) == []
    await rig.pools.read_once_more()
    assert [(pool.spec, pool.metadata.labels) for pool in rig.pools.of_network(NETWORK)] == before
    assert pools(rig) == []


async def test_excludes_and_owner_are_those_of_the_cidr(bare: Rig) -> None:
    """Excludes that meet the block, and the network that the CIDR goes with."""
    owner = {"apiVersion": "multinic.fms.io/v1", "kind": "MultiNicNetwork", "name": NETWORK, "uid": "u-1"}
    write(
        bare,
        CIDRS,
        NETWORK,
        {"metadata": {"ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}]}},
    )
    compact(bare, excludeCIDRs=["192.168.0.0/28", "192.168.64.9", "192.168.9.0/24"])
    await bare.pools.read_once_more()
    found = bare.pools.of_network(NETWORK)
    assert [pool.spec.excludes for pool in found] == [["192.168.0.0/28"], [], ["192.168.64.9/32"]]
    references = {json.dumps(pool.to_json()["metadata"]["ownerReferences"]) for pool in found}
    assert references == {json.dumps([{**owner, "controller": True}])}


async def test_nic_addresses_are_excluded_where_nic_networks_are_cut(bare: Rig) -> None:
    """Those of all nodes that are in this node's blocks, and of one that joins at once."""
    bare.kubernetes.seed(HOST_INTERFACES, host(OTHER, 1, 1, last=70))
    compact(bare, subnet="", hostBlock=2)
    await bare.pools.read_once_more()

    def excludes() -> list[str]:
        return bare.pools.of_network(NETWORK)[0].spec.excludes

    assert bare.pools.of_network(NETWORK)[0].spec.pod_cidr == "10.0.1.0/26"
    assert excludes() == ["10.0.1.1/32"]
    bare.kubernetes.seed(HOST_INTERFACES, host("node-3", 2, 1, last=7))
    assert excludes() == ["10.0.1.1/32", "10.0.1.7/32"]


async def test_reserved_and_secondary_addresses_are_excluded(bare: Rig) -> None:
    """What the CIDR says that a cloud keeps, and every further address of a NIC, from when it is told."""
    (cidr,) = bare.kubernetes.store(CIDRS).list()
    entries = cidr.to_json()["spec"]["cidr"]
    entries[0]["reserved"] = ["10.0.1.0/32", "10.0.1.3/32", "10.0.1.255/32"]
    write(bare, CIDRS, NETWORK, {"spec": {"cidr": entries}})
    compact(bare, subnet="", hostBlock=2)
    await bare.pools.read_once_more()

    def excludes() -> list[str]:
        return bare.pools.of_network(NETWORK)[0].spec.excludes

    assert excludes() == ["10.0.1.0/32", "10.0.1.1/32", "10.0.1.3/32"]
    other = host("node-3", 2, 1, last=90)
    other["spec"]["interfaces"][0]["secondaryIPs"] = ["10.0.1.40", "10.0.1.91", "no address"]
    bare.kubernetes.seed(HOST_INTERFACES, other)
    assert excludes() == ["10.0.1.0/32", "10.0.1.1/32", "10.0.1.3/32", "10.0.1.40/32"]


async def test_pods_come_and_go_and_the_mirror_follows(bare: Rig, autojump_clock: Any) -> None:
    """An object is made when there is something to say, as the operator would write it, and kept afterwards."""
    async with serving(bare):
        await trio.sleep(60)
        assert bare.kubernetes.count("create", IPPOOLS) == 0
        result = await bare.call("ADD")
        assert addresses(result) == ["192.168.0.1/18", "192.168.64.1/18", "192.168.128.1/18"]
        await until(lambda: len(bare.mirrored()) == 3)
        raw = bare.kubernetes.raw(IPPOOLS, POOL)
        assert raw["metadata"]["labels"] == {"hostname": NODE, "netname": NETWORK}
        assert raw["metadata"]["annotations"][BOOT_ANNOTATION] == "boot-1"
        assert raw["spec"]["vlanCIDR"] == "192.168.0.0/18"
        await bare.call("CHECK", prevResult=result)
        await trio.sleep(600)
        assert bare.kubernetes.count(resource=IPPOOLS) == 3
        await bare.call("DEL")
        await until(lambda: bare.mirrored() == {})
        assert len(pools(bare)) == 3
    assert bare.journal.taken_over() == []


async def test_mirror_writes_each_pool_once_a_second(bare: Rig, autojump_clock: Any) -> None:
    """The making of the object counts as one."""
    async with serving(bare):
        start = trio.current_time()
        for number in range(40):
            await bare.call("ADD", f"c{number}")
            await trio.sleep(0.05)
        await until(lambda: len(bare.mirrored().get(POOL, ())) == 40)
        elapsed = trio.current_time() - start
        writes = [write for write in bare.kubernetes.writes if write.key.name == POOL]
        assert [write.verb for write in writes][:2] == ["create", "patch"]
        assert len(writes) <= elapsed / PAUSE_SECONDS + 1


async def test_object_that_somebody_made_meanwhile_is_taken_over(bare: Rig, autojump_clock: Any) -> None:
    """AlreadyExists is a conflict like any other: what stands there is held before it is written over."""
    stranger = {"pod": "s", "namespace": "x", "index": 9, "address": "192.168.0.9"}
    async with serving(bare):
        (spec,) = (pool.spec.to_json() for pool in bare.pools.of_network(NETWORK) if pool.name == POOL)
        with bare.kubernetes.stale():
            labels = {"hostname": NODE, "netname": NETWORK, "team": "a"}
            body = {"metadata": {"name": POOL, "labels": labels}, "spec": {**spec, "allocations": [stranger]}}
            await bare.kubernetes.create(IPPOOLS, body)
            await bare.call("ADD")
            await trio.sleep(3)
        raw = bare.kubernetes.raw(IPPOOLS, POOL)
        assert [each["address"] for each in raw["spec"]["allocations"]] == ["192.168.0.1", "192.168.0.9"]
        assert raw["metadata"]["labels"]["team"] == "a"


async def test_object_of_a_node_that_left_becomes_ours_and_one_of_a_node_that_is_there_does_not(
    bare: Rig, autojump_clock: Any
) -> None:
    """An index that was given again takes the block along."""
    async with serving(bare):
        (spec,) = (pool.spec.to_json() for pool in bare.pools.of_network(NETWORK) if pool.name == POOL)
        held = {"pod": "s", "namespace": "x", "index": 9, "address": "192.168.0.9"}
        theirs = {**spec, "hostName": OTHER, "allocations": [held]}
        bare.kubernetes.seed(HOST_INTERFACES, host(OTHER, 9))
        bare.kubernetes.seed(IPPOOLS, {"metadata": {"name": POOL, "labels": {"hostname": OTHER}}, "spec": theirs})
        await bare.call("ADD")
        await trio.sleep(20)
        assert bare.kubernetes.raw(IPPOOLS, POOL)["spec"] == theirs
        await bare.kubernetes.delete(HOST_INTERFACES, OTHER)
        await until(lambda: bare.mirrored().get(POOL) == ["default/pod-1 192.168.0.1"], 60)
        assert bare.kubernetes.raw(IPPOOLS, POOL)["metadata"]["labels"]["hostname"] == NODE
    assert bare.journal.taken_over() == []


async def test_object_that_is_there_follows_the_cidr_with_the_next_entry(rig: Rig, autojump_clock: Any) -> None:
    """Nobody else writes it any more: excludes and NIC are set right along with the entries, the owner stays."""
    rig.kubernetes.seed(HOST_INTERFACES, host(NODE, 0))
    owner = {"apiVersion": "v1", "kind": "Somebody", "name": "x", "uid": "u"}
    write(rig, IPPOOLS, POOL, {"metadata": {"ownerReferences": [owner]}, "spec": {"interfaceName": "old"}})
    compact(rig, excludeCIDRs=["192.168.0.0/28"])
    async with serving(rig):
        await trio.sleep(60)
        assert rig.kubernetes.count(resource=IPPOOLS) == 0
        await rig.call("ADD")
        await until(lambda: len(rig.mirrored()) == 3)
        raw = rig.kubernetes.raw(IPPOOLS, POOL)
        assert raw["spec"]["excludes"] == ["192.168.0.0/28"]
        assert raw["spec"]["interfaceName"] == "eth1"
        assert [each["address"] for each in raw["spec"]["allocations"]] == ["192.168.0.16"]
        assert raw["metadata"]["ownerReferences"] == [owner]


async def test_object_that_is_deleted_is_made_again(bare: Rig, autojump_clock: Any) -> None:
    """Also when that happens between two of our writes, or before the watch has shown that it was made."""
    async with serving(bare):
        await bare.call("ADD")
        await until(lambda: len(bare.mirrored()) == 3)
        await bare.kubernetes.delete(IPPOOLS, POOL)
        await until(lambda: len(bare.mirrored()) == 3)
        await bare.kubernetes.delete(IPPOOLS, POOL)
        with bare.kubernetes.stale():
            await trio.sleep(3)
            await bare.kubernetes.delete(IPPOOLS, POOL)
            await bare.call("ADD", "c2")
            await trio.sleep(3)
            assert len(bare.kubernetes.raw(IPPOOLS, POOL)["spec"]["allocations"]) == 2


async def test_node_without_an_index_waits_and_says_for_what(rig: Rig, autojump_clock: Any) -> None:
    """An ADD right after a node has joined is answered when its index is there, or told what it waits for."""
    rig.kubernetes.seed(HOST_INTERFACES, host(NODE, None))
    compact(rig)
    delete_pools(rig)
    async with serving(rig):
        message = await rig.refused(DaemonUnavailableError, "ADD")
        assert "status.hostIndex: missing, the operator has not given this node an index yet" in message
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.call, "ADD")
            await trio.sleep(2)
            write(rig, HOST_INTERFACES, NODE, {"status": {"hostIndex": 3}}, "status")
        assert rig.journal.held("net-a-192.168.3.0-24")


async def test_status_says_what_a_node_waits_for(rig: Rig) -> None:
    """Not ready without an index, ready with one."""
    rig.kubernetes.seed(HOST_INTERFACES, host(NODE, None))
    compact(rig)
    delete_pools(rig)
    await rig.pools.read_once_more()
    assert "status.hostIndex: missing" in await rig.refused(NotReadyError, "STATUS")
    write(rig, HOST_INTERFACES, NODE, {"status": {"hostIndex": 3}}, "status")
    await rig.call("STATUS")


async def test_hand_written_host_interface_serves_as_well(rig: Rig) -> None:
    """Unmanaged or not, its NICs and its index decide."""
    body = host(NODE, 2, 1)
    body["metadata"]["labels"] = {UNMANAGED_LABEL: "true"}
    rig.kubernetes.seed(HOST_INTERFACES, body)
    compact(rig)
    await rig.pools.read_once_more()
    assert [pool.name for pool in rig.pools.of_network(NETWORK)] == ["net-a-192.168.2.0-24"]


async def test_host_interface_that_is_made_again_gives_the_same_block_back(bare: Rig, autojump_clock: Any) -> None:
    """Without it no address is given, nothing that is held is lost, and with it pods go on where they were."""
    async with serving(bare):
        first = await bare.call("ADD")
        await bare.kubernetes.delete(HOST_INTERFACES, NODE)
        assert "is not there yet" in await bare.refused(DaemonUnavailableError, "ADD", "c2")
        await bare.kubernetes.create(HOST_INTERFACES, host(NODE, None))
        await bare.call("CHECK", prevResult=first)
        write(bare, HOST_INTERFACES, NODE, {"status": {"hostIndex": 0}}, "status")
        second = await bare.call("ADD", "c2")
        assert addresses(second)[0] == "192.168.0.2/18"
        await until(lambda: len(bare.mirrored().get(POOL, ())) == 2)


async def test_exception_written_just_before_is_not_overlooked(rig: Rig, autojump_clock: Any) -> None:
    """A watch of HostInterfaces that lags behind that of CIDRs gives no address of somebody else's block."""
    rig.kubernetes.seed(HOST_INTERFACES, host(NODE, 7))
    exceptions = [
        {"network": NETWORK, "netAddress": f"10.0.{n}.0/24", "interfaceName": f"eth{n}", "hostIndex": 0}
        for n in (1, 2, 3)
    ]
    stores = {view: store for view, store in rig.kubernetes._stores.items() if view.resource is HOST_INTERFACES}
    for view in stores:
        del rig.kubernetes._stores[view]
    write(rig, HOST_INTERFACES, NODE, {"status": {"exceptions": exceptions}}, "status")
    compact(rig)
    async with serving(rig):
        assert rig.pools.of_network(NETWORK)[0].name == POOL
        assert addresses(await rig.call("ADD"))[0] == "192.168.0.1/18"


async def test_unreadable_api_gives_no_pool_and_time_heals_it(rig: Rig, autojump_clock: Any) -> None:
    """As long as the HostInterface cannot be read once more, calls wait and say so."""
    rig.kubernetes.seed(HOST_INTERFACES, host(NODE, 0))
    rig.kubernetes.fail(ApiError("away", status=503), verb="get", resource=HOST_INTERFACES, times=20)
    assert rig.pools.synced
    compact(rig)
    async with serving(rig):
        assert rig.pools.synced
        assert "not read since" in await rig.refused(DaemonUnavailableError, "ADD")
        await trio.sleep(30)
        assert addresses(await rig.call("ADD"))[0] == "192.168.0.1/18"


def switch(rig: Rig, *, on: bool) -> None:
    """What the operator does when a network changes over, either way."""
    compact(rig, on=on)
    if on:
        delete_pools(rig)
        return
    there = {pool.name for pool in pools(rig)}
    for number, base in enumerate(("192.168.0.0", "192.168.64.0", "192.168.128.0")):
        if f"{NETWORK}-{base}-24" not in there:
            rig.add_pool(NETWORK, f"eth{number + 1}", f"{base}/24", f"{base}/18")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(["on", "off", "add", "del", "restart", "lose", "wait"]), min_size=4, max_size=14))
def test_changing_over_loses_and_doubles_nothing(tmp_path_factory: Any, story: list[str]) -> None:
    """To and fro while pods come and go, with restarts and lost journals: each address is one pod's, CHECK is content
    with every pod, and with the last pod everything is free."""

    async def play() -> None:
        rig = Rig(Path(tmp_path_factory.mktemp("node")))
        rig.kubernetes.seed(HOST_INTERFACES, host(NODE, 0))
        alive: dict[str, Any] = {}
        made = 0

        def args(name: str) -> str:
            return f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={name};K8S_POD_UID=uid-{name}"

        try:
            remaining = list(story)
            while remaining:
                async with serving(rig):
                    while remaining:
                        what = remaining.pop(0)
                        if what in ("on", "off"):
                            switch(rig, on=what == "on")
                        elif what == "add":
                            made += 1
                            alive[f"c{made}"] = await rig.call("ADD", f"c{made}", args=args(f"c{made}"))
                        elif what == "del" and alive:
                            await rig.call("DEL", alive.popitem()[0])
                        elif what == "wait":
                            await trio.sleep(3)
                        elif what in ("restart", "lose"):
                            await trio.sleep(3)
                            break
                    else:
                        what = ""
                    given_ = [address for result in alive.values() for address in addresses(result)]
                    assert len(given_) == len(set(given_))
                    for container, result in alive.items():
                        await rig.call("CHECK", container, args=args(container), prevResult=result)
                if what == "restart":
                    rig.restart(adopting=False)
                elif what == "lose":
                    rig.lose_journal(adopting=False)
                if what:
                    await rig.pools.read_once_more()
                    rig.adopt()
            async with serving(rig):
                for container in alive:
                    await rig.call("DEL", container)
                await until(lambda: rig.mirrored() == {})
            assert rig.held() == {}
            assert rig.journal.taken_over() == []
        finally:
            rig.journal.close()

    with patch.object(Held, "run", run_in_place):
        trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_calls_in_flight_meet_a_network_that_changes_over(rig: Rig, autojump_clock: Any) -> None:
    """Sixty ADDs while the lists go and come back: sixty times three addresses, no two the same."""
    rig.kubernetes.seed(HOST_INTERFACES, host(NODE, 0))
    results: list[Any] = []

    async def add(number: int) -> None:
        await trio.sleep(number / 20)
        results.append(await rig.call("ADD", f"c{number}"))

    async with serving(rig):
        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(add, number)
            for on in (True, False, True):
                await trio.sleep(1)
                switch(rig, on=on)
        found = [address for result in results for address in addresses(result)]
        assert len(found) == len(set(found)) == 180
        await until(lambda: sum(len(each) for each in rig.mirrored().values()) == 180)


async def test_synced_means_that_the_host_interface_was_read(rig: Rig, autojump_clock: Any) -> None:
    """The gate of a new daemon opens when its own blocks are known, and not before."""
    rig.kubernetes.seed(HOST_INTERFACES, host(NODE, 0))
    compact(rig)
    fresh = NodePools(rig.kubernetes, NODE)
    assert not fresh.synced
    async with trio.open_nursery() as nursery:
        await nursery.start(fresh.serve)
        with trio.fail_after(1):
            await fresh.wait_synced()
        nursery.cancel_scope.cancel()
    assert fresh.synced
    assert [pool.name for pool in fresh.list()] == [pool.name for pool in pools(rig)]
    assert json.dumps([pool.to_json()["spec"] for pool in fresh.list()]) == json.dumps(
        [pool.to_json()["spec"] for pool in pools(rig)]
    )
