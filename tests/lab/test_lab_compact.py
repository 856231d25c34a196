"""A whole cluster whose CIDRs list no nodes: the same story, and pods that do not notice the change."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from multinic_lab.cluster import cluster as lab
from multinic_lab.cluster.checks import ping_all
from multinic_lab.cluster.cluster import Cluster, open_cluster
from multinic_lab.cluster.demo import Story, apply_network, play, remove_everything, start_pods
from multinic_lab.cluster.scenario import Scenario
from rich.console import Console

from multinic_core.model import CIDRS, IPPOOLS

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = Scenario(nodes=3, nics=3, pods_per_node=1, network=EXAMPLES / "network.yaml", bandwidth_bytes=1 << 20)
LISTS, NO_LISTS = 100_000, 0
"""Bytes of a CIDR from which on its lists are left out."""
SECONDS = 60.0


def operator_with(limit: int, kubeconfig: Path) -> list[str]:
    """The operator with another limit."""
    program = f"from multinic_operator.numbering import sizes; sizes.LIMIT_BYTES = {limit}"
    program += "; from multinic_operator.__main__ import main; main()"
    return [sys.executable, "-c", program, "--kubeconfig", str(kubeconfig)]


@contextmanager
def told(path: Path) -> Iterator[Story]:
    """A story in a file; at the end everything in it must have been right."""
    with path.open("w") as file:
        story = Story(Console(file=file, width=160))
        yield story
    assert story.faults == [], path.read_text()


async def change_over(cluster: Cluster, *, compact: bool) -> None:
    """Restart the operator with another limit, and wait until it has drawn the conclusion."""
    cluster.operator.argv = operator_with(NO_LISTS if compact else LISTS, cluster.kubeconfig)
    os.kill(cluster.operator.pid, signal.SIGTERM)
    await cluster.wait_for(CIDRS, lambda found: all(bool(c.spec.compact) == compact for c in found), seconds=SECONDS)
    (cidr,) = cluster.kube.store(CIDRS).list()
    assert all(bool(entry.hosts) != compact for entry in cidr.spec.cidr)


async def test_the_whole_story_without_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, pods, host routes, pings between all pods over every NIC, and nothing is left at the end."""
    monkeypatch.setattr(lab, "operator_command", lambda kubeconfig: operator_with(NO_LISTS, kubeconfig))
    with told(tmp_path / "story.txt") as story:
        story.chapter("A cluster comes up")
        async with open_cluster(SMALL, folder=tmp_path / "lab") as cluster:
            await play(story, cluster)


async def test_pods_do_not_notice_the_change(tmp_path: Path) -> None:
    """Lists are left out and return while pods talk: no route moves, and pods that start in between fit in."""
    with told(tmp_path / "story.txt") as story:
        async with open_cluster(SMALL, folder=tmp_path / "lab") as cluster:
            node = SMALL.node_names[0]
            await apply_network(story, cluster)
            pods = await start_pods(story, cluster)
            routes = await cluster.agent.call("routes", node=node)
            for compact in (True, False):
                await change_over(cluster, compact=compact)
                assert all((await ping_all(cluster.agent, pods)).values())
                assert await cluster.agent.call("routes", node=node) == routes
                await cluster.kubectl("delete", "pod", pods[0].name, "--timeout=60s")
                started = await start_pods(story, cluster)
                assert {pod.addresses for pod in started if pod.name != pods[0].name} == {
                    pod.addresses for pod in pods[1:]
                }
                pods = started
                assert all((await ping_all(cluster.agent, pods)).values())
            expected = SMALL.nodes * (SMALL.nics - 1)
            await cluster.wait_for(IPPOOLS, lambda found: len(found) == expected, seconds=SECONDS)
            await remove_everything(story, cluster)
