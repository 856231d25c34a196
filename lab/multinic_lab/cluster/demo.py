"""The demo: a cluster comes up, a network is applied, pods talk over every NIC, and nothing is left behind.

Every line that it shows is checked; what is not as it should be is listed at the end and makes the exit status 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import trio
from rich.console import Console
from rich.markup import escape

from multinic_core.cli.terminal import console
from multinic_core.errors import MultinicError
from multinic_core.model import (
    CIDR,
    CIDRS,
    HOST_INTERFACES,
    IPPOOLS,
    NETWORKS,
    NODES,
    PODS,
    MultiNicNetwork,
    multi_nic_ipam_config,
)
from multinic_core.registry import load_plugins
from multinic_lab.cluster.checks import check_connections, connection_table, ping_all
from multinic_lab.cluster.cluster import Cluster, open_cluster
from multinic_lab.cluster.pods import NAMESPACE, LabPod, attached, pod_manifest, read_pod
from multinic_lab.cluster.scenario import Scenario
from multinic_lab.cluster.views import nic_table, pod_blocks, pod_table, route_lines, status_phrase
from multinic_lab.machine.client import AgentGoneError, OperationError

NETWORK_SECONDS = 60.0
PODS_SECONDS = 90.0
GONE_SECONDS = 60.0
NOTICED_SECONDS = 0.2
"""Between two looks at kernel state that nobody announces."""


class Story:
    """Prints the steps of the demo and remembers what went wrong.

    Attributes:
        faults: what was not as it should be, in the order found.
        number: of the chapter that is being told, from 1.
    """

    def __init__(self, out: Console) -> None:
        self.out = out
        self.faults: list[str] = []
        self._start = time.monotonic()
        self.number = 0

    def chapter(self, title: str) -> None:
        self.number += 1
        self.out.print(f"\n[bold]{self.number}. {title}[/bold]")

    def tell(self, text: str) -> None:
        self.out.print(f"   {time.monotonic() - self._start:6.1f} s  {text}", markup=False)

    def expect(self, satisfied: bool, fault: str) -> None:
        if not satisfied:
            self.faults.append(fault)
            self.out.print(f"   [red]WRONG:[/red] {escape(fault)}")

    def changes(self) -> Callable[[str], None]:
        """A function that tells a phrase only when it differs from the last one."""
        last = ""

        def tell(text: str) -> None:
            nonlocal last
            if text != last:
                last = text
                self.tell(text)

        return tell


async def run_demo(scenario: Scenario, folder: Path | None = None) -> int:
    """Play the whole demo; the exit status: 0 only if every line was as it should be."""
    story = Story(console())
    story.chapter("A cluster comes up")
    try:
        async with open_cluster(scenario, folder=folder, progress=story.tell) as cluster:
            await play(story, cluster)
            story.chapter("The nodes go")
        story.tell("every process and network namespace of the lab is gone")
    except* (trio.TooSlowError, MultinicError, OperationError, AgentGoneError) as failed:
        for error in leaves(failed):
            story.expect(False, f"chapter {story.number} ended early: {str(error) or 'it took longer than it may'}")
    story.out.print()
    if story.faults:
        story.out.print(f"[red]{len(story.faults)} lines were not as they should be:[/red]")
        for fault in story.faults:
            story.out.print(f"  - {fault}", markup=False)
        return 1
    story.out.print("[green]Everything was as it should be.[/green]")
    return 0


async def play(story: Story, cluster: Cluster) -> None:
    """All that happens between a cluster that is up and one that is empty again."""
    story.out.print(nic_table(cluster.kube.store(HOST_INTERFACES).list()))
    cidr = await apply_network(story, cluster)
    pods = await start_pods(story, cluster)
    await show_routes(story, cluster, cidr)
    await show_connections(story, cluster, pods)
    await remove_everything(story, cluster)


async def apply_network(story: Story, cluster: Cluster) -> CIDR | None:
    """Apply the network as the user would, and show its status and its blocks."""
    name = cluster.network.name
    story.chapter(f"kubectl apply -f {cluster.scenario.network.name}")
    story.tell((await cluster.kubectl("apply", "-f", str(cluster.scenario.network))).strip())
    tell = story.changes()
    await cluster.wait_for(
        NETWORKS,
        lambda found: any(network.name == name and _ready(network) for network in found),
        seconds=NETWORK_SECONDS,
        changed=lambda found: tell(next((status_phrase(n) for n in found if n.name == name), "not seen yet")),
    )
    story.out.print("\n" + await cluster.kubectl("get", "multinicnetworks"), markup=False)
    if multi_nic_ipam_config(cluster.network, load_plugins().ipams.objects) is None:
        return None
    cidr = await cluster.kube.get(CIDRS, name)
    hosts = cluster.kube.store(HOST_INTERFACES).list()
    story.out.print(nic_table(hosts, cidr))
    blocks = set(pod_blocks(hosts, cidr).values())
    expected = cluster.scenario.nodes * (cluster.scenario.nics - 1)
    story.expect(len(blocks) == expected, f"{len(blocks)} pod CIDRs, expected {expected}")
    return cidr


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The errors in a group of groups, flat."""
    return [e for part in group.exceptions for e in (leaves(part) if isinstance(part, BaseExceptionGroup) else [part])]


def _ready(network: MultiNicNetwork) -> bool:
    """Whether the operator says that the network as it is now is ready."""
    if network.status is None:
        return False
    ready = [c for c in network.status.conditions if c.type == "Ready" and c.status == "True"]
    return any(condition.observed_generation == network.metadata.generation for condition in ready)


async def start_pods(story: Story, cluster: Cluster) -> list[LabPod]:
    """Create the pods and show what they got."""
    scenario, name = cluster.scenario, cluster.network.name
    story.chapter(f"{scenario.nodes * scenario.pods_per_node} pods ask for it by annotation")
    await cluster.kubectl("apply", "-f", "-", manifest=pod_manifest(scenario, name))
    tell = story.changes()
    found = await cluster.wait_for(
        PODS,
        lambda pods: attached(scenario, pods),
        seconds=PODS_SECONDS,
        changed=lambda pods: tell(f"{sum(pod.status.phase == 'Running' for pod in pods)} of {len(pods)} pods attached"),
    )
    pods = [read_pod(pod, name) for pod in found]
    story.out.print(pod_table(pods))
    addresses = [address for pod in pods for address in pod.addresses]
    story.expect(len(set(addresses)) == len(addresses), "two pods share an address")
    for pod in pods:
        story.expect(len(pod.interfaces) == scenario.expected_nics, f"{pod.name} has {len(pod.interfaces)} interfaces")
        kernel = await cluster.agent.call("links", pod=pod.key)
        told = {(link["ifname"], info["local"]) for link in kernel for info in link["addr_info"]}
        story.expect(set(pod.interfaces) <= told, f"{pod.name}: the kernel has {sorted(told)}")
    return pods


async def show_routes(story: Story, cluster: Cluster, cidr: CIDR | None) -> None:
    """Show the host routes of the first node."""
    if cidr is None or cidr.spec.config.vlan_mode not in ("l3", "l3s"):
        return
    node = cluster.scenario.node_names[0]
    story.chapter(f"Host routes of {node}, computed and kept by its daemon")
    found = await cluster.agent.call("routes", node=node)
    for line in route_lines(found):
        story.out.print(f"   {line}", markup=False)
    expected = (cluster.scenario.nodes - 1) * (cluster.scenario.nics - 1)
    story.expect(len(found["routes"]) == expected, f"{len(found['routes'])} host routes, expected {expected}")
    story.expect(len(found["rules"]) == 1, f"{len(found['rules'])} rules, expected 1")


async def show_connections(story: Story, cluster: Cluster, pods: list[LabPod]) -> None:
    """Ping between all pods, measure between all nodes, and print the connection table."""
    story.chapter("Every pair of pods talks over every NIC")
    pings = await ping_all(cluster.agent, pods)
    story.tell(f"{sum(pings.values())} of {len(pings)} pings between pods answered")
    for (source, target, address), answered in sorted(pings.items()):
        story.expect(answered, f"{source} does not reach {target} at {address}")
    connections = await check_connections(
        cluster.agent,
        pods,
        pings,
        seconds=cluster.scenario.bandwidth_seconds,
        amount=cluster.scenario.bandwidth_bytes,
        measured=lambda one: story.tell(f"{one.source} to {one.target}: {one.connected} NICs measured with iperf3"),
    )
    story.out.print("\n" + connection_table(cluster.network.name, connections), markup=False)
    for connection in connections:
        story.expect(connection.complete, f"{connection.source} to {connection.target} is not connected on every NIC")


async def remove_everything(story: Story, cluster: Cluster) -> None:
    """Delete pods, network and nodes' objects, and let an audit prove that nothing is left."""
    story.chapter("Pods and network go, and an audit looks for leftovers")
    await cluster.kubectl("delete", "pods", "--all", "--namespace", NAMESPACE, "--timeout=60s")
    story.tell("pods deleted")
    await cluster.kubectl("delete", "-f", str(cluster.scenario.network), "--timeout=60s")
    story.tell("network deleted")
    await cluster.wait_for(CIDRS, lambda found: not found, seconds=GONE_SECONDS)
    await cluster.wait_for(IPPOOLS, lambda found: not found, seconds=GONE_SECONDS)
    left = await cluster.leftovers()
    with trio.move_on_after(GONE_SECONDS):
        while left:
            await trio.sleep(NOTICED_SECONDS)
            left = await cluster.leftovers()
    for line in left:
        story.expect(False, f"left behind: {line}")
    if not left:
        story.tell("audit: no link, address, route, rule or journal row is left on any node")
    await cluster.kubectl("delete", "nodes", "--all", "--timeout=60s")
    await cluster.wait_for(NODES, lambda found: not found, seconds=GONE_SECONDS)
