"""Networks that would use one NIC in ways that do not go together: told before the kernel is asked, by name."""

from dataclasses import replace
from pathlib import Path

import pytest
from multinic_daemon.journal.sharing import Sharing
from multinic_daemon.podlinks.kernel import Parent
from multinic_daemon.testing import Rig

from multinic_core import CreateLink
from multinic_core.errors import NicInUseError

L3 = {"type": "ipvlan", "mode": "l3"}
BRIDGE = {"type": "macvlan", "mode": "bridge"}
PASSTHRU = {"type": "macvlan", "mode": "passthru"}


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """A node with two networks on the same two NICs."""
    made = Rig(tmp_path, nics=2)
    made.add_network("net-b", 2, prefix="192.169")
    return made


MIXED: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "ipvlan of another mode": (
        L3,
        L3 | {"mode": "l2"},
        "link 'net1-0': found NIC 'eth1' in use (ipvlan, mode l3, flag bridge by 1 pod of network 'net-a'), which does"
        " not go with ipvlan, mode l2, flag bridge; expected the same mode and flag",
    ),
    "ipvlan of another flag": (
        L3,
        L3 | {"flag": "private"},
        "(ipvlan, mode l3, flag bridge by 1 pod of network 'net-a'), which does not go with ipvlan, mode l3, flag pri",
    ),
    "macvlan beside ipvlan": (L3, BRIDGE, "which does not go with macvlan; expected either ipvlan or macvlan on a NIC"),
    "ipvlan beside macvlan": (
        BRIDGE,
        L3,
        "(macvlan by 1 pod of network 'net-a'), which does not go with ipvlan, mode l3",
    ),
    "passthru beside macvlan": (
        BRIDGE,
        PASSTHRU,
        "which does not go with macvlan, mode passthru; expected no other link",
    ),
    "macvlan beside passthru": (PASSTHRU, BRIDGE, "(macvlan, mode passthru by 1 pod of network 'net-a')"),
    "passthru beside passthru": (PASSTHRU, PASSTHRU, "(macvlan, mode passthru by 1 pod of network 'net-a')"),
    "passthru beside ipvlan": (L3, PASSTHRU, "which does not go with macvlan, mode passthru"),
}
TOGETHER = {
    "ipvlan of one mode": (L3, L3),
    "macvlan of one mode": (BRIDGE, BRIDGE),
    "macvlan of several modes": (BRIDGE, BRIDGE | {"mode": "private"}),
    "macvlan bridge and vepa": (BRIDGE, BRIDGE | {"mode": "vepa"}),
}


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("name", MIXED)
async def test_a_use_that_does_not_go_with_the_others_is_refused(rig: Rig, name: str, restarted: bool):
    """Network, pods and use are named, the kernel is not touched, nothing is held; a new daemon knows it as well."""
    first, second, words = MIXED[name]
    await rig.call("ADD", plugin=first)
    if restarted:
        rig.restart()
    held, rig.kernel.calls = rig.held(), []
    refusal = await rig.refused(NicInUseError, "ADD", "c2", name="net-b", plugin=second)
    assert words in refusal
    assert "'eth2'" in refusal, "all links are told of at once"
    assert (rig.kernel.calls, rig.held(), rig.pod_links("c2")) == ([], held, [])


@pytest.mark.parametrize("name", TOGETHER)
async def test_uses_that_go_together_are_let_pass(rig: Rig, name: str):
    """What the kernel accepts beside each other is refused by nobody."""
    first, second = TOGETHER[name]
    await rig.call("ADD", plugin=first)
    assert await rig.call("ADD", "c2", name="net-b", plugin=second)


async def test_the_nic_is_free_again_when_the_last_pod_has_left(rig: Rig):
    """Pods are counted, by network; one that goes is counted no more."""
    for container in ("c1", "c2"):
        await rig.call("ADD", container, plugin=L3)
    await rig.call("ADD", "c3", name="net-b", plugin=L3)
    refusal = await rig.refused(NicInUseError, "ADD", "c4", plugin=BRIDGE)
    assert "by 2 pods of network 'net-a', 1 pod of network 'net-b'" in refusal
    await rig.call("DEL", "c3", name="net-b")
    await rig.call("DEL", "c1")
    assert "by 1 pod of network 'net-a')" in await rig.refused(NicInUseError, "ADD", "c4", plugin=BRIDGE)
    await rig.call("DEL", "c2")
    assert await rig.call("ADD", "c4", plugin=BRIDGE)


async def test_only_the_nics_that_a_pod_gets_count(rig: Rig):
    """Two networks may use two NICs in two ways."""
    await rig.call("ADD", plugin=L3, masterNets=["10.0.1.0/24"])
    assert await rig.call("ADD", "c2", plugin=BRIDGE, masterNets=["10.0.2.0/24"])


async def test_a_pod_whose_links_are_made_anew_is_not_in_its_own_way(rig: Rig):
    """An ADD that first removes what an earlier one has left does not find itself there."""
    await rig.call("ADD", plugin=PASSTHRU)
    (rig.folder / "netns" / "c1" / "net1-1").unlink()
    assert await rig.call("ADD", plugin=PASSTHRU)


async def test_what_was_taken_over_counts_too(rig: Rig):
    """After a lost journal the kernel shows who uses a NIC how, though perhaps not for which network."""
    await rig.call("ADD", plugin=L3)
    rig.lose_journal()
    assert "ipvlan, mode l3, flag bridge by 1 pod" in await rig.refused(NicInUseError, "ADD", "c2", plugin=BRIDGE)


OF_NODE = {(11, 0): {"ipvlan, mode l2, flag bridge": "hand0"}, (12, 100): {"macvlan": "hand1"}}
"""What discovery says of a node on which a person made two links."""


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (L3, "link 'net1-0': found NIC 'eth1' in use (ipvlan, mode l2, flag bridge by link 'hand0' of the node)"),
        (BRIDGE, "(ipvlan, mode l2, flag bridge by link 'hand0' of the node), which does not go with macvlan"),
        (
            L3 | {"vlan": 100},
            "link 'net1-1': found VLAN 100 of NIC 'eth2' in use (macvlan by link 'hand1' of the node)",
        ),
    ],
)
async def test_links_of_the_node_itself_count_too(rig: Rig, plugin: dict[str, str], words: str):
    """Such as one made by hand: the kernel would change an ipvlan link of another mode in silence."""
    rig.view = replace(rig.view, uses=OF_NODE)
    assert words in await rig.refused(NicInUseError, "ADD", plugin=plugin)
    rig.assert_clean()


@pytest.mark.parametrize("plugin", [L3 | {"mode": "l2"}, BRIDGE | {"vlan": 100}, L3 | {"vlan": 200}])
async def test_links_of_the_node_that_go_together_are_no_obstacle(rig: Rig, plugin: dict[str, str]):
    """The same mode, another VLAN, or a kind that shares."""
    rig.view = replace(rig.view, uses=OF_NODE)
    assert await rig.call("ADD", plugin=plugin)


def link(ifindex: int, kind: str = "macvlan", vlan: int = 0, **attributes: int) -> CreateLink:
    return CreateLink("net1-0", kind, f"eth{ifindex}", ifindex, 1500, attributes, vlan=vlan)


def test_a_vlan_link_is_a_parent_of_its_own():
    """What is on a NIC does not count for a VLAN on it, nor for another VLAN."""
    sharing = Sharing()
    sharing.set(1, "net-a", [link(5), link(5, "ipvlan", 100, IFLA_IPVLAN_MODE=1)])
    assert not sharing.obstacles(link(5, "ipvlan", 101, IFLA_IPVLAN_MODE=0))
    assert sharing.obstacles(link(5, "ipvlan", 100, IFLA_IPVLAN_MODE=0))
    assert sharing.parents() == {Parent(5), Parent(5, 100)}


def test_counting_forgets_exactly_what_it_was_told():
    """Rows may be told of twice and removed twice; in the end nothing is left."""
    sharing = Sharing()
    for _ in range(2):
        sharing.set(1, "net-a", [link(5), link(6)])
        sharing.set(2, "net-b", [link(6)])
    sharing.remove(1)
    sharing.remove(1)
    assert sharing.parents() == {Parent(6)}
    assert dict(sharing.obstacles(link(6, IFLA_MACVLAN_MODE=8))) == {"macvlan": {"net-b": 1}}
    sharing.set(2, "net-b", [])
    assert not sharing.parents()


def test_kinds_that_the_kernel_lets_share_are_no_obstacle():
    """Of a kind without such a rule nothing is said."""
    sharing = Sharing()
    sharing.set(1, "net-a", [link(5, "teapot")])
    assert not sharing.obstacles(link(5))
    sharing.set(1, "net-a", [link(5)])
    assert not sharing.obstacles(link(5, "teapot"))
