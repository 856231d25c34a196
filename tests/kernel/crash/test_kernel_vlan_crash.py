"""kill -9 of the real daemon while pods come to a VLAN of their NICs or leave it, and what the next makes of it."""

import signal
from typing import Any

import pytest

MACVLAN = {"type": "macvlan", "mode": "bridge"}
ON_VLAN: dict[str, dict[str, Any]] = {
    "macvlan": {"type": "macvlan", "vlan": 100},
    "ipvlan": {"type": "ipvlan", "mode": "l3", "vlan": 100},
}
VLANS = ("eth1.100", "eth2.100", "eth3.100")
TRY_LATER = 11
COMING = ("vlan.made", "apply.created", "add.applied", "undo.removed")
LEAVING = ("vlan.left", "vlan.removed", "del.marked", "del.removed")
"""Crash points of an ADD and of a DEL."""

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.link_kind("veth", "macvlan", "ipvlan", "vlan"),
    pytest.mark.parametrize("crash_node", [MACVLAN], indirect=True, ids=["macvlan"]),
]


def clean_up(node: Any, *pods: str) -> None:
    """The runtime asks once more for everything, and then for nothing."""
    for pod in pods:
        assert node.call("DEL", pod) is None
    assert node.audit() == {"keeper"}
    node.kill()


@pytest.mark.parametrize("kind", ON_VLAN)
@pytest.mark.parametrize("name", COMING)
def test_killed_while_the_first_pod_comes(crash_node: Any, name: str, kind: str) -> None:
    """Nothing of the VLAN is left, and asked again the pod gets it, with a second one on the same VLAN links."""
    node, plugin = crash_node, ON_VLAN[kind]
    node.start(name)
    if name.startswith("undo"):
        node.ip_in("p1", "link", "add", "net1-2", "type", "veth", "peer", "name", "other")
    assert node.call("ADD", "p1", plugin=plugin)["code"] == TRY_LATER
    assert node.ended() == -signal.SIGKILL
    if name.startswith("undo"):
        node.ip_in("p1", "link", "del", "net1-2")
    node.start()
    assert node.audit() == {"keeper"}
    for pod in ("p1", "p2"):
        assert "ips" in node.call("ADD", pod, plugin=plugin)
    assert node.audit(*VLANS) == {"keeper", "p1", "p2"}
    assert node.call("DEL", "p1") is None
    assert node.audit(*VLANS) == {"keeper", "p2"}
    clean_up(node, "p2")


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another"])
@pytest.mark.parametrize("name", LEAVING)
def test_killed_while_a_pod_leaves(crash_node: Any, name: str, beside: bool) -> None:
    """The VLAN links go with the last pod on them, and not before, whoever finishes the DEL."""
    node, plugin = crash_node, ON_VLAN["macvlan"]
    if beside:
        node.start()
        kept = node.call("ADD", "p2", plugin=plugin)
        assert "ips" in kept
        node.kill()
    node.start(name)
    assert "ips" in node.call("ADD", "p1", plugin=plugin)
    assert node.call("DEL", "p1") is None
    assert node.ended() == -signal.SIGKILL
    node.start()
    if beside:
        assert node.audit(*VLANS) == {"keeper", "p2"}
        assert node.call("CHECK", "p2", plugin=plugin, prevResult=kept) is None
    else:
        assert node.audit() == {"keeper"}
    clean_up(node, "p1", "p2")


def test_a_lost_journal_finds_pods_on_a_vlan_and_removes_what_nobody_needs(crash_node: Any) -> None:
    """Pods are taken over with the VLAN links under them; VLAN links without pods go when the node is known again."""
    node, plugin = crash_node, ON_VLAN["macvlan"]
    node.start()
    for pod, on in (("p1", plugin), ("p2", plugin | {"vlan": 200})):
        assert "ips" in node.call("ADD", pod, plugin=on)
    node.until(lambda: {"p1", "p2"} <= node.mirrored_pods())
    node.kill()
    for ifname in node.links("p2"):
        node.ip_in("p2", "link", "del", ifname)
    node.lose()
    node.start()
    node.until(lambda: not any(name.endswith(".200") for name in node.node_links()))
    assert set(VLANS) <= node.node_links()
    for pod in ("p1", "p2"):
        assert node.call("DEL", pod) is None
    node.until(lambda: not set(VLANS) & node.node_links())
    node.kill()
