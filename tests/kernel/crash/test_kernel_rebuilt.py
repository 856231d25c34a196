"""Pods with routes, rules and settings are known again when the journal is lost: CHECK and DEL are as before."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from multinic_daemon.journal.journal import GROUP_BASE

pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth", "macvlan", "bridge")]

MACVLAN = pytest.param({"type": "macvlan", "sourceRouting": True}, id="macvlan")
IPVLAN = pytest.param(
    {"type": "ipvlan", "mode": "l2", "sourceRouting": True}, id="ipvlan", marks=pytest.mark.link_kind("ipvlan")
)
on_macvlan = pytest.mark.parametrize("crash_node", [MACVLAN], indirect=True)
on_both = pytest.mark.parametrize("crash_node", [MACVLAN, IPVLAN], indirect=True)

CHECK_FAILED = 101
SPREAD = [{"dst": "10.80.0.0/16", "gw": gateway} for gateway in ("192.168.0.9", "192.168.64.9")]
IPAM = {"type": "multi-nic-ipam", "routes": [{"dst": "172.16.0.0/12", "gw": "192.168.0.1"}, *SPREAD]}
OUR_PROTOCOL = "109"


def run(node: Any, pod: str, command: str) -> str:
    """What a shell in a pod prints."""
    inside = ["nsenter", f"--net={node.pod(pod)}", "sh", "-c", command]
    return subprocess.run(inside, env=node.environment, capture_output=True, text=True, timeout=60, check=True).stdout


def attached(node: Any, *, mirrored: bool) -> Any:
    """Pod p1 on a node whose journal is lost; what ADD answered."""
    node.start()
    node.until(node.serves)
    result = node.call("ADD", "p1", ipam=IPAM)
    node.until(lambda: f"p1 {result['ips'][0]['address'].partition('/')[0]}" in node.mirrored())
    node.lose()
    if not mirrored:
        node.unmirror("p1")
    node.start()
    node.until(node.serves)
    return result


def mutilations(result: Any) -> dict[str, tuple[str, str]]:
    """What is done to the pod, to the words in which CHECK names it; the way back is found by trying."""
    first, second = (ip["address"].partition("/")[0] for ip in result["ips"][:2])
    conf = "/proc/sys/net/ipv4/conf/net1-1"
    return {
        f"ip rule del from {second} lookup 1101": f"rule from {second}/32 lookup 1101 with priority 32765",
        f"ip rule del from {first} lookup 1100": f"rule from {first}/32 lookup 1100",
        "ip route flush table 1101": "on link 'net1-1' in table 1101 is missing",
        "ip route del 172.16.0.0/12 table main": "route 172.16.0.0/12 via 192.168.0.1 on link 'net1-0' is missing",
        "ip route del 172.16.0.0/12 table 1100": "on link 'net1-0' in table 1100 is missing",
        "ip route replace 10.80.0.0/16 via 192.168.0.9 table main": (
            "route 10.80.0.0/16 via 192.168.0.9 on link 'net1-0' and via 192.168.64.9 on link 'net1-1' is missing"
        ),
        f"echo 1 > {conf}/rp_filter": "'net1-1' has rp_filter 1, expected 2",
        f"echo 0 > {conf}/arp_ignore": "'net1-1' has arp_ignore 0, expected 1",
        f"echo 0 > {conf}/arp_announce": "'net1-1' has arp_announce 0, expected 2",
    }


@on_both
@pytest.mark.parametrize("mirrored", [True, False], ids=["mirrored", "known to the kernel alone"])
def test_check_names_each_mutilation_and_del_leaves_nothing(crash_node: Any, mirrored: bool) -> None:
    """As with a journal that was never lost: what ADD wrote is compared, and rules go with their attachment."""
    result = attached(crash_node, mirrored=mirrored)
    (row,) = [row for row in crash_node.rows() if row["netns"] == crash_node.pod("p1")]
    assert row["state"] == ("ready" if mirrored else "unknown")
    assert crash_node.call("CHECK", "p1", prevResult=result, ipam=IPAM) is None
    said: list[str] = []
    for command, words in mutilations(result).items():
        run(crash_node, "p1", command)
        answer = crash_node.call("CHECK", "p1", prevResult=result, ipam=IPAM)
        assert answer["code"] == CHECK_FAILED
        assert words in answer["msg"]
        assert all(each in answer["msg"] for each in said)
        said.append(words)
    run(crash_node, "p1", f"ip rule add from 10.9.9.9 lookup 1100 protocol {OUR_PROTOCOL}")
    assert crash_node.call("DEL", "p1") is None
    assert crash_node.links("p1") == {}
    left = [line for line in run(crash_node, "p1", "ip rule show").splitlines() if "lookup 110" in line]
    assert [line.split()[2] for line in left] == ["10.9.9.9"]
    run(crash_node, "p1", "ip rule del from 10.9.9.9")
    crash_node.until(lambda: crash_node.audit() == {"keeper"})
    crash_node.kill()


@on_macvlan
def test_second_attachment_of_a_pod_keeps_its_own_rules(crash_node: Any) -> None:
    """Rules are told apart by whose address they are from."""
    crash_node.start()
    crash_node.until(crash_node.serves)
    for ifname in ("net1", "net2"):
        assert "ips" in crash_node.call("ADD", "p1", ifname=ifname)
    before = run(crash_node, "p1", "ip rule show")
    assert (before.count("lookup 110"), before.count("lookup 120")) == (3, 3)
    crash_node.kill()
    crash_node.lose()
    crash_node.start()
    crash_node.until(crash_node.serves)
    assert crash_node.call("DEL", "p1") is None
    after = run(crash_node, "p1", "ip rule show")
    assert (after.count("lookup 110"), after.count("lookup 120")) == (0, 3)
    assert crash_node.call("DEL", "p1", ifname="net2") is None
    assert "lookup 120" not in run(crash_node, "p1", "ip rule show")
    crash_node.kill()


@on_macvlan
def test_links_of_another_node_and_software_of_nobody_are_left_alone(crash_node: Any) -> None:
    """Beside a second node on the same kernel only links on this node's own NICs are taken over."""
    stranger = Path(crash_node.pod("stranger")).name
    group = str(GROUP_BASE + 7)
    crash_node.ip_in("other-node", "link", "add", "eth1", "type", "veth", "peer", "name", "far1")
    crash_node.ip_in("other-node", "link", "set", "eth1", "up")
    crash_node.ip_in("other-node", "link", "add", "mv1", "link", "eth1", "type", "macvlan", "mode", "bridge")
    crash_node.ip_in("other-node", "link", "set", "mv1", "group", group, "netns", stranger, "name", "net1-0")
    crash_node.ip_in("stranger", "address", "add", "192.168.0.99/18", "dev", "net1-0")
    crash_node.ip_in("stranger", "link", "add", "br0", "group", group, "type", "bridge")
    crash_node.ip_in("stranger", "address", "add", "192.168.0.98/18", "dev", "br0")
    crash_node.lose()
    crash_node.start()
    crash_node.until(crash_node.serves)
    rows = crash_node.rows()
    assert "keeper" in {row["containerID"] for row in rows}
    assert crash_node.pod("stranger") not in {row["netns"] for row in rows}
    held = {each["address"] for row in rows for each in row["addresses"]}
    assert not held & {"192.168.0.98/18", "192.168.0.99/18"}
    crash_node.kill()
    for name in ("stranger", "other-node"):
        crash_node.remove_pod(name)
