"""``multinic plan``: what a pod would get, by the node's daemon or by what the API shows, touching nothing."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner, Result
from multinic_daemon.calls.server import serve_socket
from multinic_daemon.engine import handler
from multinic_daemon.explain import distant
from multinic_daemon.explain import plan as planning
from multinic_daemon.explain.podfile import read_pod
from multinic_daemon.testing.objects import network_objects
from multinic_daemon.testing.rig import NODE

from multinic_core.cli import multinic
from multinic_core.errors import ConfigError
from multinic_core.model import ATTACHMENT_DEFINITIONS, CIDRS, HOST_INTERFACES, IPPOOLS, NETWORKS
from multinic_core.testing.kube import FakeKubernetes

NETWORKS_ANNOTATION = "k8s.v1.cni.cncf.io/networks"


def manifest(folder: Path, *networks: dict[str, Any], kind: str = "Pod", **labels: str) -> Path:
    """The file of a pod that asks for these networks, or of a Deployment of such pods."""
    metadata = {"name": "train", "labels": labels, "annotations": {NETWORKS_ANNOTATION: json.dumps(networks)}}
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {"containers": []}}
    if kind != "Pod":
        template = {key: pod[key] for key in ("metadata", "spec")}
        pod = {"kind": kind, "apiVersion": "apps/v1", "metadata": {"name": "train"}, "spec": {"template": template}}
    path = folder / "pod.yaml"
    path.write_text(json.dumps(pod))
    return path


def asking(network: str, **asked: Any) -> dict[str, Any]:
    return {"name": network, "cni-args": asked}


class Desk:
    """Where the command is run: on the node, or far from it; its own connection to the API."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.kubernetes = FakeKubernetes()
        self.run_dir = node.rig.folder / "run"

    def define(self, name: str, **fields: Any) -> None:
        """The NetworkAttachmentDefinition that the operator made."""
        body = {"metadata": {"name": name, "namespace": "default"}}
        config = json.dumps(self.node.rig.netconf(name=name) | fields)
        self.kubernetes.seed(ATTACHMENT_DEFINITIONS, body | {"spec": {"config": config}})

    def show_node(self, name: str, network: str, strategy: str, speeds: tuple[int, ...], **policy: Any) -> None:
        """What the API shows of a node and of a network over its NICs."""
        interfaces = [
            {
                "interfaceName": f"eth{number}",
                "netAddress": f"10.0.{number}.0/24",
                "hostIP": f"10.0.{number}.1",
                "speed": speed,
            }
            for number, speed in enumerate(speeds, start=1)
        ]
        spec = {"hostName": name, "interfaces": interfaces}
        self.kubernetes.seed(HOST_INTERFACES, {"metadata": {"name": name}, "spec": spec})
        made, cidr, pools = network_objects(
            network, len(speeds), node=name, attachPolicy={"strategy": strategy, **policy}
        )
        self.kubernetes.seed(NETWORKS, made)
        self.kubernetes.seed(CIDRS, cidr)
        self.kubernetes.seed(IPPOOLS, *pools)

    async def ask(self, file: Path, *arguments: str) -> Result:
        command = ["--pod", str(file), "--run-dir", str(self.run_dir), *arguments]
        run = partial(CliRunner(env={"COLUMNS": "200", "KUBECONFIG": None}).invoke, multinic, ["plan", *command])
        return await trio.to_thread.run_sync(run)


@pytest.fixture
def desk(node: Any, monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = Desk(node)
    monkeypatch.setattr(planning, "connect", lambda kubeconfig, agent: made.kubernetes)
    return made


@asynccontextmanager
async def daemon(node: Any) -> AsyncIterator[None]:
    """The daemon's socket, where the command looks for it."""
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_socket, node.rig.folder / "run" / "cni.sock", handler(node.rig.engine)))
        yield
        nursery.cancel_scope.cancel()


def all_rows(node: Any) -> list[str]:
    """Everything in the journal's file."""
    database = sqlite3.connect(f"file:{node.rig.folder / 'run' / 'journal.db'}?mode=ro", uri=True)
    try:
        return list(database.iterdump())
    finally:
        database.close()


async def test_the_daemon_says_what_a_pod_would_get(node: Any, desk: Desk, tmp_path: Path) -> None:
    """Exactly what the pod then gets: NICs, addresses and reasons; in any kind that makes pods."""
    node.add_network("cost", "costOpt")
    node.change_nics("eth2", speed=5_000)
    desk.define("cost")
    file = manifest(tmp_path, asking("cost", target="4Gbps"), kind="Deployment")
    async with daemon(node):
        done = await desk.ask(file, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert (document["node"], document["source"]) == (NODE, "the daemon of the node")
    (attachment,) = document["attachments"]
    assert (attachment["network"], attachment["state"], attachment["refusal"]) == ("default/cost", "planned", None)
    assert await node.add("cost", "c1", target="4Gbps") == ["eth2"]
    (record,) = node.rig.journal.of_interface("c1", "net1")
    held = [str(step.address) for step in record.plan.addresses]
    assert attachment["links"] == [{"ifname": "net1-0", "nic": "eth2", "addresses": held}]
    taken = [nic for nic in attachment["nics"] if nic["taken"]]
    assert [(nic["nic"], nic["link"], nic["promisedBitPerSecond"]) for nic in taken] == [
        ("eth2", "net1-0", 4_000_000_000)
    ]
    assert {step["step"] for step in attachment["steps"]} >= {"link", "address"}


async def test_planning_changes_nothing(node: Any, desk: Desk, tmp_path: Path) -> None:
    """No row, cursor, promise, link or object is other than before, however often it is asked."""
    node.add_network("cost", "costOpt", target="4Gbps")
    await node.add("cost", "c1")
    desk.define("cost")
    file = manifest(tmp_path, asking("cost"), asking("cost", nics=9))
    before = (all_rows(node), node.promised, node.rig.held(), list(node.rig.kernel.calls))
    writes = list(node.rig.kubernetes.writes)
    async with daemon(node):
        answers = [await desk.ask(file, "--json") for _ in range(3)]
    assert {answer.stdout for answer in answers} == {answers[0].stdout}
    assert (all_rows(node), node.promised, node.rig.held(), list(node.rig.kernel.calls)) == before
    assert (node.rig.kubernetes.writes, desk.kubernetes.writes) == (writes, [])
    assert (node.events, len(node.rig.engine.locks)) == ([], 0)


async def test_what_would_be_refused_is_said_and_is_status_1(node: Any, desk: Desk, tmp_path: Path) -> None:
    """With the refusal of the ADD, word for word; other networks of the pod are told all the same."""
    node.add_network("cost", "costOpt")
    desk.define("cost")
    desk.define("net-a")
    file = manifest(tmp_path, asking("cost", target="90Gbps"), asking("net-a", nics=1))
    async with daemon(node):
        done, as_json = await desk.ask(file), await desk.ask(file, "--json")
    told = await node.refused(Exception, "cost", "c1", target="90Gbps")
    assert (done.exit_code, as_json.exit_code) == (1, 1)
    assert f"net1 on network default/cost: refused: {told}" in done.stdout
    assert "net2-0 on eth1: 192.168.0.1/18" in done.stdout
    assert [each["refusal"] for each in json.loads(as_json.stdout)["attachments"]] == [told, None]


async def test_the_pods_own_labels_count(node: Any, desk: Desk, tmp_path: Path) -> None:
    """The API is not asked for a pod that does not exist yet."""
    node.add_network("rail", "rail")
    desk.define("rail")
    async with daemon(node):
        nics = []
        for job in ("a", "b", "c", "d", "e"):
            file = manifest(tmp_path, asking("rail", nics=1), **{"job-name": job})
            (attachment,) = json.loads((await desk.ask(file, "--json")).stdout)["attachments"]
            nics.append(attachment["links"][0]["nic"])
    assert len(set(nics)) > 1


async def test_a_node_is_planned_for_from_afar(desk: Desk, tmp_path: Path) -> None:
    """By its HostInterface and its pools with what their mirror shows as held; the output says what is not known."""
    desk.show_node("far", "cost", "costOpt", (100_000, 25_000))
    desk.define("cost")
    (pool,) = [pool for pool in desk.kubernetes.store(IPPOOLS).list() if pool.spec.interface_name == "eth2"]
    held = [{"pod": "p", "namespace": "default", "index": 1, "address": "192.168.64.1"}]
    await desk.kubernetes.patch(IPPOOLS, pool.name, {"spec": {"allocations": held}})
    desk.kubernetes.writes.clear()
    done = await desk.ask(manifest(tmp_path, asking("cost", target="20Gbps")), "--node", "far", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["node"] == "far"
    assert document["source"].startswith("what the API shows of the node; promised bandwidth")
    (attachment,) = document["attachments"]
    assert attachment["links"] == [{"ifname": "net1-0", "nic": "eth2", "addresses": ["192.168.64.2/18"]}]
    assert attachment["steps"] is None
    assert desk.kubernetes.writes == []


async def test_a_refusal_from_afar_is_status_1(desk: Desk, tmp_path: Path) -> None:
    """As on the node itself."""
    desk.show_node("far", "cost", "costOpt", (10_000,), target="30Gbps")
    desk.define("cost")
    done = await desk.ask(manifest(tmp_path, asking("cost")), "--node", "far")
    assert done.exit_code == 1
    assert "target '30Gbps' is 30 Gbit/s, found 10 Gbit/s free to promise" in done.stdout


async def test_another_node_is_planned_for_beside_the_daemon(node: Any, desk: Desk, tmp_path: Path) -> None:
    """The daemon here answers for its own node only; one that left its socket behind is no obstacle."""
    desk.show_node("far", "cost", "costOpt", (10_000,))
    desk.define("cost")
    node.add_network("cost", "costOpt")
    file = manifest(tmp_path, asking("cost"))
    async with daemon(node):
        assert json.loads((await desk.ask(file, "--node", "far", "--json")).stdout)["node"] == "far"
        here = json.loads((await desk.ask(file, "--node", NODE, "--json")).stdout)
    assert (here["node"], here["source"]) == (NODE, "the daemon of the node")
    (desk.run_dir / "cni.sock").touch()
    assert json.loads((await desk.ask(file, "--node", "far", "--json")).stdout)["node"] == "far"
    without = await desk.ask(file)
    assert without.exit_code == 1
    assert "expected to run on its node as root" in without.stderr


@pytest.mark.parametrize("arguments", [[], ["--json"]])
async def test_errors_are_one_line_and_status_1(desk: Desk, tmp_path: Path, arguments: list[str]) -> None:
    """No daemon and no node named; a node or a definition that does not exist; a network of another type."""
    desk.define("cost", type="bridge")
    file = manifest(tmp_path, asking("none"))
    done = await desk.ask(file, *arguments)
    assert (done.exit_code, "NetworkAttachmentDefinition default/none:" in done.stderr) == (1, True)
    done = await desk.ask(manifest(tmp_path, asking("cost")), *arguments)
    assert (done.exit_code, "found type 'bridge', expected 'multi-nic'" in done.stderr) == (1, True)
    desk.define("net-a")
    file = manifest(tmp_path, asking("net-a"))
    done = await desk.ask(file, *arguments)
    assert (done.exit_code, "expected one, or --node with another node's name" in done.stderr) == (1, True)
    done = await desk.ask(file, "--node", "nowhere", *arguments)
    assert (done.exit_code, "'nowhere'" in done.stderr or "nowhere" in done.stderr) == (1, True)
    assert done.stdout == ""


async def test_an_api_that_lists_nothing_is_waited_for_only_so_long(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then an error says so."""
    monkeypatch.setattr(distant, "SYNC_SECONDS", 0.05)
    desk.show_node("far", "cost", "costOpt", (10_000,))
    desk.define("cost")
    with desk.kubernetes.stale():
        done = await desk.ask(manifest(tmp_path, asking("cost")), "--node", "far")
    assert done.exit_code == 1
    assert "node 'far': the API did not list its objects within 0.05 seconds" in done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not YAML"),
        (b"\xff", "is not YAML"),
        (
            "kind: CronJob\nspec: {jobTemplate: {spec: {template: {spec: {}}}}}",
            "spec.jobTemplate.spec.template.metadata.a",
        ),
        ("", "found [], expected a Pod or an object with a pod in spec.template"),
        ("[]", "found ['list'], expected"),
        ("kind: Service", "found ['Service'], expected"),
        ("kind: Deployment\nspec: {template: {}}", "found ['Deployment'], expected"),
        ("kind: Pod", "metadata.annotations: k8s.v1.cni.cncf.io/networks is missing"),
        ("kind: Pod\nmetadata: {annotations: {k8s.v1.cni.cncf.io/networks: '[{]'}}", "is not JSON"),
        ("kind: Pod\nmetadata: [1]", "metadata: found"),
        ("kind: Pod\nmetadata: {annotations: [1]}", "metadata.annotations: found"),
        ("kind: Pod\nmetadata: {labels: x, annotations: {k8s.v1.cni.cncf.io/networks: a}}", "metadata.labels: found"),
        ("kind: Deployment\nspec: {template: {metadata: 7, spec: {}}}", "spec.template.metadata: found 7"),
        ("kind: Deployment\nmetadata: 7\nspec: {template: {spec: {}}}", "metadata: found 7"),
    ],
)
def test_a_file_without_a_pod_is_refused(text: str | bytes, told: str) -> None:
    """With the file's name and the field."""
    with pytest.raises(ConfigError) as refused:
        read_pod(text, "pod.yaml")
    assert str(refused.value).startswith("pod.yaml: ")
    assert told in str(refused.value)
