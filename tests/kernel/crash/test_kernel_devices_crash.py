"""kill -9 of the real daemon while a pod gets NICs of the node whole, and while they come back."""

import json
import signal
from typing import Any

import pytest

from .conftest import NICS, ip

pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth", "macvlan")]

HOST_DEVICE = {"type": "host-device", "mtu": 1400}
TRY_LATER = 11
TAKING = [
    "add.journaled",
    "devices.marked",
    "devices.configured",
    "devices.moved",
    "apply.created",
    "add.applied",
    "add.ready",
]
RETURNING = ["del.marked", "devices.returned", "devices.restored", "del.removed", "del.released"]
"""Out of crashpoints.NAMES: what lies between a NIC on the node and the same NIC in a pod."""


def nics(node: Any) -> dict[str, Any]:
    """What must be as it was, of each NIC of the node."""
    found = json.loads(ip("-n", node.name, "-d", "-j", "address", "show"))
    return {
        link["ifname"]: (
            link["mtu"],
            link["address"],
            link["group"],
            "UP" in link["flags"],
            [each["local"] for each in link["addr_info"] if each["scope"] == "global"],
        )
        for link in found
        if link["ifname"] != "lo"
    }


def add(node: Any, pod: str, count: int = NICS) -> Any:
    return node.call("ADD", pod, plugin=HOST_DEVICE, args={"cni": {"nics": count}})


@pytest.fixture
def clean(crash_node: Any) -> Any:
    """The node without its keeper, whose links would go with the NICs."""
    crash_node.start()
    assert crash_node.call("DEL", "keeper") is None
    crash_node.kill()
    return crash_node


@pytest.mark.parametrize("crash_node", [{"type": "macvlan", "mode": "bridge"}], indirect=True, ids=["devices"])
@pytest.mark.parametrize("name", [*TAKING, *RETURNING])
def test_killed_with_devices_on_their_way(clean: Any, name: str) -> None:
    """Whatever was begun, the next daemon has all NICs back or all in the pod, and the node is as it was in the end."""
    node, before = clean, nics(clean)
    assert set(before) == {f"eth{number}" for number in range(1, NICS + 1)}
    if name in TAKING:
        node.start(name)
        assert add(node, "p1")["code"] == TRY_LATER
    else:
        node.start()
        assert "ips" in add(node, "p1")
        node.kill()
        node.start(name)
        assert node.call("DEL", "p1") is None
    assert node.ended() == -signal.SIGKILL
    node.start()
    there = set(node.links("p1"))
    assert there == ({"net1-0", "net1-1", "net1-2"} if name == "add.ready" else set())
    node.until(lambda: len(nics(node)) + len(there) == NICS)
    if not there:
        assert nics(node) == before
    answer = add(node, "p1")
    assert len(answer["ips"]) == NICS, answer
    assert nics(node) == {}
    assert node.call("CHECK", "p1", plugin=HOST_DEVICE, args={"cni": {"nics": NICS}}, prevResult=answer) is None
    assert "in use" in add(node, "p2", 1)["msg"]
    assert node.call("DEL", "p1") is None
    assert nics(node) == before
    assert node.rows() == []
    node.kill()
