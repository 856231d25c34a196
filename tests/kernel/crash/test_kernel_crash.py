"""kill -9 of the real daemon at every step of what it does to real links, and what the runtime's retry then finds."""

import signal
from pathlib import Path
from typing import Any

import pytest
from multinic_daemon import crashpoints

pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth", "macvlan")]

MACVLAN = {"type": "macvlan", "mode": "bridge"}
IPVLAN = {"type": "ipvlan", "mode": "l3"}
ELSEWHERE = ("journal", "adoption", "takenover", "proof", "mirror", "devices", "vlan", "outside")
"""Operations of test_kernel_adoption, and of test_kernel_devices_crash, test_kernel_vlan_crash and the like."""
NAMES = [name for name in crashpoints.NAMES if name.partition(".")[0] not in ELSEWHERE]
"""Out of the registry, so that a new step is killed here as well."""
RETRIES = {"add": ["ADD", "DEL,ADD"], "apply": ["ADD", "DEL,ADD"], "addresses": ["ADD", "DEL,ADD"]}
RETRIES |= {"undo": ["DEL,ADD"], "replace": ["ADD"], "recovery": ["DEL,ADD"]}
"""Operation to what runtimes do after an answer that never came; where it is absent, DEL again and again."""
TRY_LATER, KERNEL_REFUSED = 11, 107
IPAM: dict[str, Any] = {"executable": "multi-nic-ipam", "masters": ["eth1", "eth2"]}
KEEPER = {"containerID": "keeper", "ifname": "net1"}


def die(node: Any, name: str) -> None:
    """Bring a daemon to the point and see it die there."""
    match name.partition(".")[0]:
        case "add" | "apply":
            node.start(name)
            assert node.call("ADD", "p1")["code"] == TRY_LATER
        case "addresses":
            node.start(name)
            assert node.call("ADD", "p1", **IPAM)["code"] == TRY_LATER
        case "undo":
            node.start(name)
            node.ip_in("p1", "link", "add", "net1-2", "type", "veth", "peer", "name", "other")
            assert node.call("ADD", "p1")["code"] == TRY_LATER
            node.ip_in("p1", "link", "del", "net1-2")
        case "replace":
            node.start()
            assert "ips" in node.call("ADD", "p1")
            node.ip_in("p1", "link", "del", "net1-1")
            node.kill()
            node.start(name)
            assert node.call("ADD", "p1")["code"] == TRY_LATER
        case "del":
            node.start(name)
            assert "ips" in node.call("ADD", "p1")
            assert node.call("DEL", "p1") is None
        case "gc":
            node.start(name)
            assert "ips" in node.call("ADD", "p1")
            assert "ips" in node.call("ADD", "p2")
            assert node.call("GC", **{"cni.dev/valid-attachments": [KEEPER]})["code"] == TRY_LATER
        case "sweep":
            node.start(name)
            path = node.folder / "p1.netns"
            point_to(path, node.pod("p1"))
            assert "ips" in node.call("ADD", "p1", netns=str(path))
            point_to(path, path.name)  # the kernel follows it to no end, and refuses
            assert node.call("DEL", "p1", netns=str(path))["code"] == KERNEL_REFUSED
            point_to(path, node.pod("p1"))
        case "recovery" if name == "recovery.forgotten":
            node.start()
            assert "ips" in node.call("ADD", "p1")
            node.kill()
            node.reboot("p1")
            node.start(name)
        case "recovery":
            node.start("add.applied")
            assert node.call("ADD", "p1")["code"] == TRY_LATER
            assert node.ended() == -signal.SIGKILL
            node.start(name)
        case "tombstone":
            node.start()
            assert "ips" in node.call("ADD", "p1")
            node.kill()
            assert node.call("DEL", "p1") is None
            node.start(name)
    assert node.ended() == -signal.SIGKILL


def point_to(path: Path, target: str) -> None:
    """Make or replace a symbolic link."""
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def retries(name: str) -> list[str]:
    return RETRIES.get(name.partition(".")[0], ["DEL,DEL"])


def crash_and_retry(node: Any, name: str, words: list[str]) -> None:
    """One pod lives through all of it; the others go at the end."""
    die(node, name)
    node.start()
    there = node.audit() - {"keeper"}
    if name in ("add.ready", "addresses.ready"):
        assert there == {"p1"}
    else:
        assert there <= ({"p1", "p2"} if name.startswith("gc.") else set())
    for word in words:
        answer = node.call(word, "p1")
        assert (answer is None) if word == "DEL" else (len(answer["ips"]) == 3), answer
        node.audit()
    assert node.call("CHECK", "keeper", prevResult=node.kept) is None
    assert node.call("GC", **{"cni.dev/valid-attachments": [KEEPER]}) is None
    assert node.call("DEL", "p1", **IPAM) is None
    assert node.audit() == {"keeper"}
    assert list((node.run_dir / "tombstones").glob("*")) == []
    node.kill()


@pytest.mark.parametrize("crash_node", [MACVLAN], indirect=True, ids=["macvlan"])
@pytest.mark.parametrize(("name", "words"), [(name, words) for name in NAMES for words in retries(name)])
def test_killed_at_this_point_and_asked_again(crash_node: Any, name: str, words: str) -> None:
    """Nothing leaks, nothing is given twice, no link is half made, other pods do not notice, and the retry succeeds."""
    crash_and_retry(crash_node, name, words.split(","))


@pytest.mark.link_kind("ipvlan")
@pytest.mark.parametrize("crash_node", [IPVLAN], indirect=True, ids=["ipvlan"])
@pytest.mark.parametrize("name", NAMES)
def test_killed_at_this_point_with_ipvlan(crash_node: Any, name: str) -> None:
    """The same on a kernel with ipvlan, for the last of the retries."""
    crash_and_retry(crash_node, name, retries(name)[-1].split(","))
