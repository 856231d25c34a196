"""A whole macvlan network on this machine's kernel: real operator, real daemons, real CNI executables."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path

import pytest
import trio
import yaml
from multinic_lab.machine.client import OperationError
from multinic_lab.machine.testing import RunningLab, until

from multinic_core.cni.podnetworks import NETWORKS_ANNOTATION, STATUS_ANNOTATION
from multinic_core.model import (
    ATTACHMENT_DEFINITIONS,
    CIDRS,
    HOST_INTERFACES,
    IPPOOLS,
    NAMESPACES,
    NETWORKS,
    OUR_RESOURCES,
    PODS,
    Resource,
)
from multinic_core.model.base import KubeObject
from multinic_core.model.crd import crd

pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth", "bridge", "macvlan")]

CRDS = Resource(
    KubeObject, "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False
)
NETWORK = {
    "apiVersion": "multinic.fms.io/v1",
    "kind": "MultiNicNetwork",
    "metadata": {"name": "l2"},
    "spec": {
        "subnet": "192.168.0.0/16",
        "ipam": '{"type": "multi-nic-ipam", "hostBlock": 6, "interfaceBlock": 2, "vlanMode": "l2"}',
        "multiNICIPAM": True,
        "plugin": {"cniVersion": "1.0.0", "type": "macvlan", "args": {"mode": "bridge"}},
        "attachPolicy": {"strategy": "none"},
    },
}


async def stored(running: RunningLab, resource, satisfied, seconds: float = 30):
    """Objects of a kind once they satisfy."""
    store = running.kube.store(resource)
    await store.wait_synced()
    await until(lambda: satisfied(store.list()), seconds)
    return store.list()


@pytest.fixture
async def furnished(two_nodes) -> AsyncIterator[RunningLab]:
    """Two nodes whose daemons run and have told their NICs."""
    text = files("multinic_lab.cluster").joinpath("manifests/network-attachment-definition.yaml").read_text()
    for document in [*map(crd, OUR_RESOURCES), yaml.safe_load(text)]:
        await two_nodes.kube.create(CRDS, document)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "multi-nic-cni-operator"}}
    await two_nodes.kube.create(NAMESPACES, namespace)
    await two_nodes.agent.call("start_daemons")
    return two_nodes


@asynccontextmanager
async def operator(folder: Path) -> AsyncIterator[None]:
    program = Path(sys.executable).with_name("multinic-operator")
    argv = [str(program), "--kubeconfig", str(folder / "kubeconfig")]
    async with trio.open_nursery() as nursery:
        start = partial(trio.run_process, argv, stderr=subprocess.DEVNULL, check=False)
        process = await nursery.start(start)
        try:
            yield
        finally:
            process.terminate()


async def start_pods(running: RunningLab, *names: str, network: str = "l2") -> dict[str, list[str]]:
    """Pods, alternating between the nodes; their addresses."""
    for number, name in enumerate(names):
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "annotations": {NETWORKS_ANNOTATION: network}},
            "spec": {"nodeName": f"node-{1 + number % 2}", "containers": [{"name": "c", "image": "any"}]},
        }
        await running.kube.create(PODS, body)
    pods = await stored(running, PODS, lambda pods: {p.name for p in pods if p.status.phase == "Running"} >= set(names))
    found = {pod.name: yaml.safe_load(pod.metadata.annotations[STATUS_ANNOTATION]) for pod in pods}
    return {name: [ip for entry in entries for ip in entry["ips"]] for name, entries in found.items()}


async def test_daemons_tell_the_nics_of_their_own_node(furnished):
    """Each daemon sees exactly the secondary NICs of its node."""
    hosts = await stored(furnished, HOST_INTERFACES, lambda hosts: len(hosts) == 2)
    told = {h.name: [(i.interface_name, i.host_ip) for i in h.spec.interfaces] for h in hosts}
    assert told == {f"node-{k}": [("eth1", f"10.0.1.{k}"), ("eth2", f"10.0.2.{k}")] for k in (1, 2)}


async def test_every_change_of_a_nic_shows_within_two_seconds(furnished):
    """A NIC that is new, renamed, readdressed, downed, up again or removed shows so in the node's HostInterface."""
    own = [("eth1", "10.0.1.2"), ("eth2", "10.0.2.2")]
    await stored(furnished, HOST_INTERFACES, lambda hosts: len(hosts) == 2)
    for change, expected in [
        ({"action": "add", "ifname": "eth9", "network": 2, "addresses": ["10.0.2.99/24"]}, [("eth9", "10.0.2.99")]),
        ({"action": "rename", "ifname": "eth9", "new_name": "fast0"}, [("fast0", "10.0.2.99")]),
        ({"action": "readdress", "ifname": "fast0", "addresses": ["10.0.2.98/24"]}, [("fast0", "10.0.2.98")]),
        ({"action": "down", "ifname": "fast0"}, []),
        ({"action": "up", "ifname": "fast0"}, [("fast0", "10.0.2.98")]),
        ({"action": "remove", "ifname": "fast0"}, []),
    ]:
        await furnished.agent.call("node_nic", node="node-2", **change)

        def shows(hosts, wanted=tuple(own + expected)):
            return tuple((i.interface_name, i.host_ip) for i in hosts[1].spec.interfaces) == wanted

        await stored(furnished, HOST_INTERFACES, shows, seconds=2)


async def test_a_daemon_is_a_process_in_its_node(furnished):
    """The daemon is a process of its own in the node's network namespace, whose /sys shows the node's NICs."""
    pid = await furnished.agent.call("wait_daemon", node="node-1")
    node = furnished.told["netns"]["node-1"]
    assert _inode(f"/proc/{pid}/ns/net") == _inode(node)
    assert _links(f"/proc/{pid}/root/sys/class/net") == {"lo", "eth0", "eth1", "eth2"}
    assert _text(f"/proc/{pid}/comm") == "multinic-daemon"
    assert pid != await furnished.agent.call("wait_daemon", node="node-2")


def _inode(path: str) -> int:
    return Path(path).stat().st_ino


def _links(path: str) -> set[str]:
    return {entry.name for entry in Path(path).iterdir() if entry.is_symlink()}


def _text(path: str) -> str:
    return Path(path).read_text().strip()


async def test_a_killed_daemon_comes_back_and_a_held_one_does_not(furnished):
    """kill -9 brings a new process; with ``hold`` the node stays without until it is restarted."""
    first = await furnished.agent.call("wait_daemon", node="node-1")
    assert await furnished.agent.call("kill_daemon", node="node-1") == first
    second = await furnished.agent.call("wait_daemon", node="node-1")
    assert second not in (None, first)
    assert await furnished.agent.call("kill_daemon", node="node-1", hold=True) == second
    with pytest.raises(OperationError, match="did not open"):
        await furnished.agent.call("wait_daemon", node="node-1", timeout_seconds=1)
    third = await furnished.agent.call("restart_daemon", node="node-1")
    assert third["pid"] not in (first, second, None)
    with pytest.raises(OperationError, match="was started already"):
        await furnished.agent.call("start_daemons", nodes=["node-1"])


async def test_daemons_end_with_the_lab(furnished):
    """After the lab is down no daemon is left, not even when the agent was killed."""
    pids = [await furnished.agent.call("wait_daemon", node=f"node-{k}") for k in (1, 2)]
    (hello,) = [event for event in furnished.events if event.name == "hello"]
    os.kill(hello.fields["pid"], signal.SIGKILL)
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


async def test_a_killed_launcher_ends_the_lab(furnished):
    """Without its launcher the agent removes the lab and ends, daemons included."""
    pids = [await furnished.agent.call("wait_daemon", node=f"node-{k}") for k in (1, 2)]
    (hello,) = [event for event in furnished.events if event.name == "hello"]
    agent = hello.fields["pid"]
    (launcher,) = [pid for pid in _text(f"/proc/{agent}/task/{agent}/children").split() if pid not in map(str, pids)]
    os.kill(int(launcher), signal.SIGKILL)
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    await until(lambda: not list(Path("/run/netns").glob(f"{furnished.prefix}*")))


async def test_pods_talk_over_every_nic_and_leave_nothing(furnished, tmp_path):
    """Pods on both nodes reach each other over every NIC; when pods and network are gone the audit is clean."""
    async with operator(tmp_path):
        await furnished.kube.create(NETWORKS, NETWORK)
        await stored(furnished, ATTACHMENT_DEFINITIONS, lambda found: any(d.namespace == "default" for d in found))
        addresses = await start_pods(furnished, "a", "b", "c")
        assert [len(found) for found in addresses.values()] == [2, 2, 2]
        for source in addresses:
            for target in set(addresses) - {source}:
                for address in addresses[target]:
                    done = await furnished.run("ping", "-n", "-q", "-c1", "-W2", address, pod=f"default/{source}")
                    assert done["status"] == 0, (source, target, address, done)
        report = await furnished.agent.call("audit")
        assert [row["state"] for row in report["nodes"]["node-2"]["journal"]] == ["ready"]
        assert {link["ifname"] for link in report["nodes"]["node-2"]["pod_links"]} == {"net1-0", "net1-1"}
        for name in addresses:
            await furnished.kube.delete(PODS, name, "default")
        await stored(furnished, PODS, lambda pods: not pods)
        await furnished.kube.delete(NETWORKS, "l2")
        await stored(furnished, CIDRS, lambda found: not found)
        await stored(furnished, IPPOOLS, lambda found: not found)
        report = await furnished.agent.call("audit")
        assert report["problems"] == []


async def test_pods_come_and_go_around_a_daemon_that_dies(furnished, tmp_path):
    """A pod that asks while its daemon is down runs once it is back; one deleted meanwhile leaves nothing."""
    async with operator(tmp_path):
        await furnished.kube.create(NETWORKS, NETWORK)
        await stored(furnished, ATTACHMENT_DEFINITIONS, lambda found: any(d.namespace == "default" for d in found))
        addresses = await start_pods(furnished, "a")
        await furnished.agent.call("kill_daemon", node="node-1", hold=True)
        await furnished.kube.delete(PODS, "a", "default")
        await stored(furnished, PODS, lambda pods: not pods)
        assert len((await furnished.agent.call("audit"))["nodes"]["node-1"]["tombstones"]) >= 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(start_pods, furnished, "late")
            await until(lambda: [e for e in furnished.events if e.fields.get("state") == "FailedCreatePodSandBox"])
            await furnished.agent.call("restart_daemon", node="node-1")
        report = await furnished.agent.call("audit")
        assert report["nodes"]["node-1"]["tombstones"] == []
        assert len(report["nodes"]["node-1"]["journal"]) == 1
        assert len(addresses["a"]) == 2


async def test_check_tells_an_address_that_is_gone(furnished, tmp_path):
    """CHECK of a definition new enough for it succeeds, and fails when somebody takes an address away."""
    async with operator(tmp_path):
        await furnished.kube.create(NETWORKS, NETWORK)
        found = await stored(
            furnished, ATTACHMENT_DEFINITIONS, lambda found: any(d.namespace == "default" for d in found)
        )
        config = yaml.safe_load(next(d for d in found if d.namespace == "default").spec.config)
        body = {
            "apiVersion": "k8s.cni.cncf.io/v1",
            "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": "newer", "namespace": "default"},
            "spec": {"config": json.dumps(config | {"cniVersion": "1.0.0"})},
        }
        await furnished.kube.create(ATTACHMENT_DEFINITIONS, body)
        addresses = await start_pods(furnished, "a", network="newer")
        await furnished.agent.call("check", pod="default/a")
        done = await furnished.run("ip", "addr", "flush", "dev", "net1-1", pod="default/a")
        assert done["status"] == 0
        with pytest.raises(OperationError, match=addresses["a"][1]):
            await furnished.agent.call("check", pod="default/a")
