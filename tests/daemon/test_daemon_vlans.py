"""VLAN links under pod links: made with the first pod, gone with the last, whatever happens in between."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from multinic_daemon import crashpoints
from multinic_daemon.engine.parents import leave_vlans, remove_unused_vlans, vlans_kept
from multinic_daemon.journal.codec import decode_plan, encode_plan
from multinic_daemon.podlinks.kernel import Parent
from multinic_daemon.recovery.recovery import recover
from multinic_daemon.testing import Rig
from multinic_daemon.testing.forks import Forks
from multinic_daemon.testing.kernel import refuse

from multinic_core import CreateLink, Plan
from multinic_core.errors import KernelError, NicInUseError

ON_100 = {"type": "macvlan", "vlan": 100}
ON_200 = {"type": "macvlan", "vlan": 200}
BOTH_NICS = [Parent(11, 100), Parent(12, 100)]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(tmp_path, nics=2)
    made.add_network("net-b", 2, prefix="192.169")
    return made


async def test_a_vlan_link_lives_from_the_first_pod_to_the_last(rig: Rig):
    """It is made once for each NIC, stays while any pod of any network is on it, and goes with the last."""
    await rig.call("ADD", plugin=ON_100)
    assert rig.kernel.read_vlans() == BOTH_NICS
    await rig.call("ADD", "c2", name="net-b", plugin=ON_100)
    await rig.call("DEL")
    assert rig.kernel.read_vlans() == BOTH_NICS
    await rig.call("DEL", "c2", name="net-b")
    assert rig.kernel.read_vlans() == []
    rig.assert_clean()
    assert len(rig.engine.vlans) == 0


async def test_each_id_has_a_link_of_its_own(rig: Rig):
    """Pods on other ids, and pods on the NIC itself, are not in each other's way."""
    await rig.call("ADD", plugin=ON_100)
    await rig.call("ADD", "c2", name="net-b", plugin={"type": "ipvlan", "vlan": 200})
    await rig.call("ADD", "c3", name="net-b", plugin={"type": "ipvlan", "mode": "l3"})
    assert rig.kernel.read_vlans() == sorted([*BOTH_NICS, Parent(11, 200), Parent(12, 200)])
    await rig.call("DEL", "c2", name="net-b")
    assert rig.kernel.read_vlans() == BOTH_NICS


async def test_the_last_two_that_leave_at_once_leave_nothing(rig: Rig):
    """Neither takes the other, whose links are gone as well, for one that still needs the VLAN link."""
    for container in ("c1", "c2", "c3"):
        await rig.call("ADD", container, plugin=ON_100)
    async with trio.open_nursery() as nursery:
        for container in ("c1", "c2", "c3"):
            nursery.start_soon(rig.call, "DEL", container)
    assert rig.kernel.read_vlans() == []
    rig.assert_clean()


async def test_a_vlan_link_does_not_go_from_under_one_that_comes(rig: Rig):
    """While pod links are being made on it, the last of the others waits with removing it, and then lets it be."""
    await rig.call("ADD", plugin=ON_100)
    (record,) = rig.journal.of_interface("c1", "net1")
    order: list[str] = []

    async def leave() -> None:
        await leave_vlans(rig.engine, record)
        order.append("left")

    async with trio.open_nursery() as nursery, vlans_kept(rig.engine, record.plan.links):
        nursery.start_soon(leave)
        await trio.testing.wait_all_tasks_blocked()
        order.append("made")
    assert order == ["made", "left"]
    assert rig.kernel.read_vlans() == []


async def test_an_add_that_fails_takes_its_vlan_link_along(rig: Rig):
    """What one attempt made for itself alone is gone after it."""
    rig.kernel.before_step = refuse("link net1-1")
    await rig.refused(KernelError, "ADD", plugin=ON_100)
    assert rig.kernel.read_vlans() == []
    rig.assert_clean()


async def test_an_add_that_fails_leaves_the_vlan_link_of_others(rig: Rig):
    """Another pod is still on it."""
    await rig.call("ADD", plugin=ON_100)
    rig.kernel.before_step = refuse("link net1-1")
    await rig.refused(KernelError, "ADD", "c2", plugin=ON_100)
    assert rig.kernel.read_vlans() == BOTH_NICS


async def test_a_vlan_link_that_the_kernel_keeps_is_removed_later(rig: Rig):
    """DEL fails, the addresses stay held, and trying again finishes it."""
    await rig.call("ADD", plugin=ON_100)
    rig.kernel.before_step = refuse("remove vlan")
    await rig.refused(KernelError, "DEL")
    assert rig.held() != {}
    rig.kernel.before_step = lambda step: None
    await rig.call("DEL")
    assert rig.kernel.read_vlans() == []
    rig.assert_clean()


async def test_check_misses_a_vlan_link(rig: Rig):
    """CHECK compares what lies under the pod's links, too."""
    result = await rig.call("ADD", plugin=ON_100)
    assert await rig.call("CHECK", plugin=ON_100, prevResult=result) is None
    rig.kernel.remove_vlan(BOTH_NICS[0])
    (record,) = rig.journal.of_interface("c1", "net1")
    assert rig.kernel.differences(record.plan, record.netns) == ["VLAN link of id 100 on NIC 'eth1' is missing"]


async def test_a_restart_knows_who_is_on_a_vlan_link(rig: Rig):
    """The rows tell a new daemon; it removes the link with the last of them, and refuses what does not go together."""
    for container in ("c1", "c2"):
        await rig.call("ADD", container, plugin=ON_100)
    rig.restart()
    refusal = await rig.refused(NicInUseError, "ADD", "c3", name="net-b", plugin={"type": "ipvlan", "vlan": 100})
    assert "found VLAN 100 of NIC 'eth1' in use (macvlan by 2 pods of network 'net-a')" in refusal
    await rig.call("DEL")
    assert rig.kernel.read_vlans() == BOTH_NICS
    await rig.call("DEL", "c2")
    assert rig.kernel.read_vlans() == []


async def test_a_lost_journal_finds_pods_on_their_vlan_links_again(rig: Rig):
    """What is taken over from the kernel is on the VLAN link as it was, and the link goes with it."""
    await rig.call("ADD", plugin=ON_100)
    rig.lose_journal()
    assert await remove_unused_vlans(rig.engine) == 0
    (record,) = rig.journal.taken_over()
    assert record.vlans == tuple(BOTH_NICS)
    assert record.plan.links[0].parent_ifindex == 11
    await rig.call("DEL")
    assert rig.kernel.read_vlans() == []


async def test_vlan_links_that_no_row_needs_go_at_the_start(rig: Rig):
    """As a lost journal leaves them whose pods are gone; those in use stay."""
    await rig.call("ADD", plugin=ON_100)
    await rig.call("ADD", "c2", name="net-b", plugin=ON_200)
    for file in Path(rig.pod()).iterdir():
        file.unlink()
    rig.lose_journal()
    assert await remove_unused_vlans(rig.engine) == 2
    assert rig.kernel.read_vlans() == [Parent(11, 200), Parent(12, 200)]


def test_a_plan_on_a_vlan_is_written_down_and_read_again():
    """The journal keeps the id; plans without one look as before."""
    link = CreateLink("net1-0", "macvlan", "eth1", 11, 1500, {"IFLA_MACVLAN_MODE": 4})
    on_vlan = CreateLink("net1-1", "macvlan", "eth1", 11, 1500, {"IFLA_MACVLAN_MODE": 4}, vlan=4094)
    plan = Plan((link, on_vlan))
    assert decode_plan(encode_plan(plan)) == plan
    assert encode_plan(plan).count('vlan":') == 1


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.close()


CRASHES = {
    "vlan.made": ["VLAN 100", "ADD"],
    "vlan.left": ["VLAN 100", "ADD", "DEL"],
    "vlan.removed": ["VLAN 100", "ADD", "DEL"],
    "add.journaled": ["VLAN 100", "ADD"],
    "apply.created": ["VLAN 100", "ADD"],
    "add.applied": ["VLAN 100", "ADD"],
    "undo.marked": ["VLAN 100", "REFUSE link net1-1", "ADD"],
    "undo.removed": ["VLAN 100", "REFUSE link net1-1", "ADD"],
    "del.marked": ["VLAN 100", "ADD", "DEL"],
    "del.removed": ["VLAN 100", "ADD", "DEL"],
}
"""Crash point to what leads there."""


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "beside another pod"])
@pytest.mark.parametrize("name", CRASHES)
async def test_a_crash_leaves_no_vlan_link_and_takes_none(tmp_path: Path, forks: Forks, name: str, shared: bool):
    """A new daemon finishes what was begun: the VLAN link is there for as long as a pod is on it, and no longer."""
    words = [*(["VLAN 100", "ADD c2"] if shared else []), *CRASHES[name]]
    if shared and name == "vlan.made":
        words[:2] = ["VLAN 200", "ADD c2"]  # else there would be nothing to make
    output = tmp_path / "output"
    environment = {crashpoints.VARIABLE: name}
    if shared:
        pid = forks.start("multinic_daemon.testing.actions:main", str(tmp_path), *words[:2], output=output)
        assert forks.wait(pid) == 0, output.read_text()
        words = words[2:]
    pid = forks.start(
        "multinic_daemon.testing.actions:main", str(tmp_path), *words, output=output, environment=environment
    )
    assert forks.wait(pid) == -signal.SIGKILL, output.read_text()
    rig = Rig(tmp_path)
    assert await recover(rig.engine) == 0
    left = {parent.vlan for parent in rig.kernel.read_vlans()}
    expected = {200 if name == "vlan.made" else 100} if shared else set()
    assert left == expected
    plugin: dict[str, Any] = {"type": "macvlan", "vlan": 100}
    assert len((await rig.call("ADD", plugin=plugin))["interfaces"]) == 3
    for container in ("c1", "c2"):
        await rig.call("DEL", container)
    assert rig.kernel.read_vlans() == []
    rig.assert_clean()
    rig.journal.close()
