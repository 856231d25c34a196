"""Bandwidth that pods are promised: counted in the journal, refused when it is used up, free again with the pod."""

import random
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from multinic_daemon.engine import limits
from multinic_daemon.journal.file import read_snapshot
from multinic_daemon.report.podevents import PodEvents
from trio.testing import wait_all_tasks_blocked

from multinic_core.errors import PluginError, SelectionError
from multinic_core.model import EVENTS
from multinic_core.plan import ShapeLink
from multinic_core.registry import Owner
from multinic_core.selection import Selection


async def test_pods_are_promised_bandwidth_until_the_nics_are_full(node: Any) -> None:
    """Then ADD fails with the figures, an Event tells the pod's users the same, and nothing is left of the attempt."""
    node.add_network("cost", "costOpt", target="4Gbps", nics=2)
    got = [await node.add("cost", f"c{number}") for number in range(4)]
    assert [len(nics) for nics in got] == [1, 1, 1, 1]
    assert node.promised == {"eth1": 8, "eth2": 8}
    told = await node.refused(SelectionError, "cost", "c9", nics=1)
    assert "target '4Gbps' is 4 Gbit/s, found 2 Gbit/s free to promise on 1 of its 2 NICs" in told
    assert [(event.pod.name, event.reason, event.message) for event in node.events] == [
        ("pod-c9", "PolicyNotMet", told)
    ]
    assert node.rig.pod_links("c9") == []
    assert node.promised == {"eth1": 8, "eth2": 8}
    assert await node.add("cost", "c10") == ["eth1", "eth2"]
    assert node.promised == {"eth1": 10, "eth2": 10}


async def test_a_hundred_pods_never_promise_a_nic_twice(node: Any) -> None:
    """Of pods of 1 Gbit/s as many are attached as the NICs carry, and at best effort all."""
    node.add_network("perf", "perfOpt")
    attached = 0
    for number in range(40):
        try:
            await node.add("perf", f"c{number}", nics=1, target="1Gbps")
            attached += 1
        except SelectionError:
            assert number >= 30
    assert attached == 30
    assert node.promised == {"eth1": 10, "eth2": 10, "eth3": 10}
    assert len(await node.add("perf", "c99", nics=1, target="1Gbps besteffort")) == 1
    assert node.promised == {"eth1": 10, "eth2": 10, "eth3": 10}


async def test_what_a_pod_was_promised_is_free_when_it_is_gone(node: Any) -> None:
    """DEL frees it, twice as well as once; a failed ADD has promised nothing."""
    node.add_network("cost", "costOpt", target="10Gbps", nics=1)
    assert await node.add("cost", "c1") == ["eth1"]
    await node.refused(SelectionError, "cost", "c2")
    await node.remove("cost", "c1")
    await node.remove("cost", "c1")
    assert node.promised == {}

    def fail(step: str) -> None:
        if step.startswith("link"):
            raise OSError("no")

    node.rig.kernel.before_step = fail
    await node.refused(Exception, "cost", "c3")
    node.rig.kernel.before_step = lambda step: None
    assert node.promised == {}
    assert await node.add("cost", "c4") == ["eth1"]


async def test_promises_outlive_the_daemon(node: Any) -> None:
    """The next daemon counts what the one before promised."""
    node.add_network("cost", "costOpt", target="10Gbps", nics=1)
    await node.add("cost", "c1")
    node.restart()
    assert node.promised == {"eth1": 10}
    await node.refused(SelectionError, "cost", "c2")


async def test_two_networks_count_the_same_nics(node: Any) -> None:
    """A NIC has its bandwidth once, whichever networks are on it and whichever of their strategies promise it."""
    node.add_network("cost", "costOpt", nics=1)
    node.add_network("perf", "perfOpt", nics=1, prefix="172.21")
    await node.add("cost", "c1", target="7Gbps")
    assert "found 3 Gbit/s free" in await node.refused(SelectionError, "perf", "c2", target="4Gbps")
    await node.add("perf", "c3", target="3Gbps")
    assert node.promised == {"eth1": 10}


async def test_where_the_policy_is_not_strict_the_pod_is_attached_with_a_warning(node: Any) -> None:
    """The Event and the journal say by how much its target is missed; a repeated ADD tells no second time."""
    node.add_network("cost", "costOpt", nics=2, target="50Gbps", args={"strict": "false"})
    assert await node.add("cost", "c1") == ["eth1", "eth2"]
    (event,) = node.events
    assert event.reason == "PolicyNotMet"
    assert "target '50Gbps' is 50 Gbit/s, found 20 Gbit/s free to promise on its 2 NICs" in event.message
    assert node.promised == {"eth1": 10, "eth2": 10}
    assert await node.add("cost", "c1") == ["eth1", "eth2"]
    assert node.events == [event]


async def test_the_pods_target_beats_the_networks(node: Any) -> None:
    """As the annotation is the more special word."""
    node.add_network("cost", "costOpt", target="9Gbps")
    await node.add("cost", "c1", target="2Gbps")
    assert node.promised == {"eth1": 2}


@pytest.mark.parametrize("plugin", ["macvlan", "ipvlan"])
async def test_links_are_held_to_their_promise_where_the_network_says_so(node: Any, plugin: str) -> None:
    """One step for each link with a promise, which survives the journal; none without ``rateLimit`` or promise."""
    node.add_network("perf", "perfOpt")
    node.rig.plugin = {"type": plugin, "cniVersion": "0.3.0", "rateLimit": True}
    await node.add("perf", "c1", nics=2, target="3Gbps")
    await node.add("perf", "c2", nics=2)
    node.rig.plugin = {"type": plugin, "cniVersion": "0.3.0"}
    await node.add("perf", "c3", nics=2, target="3Gbps")
    node.restart()
    shapes = [node.rig.journal.of_interface(f"c{number}", "net1")[0].plan.shapes for number in (1, 2, 3)]
    assert shapes == [(ShapeLink("net1-0", 1_500_000_000), ShapeLink("net1-1", 1_500_000_000)), (), ()]


async def test_an_event_is_written_once_whatever_the_runtime_repeats(node: Any, nursery: Any) -> None:
    """Each attempt of the runtime is refused alike; the pod has one Event with figures, and one for each trouble."""
    events = PodEvents(node.rig.kubernetes, "node-1", clock=lambda: 1e9)
    await nursery.start(events.serve)
    node.rig.engine.tell = events.tell
    node.add_network("cost", "costOpt", target="40Gbps")
    told = {await node.refused(SelectionError, "cost", "c1") for _ in range(3)}
    node.change_nics("eth3", speed=9_000)
    await node.refused(SelectionError, "cost", "c1")
    await node.refused(SelectionError, "cost", "c1", masters=["eth9"])
    await wait_all_tasks_blocked()
    written = node.rig.kubernetes.store(EVENTS).list()
    assert len(told) == 1
    assert told < {event.message for event in written}
    assert [(event.type, event.reason) for event in written] == [("Warning", "PolicyNotMet")] * 2
    assert {event.involved_object["uid"] for event in written} == {"u-c1"}


class Spinning:
    """A strategy of somebody else's that does not end, or raises."""

    name = "theirs"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def select(self, request: object, candidates: object) -> Selection:
        if self.error:
            raise self.error
        while True:
            pass


async def test_a_strategy_that_does_not_end_is_broken_off_and_named(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """ADD fails with its name and distribution; other networks of the node go on, and nothing is left."""
    monkeypatch.setattr(limits, "_resting", {})
    offer(node, Spinning())
    told = await node.refused(PluginError, "slow", "c1")
    assert told.startswith("strategy 'theirs' of multinic-theirs")
    assert "did not end and was broken off after" in told
    node.rig.assert_clean()
    assert await node.add("net-a", "c2", nics=1) == ["eth1"]


async def test_a_strategy_that_raises_is_named(node: Any) -> None:
    """With what it raised, as an error of that plugin and not of the daemon."""
    offer(node, Spinning(KeyError("speed")))
    told = await node.refused(PluginError, "slow", "c1")
    assert told.startswith("strategy 'theirs' of multinic-theirs")
    assert "raised KeyError('speed')" in told
    node.rig.assert_clean()


def offer(node: Any, strategy: Spinning) -> None:
    """Install a strategy, and a network that has it."""
    strategies = node.rig.registry.strategies
    strategies.objects["theirs"] = strategy
    strategies.owners["theirs"] = Owner("multinic-theirs", "1.0", "theirs")
    node.add_network("slow", "theirs")


@pytest.mark.parametrize("seed", range(4))
async def test_however_pods_come_and_go_promises_are_those_of_the_pods_there(node: Any, seed: int) -> None:
    """ADD, DEL, repeated calls and restarts in any order: the journal's sum is what its rows say, within each speed."""
    chance = random.Random(seed)
    node.add_network("cost", "costOpt", args={"strict": "false"})
    node.add_network("perf", "perfOpt", prefix="172.21")
    node.change_nics("eth2", speed=25_000)
    there: dict[str, str] = {}
    for number in range(60):
        turn = chance.random()
        if turn < 0.6:
            network, container = chance.choice(("cost", "perf")), f"c{number}"
            with suppress(SelectionError):
                await node.add(network, container, nics=chance.randint(1, 3), target=f"{chance.randint(1, 15)}Gbps")
                there[container] = network
        elif there and turn < 0.95:
            container = chance.choice(sorted(there))
            await node.remove(there[container], container)
            if chance.random() < 0.7:
                del there[container]
            else:
                await node.add(there[container], container, nics=1, target="1Gbps besteffort")
        else:
            node.restart()
        rows = read_snapshot(node.rig.folder / "run" / "journal.db").decisions.values()
        counted = sum((Counter(decision.promised) for decision in rows), Counter[str]())
        assert +node.rig.journal.uses.promised == +counted
        assert len(rows) == len(there)
        speeds = {nic.ifname: nic.speed * 1_000_000 for nic in node.rig.view.nics.values()}
        assert all(rate <= speeds[ifname] for ifname, rate in counted.items())
    for container, network in there.items():
        await node.remove(network, container)
    assert node.promised == {}
