"""Links of a pod that are held to what they were promised, as ``tc`` sees them on a real kernel."""

import json
import re
import subprocess
from ipaddress import ip_interface
from typing import Any

import pytest
from multinic_daemon.netlink.shaping import bucket
from multinic_daemon.podlinks.apply import apply_plan, differences, remove_links
from multinic_lab.provision import tools
from multinic_plugin_ipvlan import Ipvlan
from multinic_plugin_macvlan import Macvlan

from multinic_core import MainPlugin, Plan
from multinic_core.plan import AttachmentRequest, LinkRequest, Nic, NodeView, PodReference

GROUP = 0x5A0003
MACVLAN = Macvlan()

pytestmark = pytest.mark.needs_root
macvlan = pytest.mark.link_kind("veth", "macvlan")
ipvlan = pytest.mark.link_kind("veth", "ipvlan")


def plan_of(ground: Any, *rates: int, plugin: MainPlugin = MACVLAN) -> Plan:
    """What the plugin plans for links on NICs ``eth1`` and on that were promised these rates, 0 being none."""
    nics = {f"eth{number}": ground.nic(f"eth{number}") for number in range(1, len(rates) + 1)}
    node = NodeView("node-1", {ifname: Nic(ifname, ifindex, 1500) for ifname, ifindex in nics.items()})
    links = tuple(
        LinkRequest(f"net1-{number}", nic, (ip_interface(f"10.0.{number}.7/24"),), rate=rate)
        for number, (nic, rate) in enumerate(zip(nics, rates, strict=True))
    )
    config = {"type": plugin.name, "cniVersion": "1.0.0", "rateLimit": True}
    request = AttachmentRequest("c1", "net1", "", "net-a", PodReference("default", "pod-1", "u1"), config, links)
    return plugin.plan(request, node)


def tc(path: str, *arguments: str) -> Any:
    """``tc -j -d`` in a namespace."""
    command = ["tc", "-n", path.rpartition("/")[2], "-d", "-j", *arguments]
    done = subprocess.run(command, env=tools.environment(), capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout or "[]")


@pytest.mark.parametrize(
    "plugin",
    [pytest.param(MACVLAN, marks=macvlan, id="macvlan"), pytest.param(Ipvlan(), marks=ipvlan, id="ipvlan")],
)
def test_links_are_held_to_their_promise(ground: Any, plugin: MainPlugin) -> None:
    """A token bucket filter of ours on each link with a promise, above 34 Gbit/s too; removal is that of the link."""
    rates = (1_500_000_000, 0, 100_000_000_000, 500_000)
    plan, pod = plan_of(ground, *rates, plugin=plugin), ground.namespace("pod")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    shown = {each["dev"]: each for each in tc(pod, "qdisc", "show") if each["kind"] == "tbf"}
    assert {dev: each["options"]["rate"] * 8 for dev, each in shown.items()} == {
        f"net1-{number}": rate for number, rate in enumerate(rates) if rate
    }
    for number, rate in enumerate(rates):
        if rate:
            assert (shown[f"net1-{number}"]["root"], shown[f"net1-{number}"]["handle"]) == (True, "4d4e:")
            written = shown[f"net1-{number}"]["options"]["burst"]
            # the kernel keeps the time that the bucket takes, in ticks of 64 ns
            assert abs(burst_bytes(str(written)) - bucket(rate)) <= max(1, rate // 8 * 64 / 1e9) + bucket(rate) / 100
    assert differences(plan, pod, node_netns=ground.node) == []
    remove_links(pod, GROUP)
    assert ground.names(pod) == set()


def burst_bytes(written: str) -> int:
    """``512Kb/1`` as 524288."""
    number, unit = re.match(r"([0-9.]+)([KMG]?)b", written).groups()  # type: ignore[union-attr]
    return int(float(number) * {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[unit])


@macvlan
@pytest.mark.parametrize(
    ("meddle", "found"),
    [
        pytest.param(["del", "root"], "held to no rate", id="removed"),
        pytest.param(
            ["replace", "root", "tbf", "rate", "1mbit", "burst", "10kb", "latency", "9ms"], "1 Mbit/s", id="other"
        ),
        pytest.param(["replace", "root", "pfifo"], "held to no rate", id="another-kind"),
    ],
)
def test_check_names_a_link_that_is_not_held_any_more(ground: Any, meddle: list[str], found: str) -> None:
    """Which link, to what it is held now, and to what it should be; the others are as they were."""
    plan, pod = plan_of(ground, 2_000_000_000, 2_000_000_000), ground.namespace("pod")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    tc(pod, "qdisc", meddle[0], "dev", "net1-1", *meddle[1:])
    (difference,) = differences(plan, pod, node_netns=ground.node)
    assert found in difference
    assert difference.startswith("link 'net1-1' ")
    assert difference.endswith("expected 2 Gbit/s")


@macvlan
def test_a_link_with_a_promise_carries_traffic(ground: Any) -> None:
    """Packets pass the bucket: a pod reaches what is behind its NIC."""
    plan, pod = plan_of(ground, 10_000_000), ground.namespace("pod")
    ground.ip(ground.fabric, "address", "add", "10.0.0.1/24", "dev", "far-eth1")
    apply_plan(plan, pod, GROUP, node_netns=ground.node)
    ground.run(pod, "ping", "-c", "3", "-i", "0.2", "-s", "1400", "-W", "30", "10.0.0.1")
