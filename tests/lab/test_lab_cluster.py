"""A whole cluster: real operator, real daemons, real CNI executables, real links."""

import os
import signal
from pathlib import Path

import pytest
import trio
import yaml
from multinic_lab.apiserver import RequestLog, Rights
from multinic_lab.cluster.cluster import open_cluster
from multinic_lab.cluster.demo import Story, play
from multinic_lab.cluster.scenario import Scenario
from rich.console import Console

EXAMPLES = Path(__file__).parents[2] / "examples"
DEPLOY = Path(__file__).parents[2] / "deploy"
SMALL = Scenario(nodes=2, nics=3, pods_per_node=2, network=EXAMPLES / "network.yaml", bandwidth_bytes=1 << 20)
CHAPTERS_DISTURBED = (2, 3, 5)
"""While the network is applied, while pods are attached, and while everything is removed."""


def deployed():
    """Every object of deploy/ with the rights of a service account."""
    objects = [body for file in DEPLOY.glob("*.yaml") for body in yaml.safe_load_all(file.read_text())]
    return [body for body in objects if body["apiVersion"].startswith("rbac.")]


class Disturbed(Story):
    """A story that lets a listener know which chapter it is in."""

    def __init__(self, tmp_path):
        self.file = (tmp_path / "story.txt").open("w")
        super().__init__(Console(file=self.file, width=160))
        self.reached = {number: trio.Event() for number in range(1, 9)}

    def chapter(self, title):
        super().chapter(title)
        self.reached[self.number].set()


async def test_an_error_in_the_middle_is_not_lost(tmp_path):
    """What goes wrong while a cluster is up reaches the caller when the cluster has been taken down."""
    with pytest.RaisesGroup(pytest.RaisesExc(ZeroDivisionError), flatten_subgroups=True):
        async with open_cluster(SMALL, folder=tmp_path / "lab"):
            raise ZeroDivisionError


async def test_kill_9_in_the_middle_changes_nothing(tmp_path):
    """Operator and a daemon are killed while they work and start again: every line of the story is still right, and
    neither asked for anything beyond what deploy/ allows it."""
    log = RequestLog()
    story = Disturbed(tmp_path)
    kills = []

    async def disturb(cluster):
        for chapter in CHAPTERS_DISTURBED:
            await story.reached[chapter].wait()
            await trio.sleep(0.3)
            os.kill(cluster.operator.pid, signal.SIGKILL)
            node = cluster.scenario.node_names[chapter % cluster.scenario.nodes]
            await cluster.agent.call("kill_daemon", node=node)
            kills.append((chapter, node))

    story.chapter("A cluster comes up")
    opening = open_cluster(SMALL, folder=tmp_path / "lab", requests=log)
    async with opening as cluster, trio.open_nursery() as nursery:
        nursery.start_soon(disturb, cluster)
        await play(story, cluster)
        assert cluster.operator.starts == 1 + len(kills)
        nursery.cancel_scope.cancel()
    story.file.close()
    assert len(kills) == len(CHAPTERS_DISTURBED)
    assert story.faults == [], (tmp_path / "story.txt").read_text()
    for account in ("multinic-operator", "multinic-daemon"):
        entries = [entry for entry in log.entries if entry.agent == account]
        rights = Rights.of(account, deployed())
        assert {(e.verb, e.resource) for e in entries if not rights.allow(e)} == set()
        assert {"get", "list", "watch", "create", "patch"} <= {entry.verb for entry in entries}
