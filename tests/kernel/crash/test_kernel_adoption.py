"""A journal that is lost or refused, on real links with the real daemon: what is held is found again, and held."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from multinic_daemon import crashpoints

from multinic_core.model import IPPOOLS, PODS
from multinic_core.ports import Kubernetes

pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth", "macvlan")]

MACVLAN = pytest.param({"type": "macvlan", "mode": "bridge"}, id="macvlan")
IPVLAN = pytest.param({"type": "ipvlan", "mode": "l3"}, id="ipvlan", marks=pytest.mark.link_kind("ipvlan"))
on_macvlan = pytest.mark.parametrize("crash_node", [MACVLAN], indirect=True)
on_both = pytest.mark.parametrize("crash_node", [MACVLAN, IPVLAN], indirect=True)
POOL = "net-a-192.168.0.0-24"
NODE = "node-1"
WRITE_SECONDS = 1.0
"""At least, between two writes of one pool."""


def lose(node: Any) -> None:
    node.lose()


def spoil(node: Any) -> None:
    node.kill()
    path: Path = node.run_dir / "journal.db"
    for file in node.run_dir.glob("journal.db-*"):
        file.unlink()
    path.write_bytes(b"spoilt" * 1000)


def attached(node: Any) -> Any:
    """A daemon with pod p1 attached, and in the mirror; what ADD answered."""
    node.start()
    node.until(node.serves)
    result = node.call("ADD", "p1")
    node.until(lambda: f"p1 {result['ips'][0]['address'].partition('/')[0]}" in node.mirrored())
    return result


@on_both
@pytest.mark.parametrize("ruin", [lose, spoil])
def test_pods_live_on_without_the_journal(crash_node: Any, ruin: Callable[[Any], None]) -> None:
    """Each attachment is known again by container id, addresses and links; a spoilt file is kept aside."""
    result = attached(crash_node)
    ruin(crash_node)
    crash_node.start()
    crash_node.until(crash_node.serves)
    crash_node.until(lambda: {row["state"] for row in crash_node.rows()} == {"ready"})
    assert crash_node.audit() == {"keeper", "p1"}
    assert len(list(crash_node.run_dir.glob("journal.db.refused-damaged-*Z"))) == (ruin is spoil)
    assert crash_node.call("CHECK", "p1", prevResult=result) is None
    assert crash_node.call("CHECK", "keeper", prevResult=crash_node.kept) is None
    again = crash_node.call("ADD", "p1")
    assert [ip["address"] for ip in again["ips"]] == [ip["address"] for ip in result["ips"]]
    other = crash_node.call("ADD", "p2")
    assert not {ip["address"] for ip in other["ips"]} & {ip["address"] for ip in result["ips"]}
    for pod in ("p1", "p2"):
        assert crash_node.call("DEL", pod) is None
    assert crash_node.audit() == {"keeper"}
    crash_node.until(lambda: crash_node.mirrored_pods() == {"keeper"})
    crash_node.kill()


@on_both
@pytest.mark.parametrize("name", ["mirror.differs", "mirror.written"])
def test_killed_around_a_write_of_the_mirror(crash_node: Any, name: str) -> None:
    """The next daemon makes it right, with no more writes than that takes."""
    attached(crash_node)
    crash_node.until(lambda: crash_node.mirrored_pods() == {"keeper", "p1"})
    crash_node.kill()
    crash_node.unmirror("p1")
    crash_node.start(name)
    assert crash_node.ended() == -signal.SIGKILL
    crash_node.start()
    crash_node.until(lambda: crash_node.mirrored_pods() == {"keeper", "p1"})
    assert crash_node.call("DEL", "p1") is None
    crash_node.until(lambda: crash_node.mirrored_pods() == {"keeper"})
    crash_node.kill()


@on_both
def test_links_that_the_mirror_never_heard_of_are_held(crash_node: Any) -> None:
    """Journal gone before the mirror was written: the kernel alone knows. DEL finds them by their namespace."""
    result = attached(crash_node)
    lose(crash_node)
    crash_node.unmirror("p1")
    crash_node.start()
    crash_node.until(crash_node.serves)
    (row,) = [row for row in crash_node.rows() if row["state"] == "unknown"]
    assert {each["address"] for each in row["addresses"]} == {ip["address"] for ip in result["ips"]}
    other = crash_node.call("ADD", "p2")
    assert not {ip["address"] for ip in other["ips"]} & {ip["address"] for ip in result["ips"]}
    assert crash_node.call("DEL", "p2") is None
    assert crash_node.call("DEL", "p1") is None
    assert crash_node.links("p1") == {}
    crash_node.until(lambda: {row["state"] for row in crash_node.rows()} == {"ready"})
    assert crash_node.audit() == {"keeper"}
    crash_node.kill()


@on_both
@pytest.mark.parametrize("name", ["journal.aside", "adoption.surveyed", "adoption.written", "adoption.held"])
def test_killed_while_taking_over(crash_node: Any, name: str) -> None:
    """Begun again or done: the next daemon knows every pod."""
    (spoil if name == "journal.aside" else lose)(crash_node)
    crash_node.start(name)
    assert crash_node.ended() == -signal.SIGKILL
    crash_node.start()
    crash_node.until(crash_node.serves)
    # What the mirror still had of earlier pods is held until they are proven dead.
    crash_node.until(lambda: {row["state"] for row in crash_node.rows()} == {"ready"})
    assert crash_node.audit() == {"keeper"}
    crash_node.kill()


def leave_by_the_original(node: Any, pod: str) -> str:
    """Attach a pod as the original does: an entry with a name and an address, a link without a group. The mirror names
    another pod besides, ``gone``, that nobody knows. Gives the pod's UID."""
    address, plugin = "192.168.0.77", node.plugin

    async def write(kubernetes: Kubernetes) -> str:
        spec = {"nodeName": NODE, "containers": [{"name": "c", "image": "i"}]}
        await kubernetes.create(PODS, {"metadata": {"name": pod, "namespace": "default"}, "spec": spec})
        entry = {"pod": pod, "namespace": "default", "index": 77, "address": address}
        gone = {"pod": "gone", "namespace": "default", "index": 78, "address": "192.168.0.78"}
        there = (await kubernetes.get(IPPOOLS, POOL)).to_json()["spec"]["allocations"]
        await kubernetes.patch(IPPOOLS, POOL, {"spec": {"allocations": [*there, entry, gone]}})
        return (await kubernetes.get(PODS, pod, "default")).metadata.uid or ""

    node.ip_on_node("link", "add", "link77", "link", "eth1", "type", plugin["type"], "mode", plugin["mode"])
    node.ip_on_node("link", "set", "link77", "netns", Path(node.pod(pod)).name, "name", "net1-0")
    node.ip_in(pod, "address", "add", f"{address}/18", "dev", "net1-0")
    uid: str = node.ask(write)
    return uid


@on_both
def test_pod_of_the_original_is_taken_over_and_detached(crash_node: Any) -> None:
    """Its entry knows a name and an address; its link carries no group. DEL removes the link and frees the address."""
    crash_node.kill()
    leave_by_the_original(crash_node, "web-0")
    lose(crash_node)
    crash_node.start()
    crash_node.until(crash_node.serves)
    crash_node.until(lambda: "gone 192.168.0.78" not in crash_node.mirrored())
    assert "web-0 192.168.0.77" in crash_node.mirrored()
    assert crash_node.call("DEL", "web-0") is None
    assert crash_node.links("web-0") == {}
    crash_node.until(lambda: crash_node.mirrored_pods() == {"keeper"})
    assert {row["state"] for row in crash_node.rows()} == {"ready"}
    assert crash_node.audit() == {"keeper"}
    crash_node.kill()


@on_both
@pytest.mark.parametrize(
    "name", [name for name in crashpoints.NAMES if name.partition(".")[0] in ("takenover", "proof")]
)
def test_killed_while_what_was_taken_over_goes(crash_node: Any, name: str) -> None:
    """By DEL or by proof: begun again or done, and nobody else's links go."""
    crash_node.kill()
    pod = name.replace(".", "-")
    uid = leave_by_the_original(crash_node, pod)
    lose(crash_node)
    crash_node.start(name)
    if name.startswith("takenover."):
        crash_node.until(crash_node.serves)
        crash_node.call("DEL", pod, uid=uid)  # whatever the executable makes of it
    assert crash_node.ended() == -signal.SIGKILL
    crash_node.start()
    crash_node.until(crash_node.serves)
    assert crash_node.call("DEL", pod, uid=uid) is None
    assert crash_node.links(pod) == {}
    crash_node.until(lambda: crash_node.mirrored_pods() == {"keeper"})
    assert {row["state"] for row in crash_node.rows()} == {"ready"}
    assert crash_node.audit() == {"keeper"}
    crash_node.kill()


@on_macvlan
def test_mirror_follows_in_few_writes(crash_node: Any) -> None:
    """Of a real API server, by a real clock: after each answer, and no pool is written twice in a second."""
    crash_node.start()
    crash_node.until(crash_node.serves)
    crash_node.until(lambda: crash_node.mirrored_pods() == {"keeper"})

    async def generation(kubernetes: Kubernetes) -> int:
        return (await kubernetes.get(IPPOOLS, POOL)).metadata.generation or 0

    begun, before = time.monotonic(), crash_node.ask(generation)
    for word, pod in (("ADD", "p1"), ("ADD", "p2"), ("DEL", "p1"), ("ADD", "p3"), ("DEL", "p2"), ("ADD", "p1")):
        crash_node.call(word, pod)
    crash_node.until(lambda: crash_node.mirrored_pods() == {"keeper", "p1", "p3"})
    for pod in ("p1", "p3"):
        crash_node.call("DEL", pod)
    crash_node.until(lambda: crash_node.mirrored_pods() == {"keeper"})
    writes, elapsed = crash_node.ask(generation) - before, time.monotonic() - begun
    assert 2 <= writes <= elapsed / WRITE_SECONDS + 1
    assert crash_node.audit() == {"keeper"}
    crash_node.kill()
