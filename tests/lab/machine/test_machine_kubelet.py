"""The kubelet stand-in, with a scripted CNI executable that records how it was called."""

import json
import os
import sys
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import trio
import yaml
from multinic_lab.machine.client import OperationError
from multinic_lab.machine.testing import RunningLab, until

from multinic_core.cni.podnetworks import NETWORKS_ANNOTATION, STATUS_ANNOTATION
from multinic_core.errors import ApiError
from multinic_core.model import ATTACHMENT_DEFINITIONS, EVENTS, NODES, PODS, Resource
from multinic_core.model.base import KubeObject

pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth", "bridge")]

RECORDER = """#!{python} -IS
import json, os, sys
stdin = sys.stdin.read()
call = {{"env": {{k: v for k, v in os.environ.items() if k.startswith("CNI_")}}, "stdin": json.loads(stdin)}}
call["pod_netns"] = os.stat(os.environ["CNI_NETNS"]).st_ino
call["own_netns"] = os.stat("/proc/self/ns/net").st_ino
call["name"] = os.path.basename(sys.argv[0])
with open({folder!r} + "/calls", "a") as file:
    file.write(json.dumps(call) + "\\n")
command, ifname = os.environ["CNI_COMMAND"], os.environ["CNI_IFNAME"]
fault = {folder!r} + "/fail-" + command + "-" + ifname
if os.path.exists(fault):
    left = int(open(fault).read())
    if left:
        open(fault, "w").write(str(left - 1))
        print(json.dumps({{"cniVersion": "1.0.0", "code": 11, "msg": "not now", "details": "d"}}))
        sys.exit(1)
if command == "ADD":
    sandbox = os.environ["CNI_NETNS"]
    interfaces = [{{"name": ifname + "-" + str(k), "sandbox": sandbox}} for k in range(2)]
    ips = [{{"address": "10.9." + str(k) + ".2/24", "interface": k}} for k in range(2)]
    print(json.dumps({{"cniVersion": call["stdin"]["cniVersion"], "interfaces": interfaces, "ips": ips, "dns": {{}}}}))
"""

CRDS = Resource(
    KubeObject, "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False
)


@dataclass
class Cni:
    """The scripted executable of every node."""

    lab: RunningLab
    folder: Path

    @property
    def calls(self) -> list[dict[str, Any]]:
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def commands(self) -> list[tuple[str, str]]:
        return [(call["env"]["CNI_COMMAND"], call["env"]["CNI_IFNAME"]) for call in self.calls]

    def fail(self, command: str, ifname: str, times: int) -> None:
        (self.folder / f"fail-{command}-{ifname}").write_text(str(times))

    async def network(self, name: str, config: dict[str, Any] | str, namespace: str = "default") -> None:
        text = config if isinstance(config, str) else json.dumps(config)
        document = {"metadata": {"name": name, "namespace": namespace}, "spec": {"config": text}}
        await self.lab.kube.create(
            ATTACHMENT_DEFINITIONS,
            {"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition", **document},
        )

    async def pod(self, name: str, networks: str, node: str = "node-1", **container: Any) -> str:
        """Create a pod; its uid."""
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "annotations": {NETWORKS_ANNOTATION: networks}},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "any", **container}]},
        }
        return str((await self.lab.kube.create(PODS, body)).metadata.uid)

    async def running(self, name: str) -> Any:
        return await self._until(name, lambda pod: pod is not None and pod.status.phase == "Running")

    async def gone(self, name: str) -> None:
        await self._until(name, lambda pod: pod is None)

    async def _until(self, name: str, satisfied: Any) -> Any:
        with trio.fail_after(60):
            while True:
                try:
                    pod = await self.lab.kube.get(PODS, name, "default")
                except ApiError as error:
                    if error.status != 404:
                        raise
                    pod = None
                if satisfied(pod):
                    return pod
                await trio.sleep(0.05)


@pytest.fixture
async def cni(two_nodes, tmp_path) -> Cni:
    """Executables ``recorder`` and ``second`` on both nodes, and the kind NetworkAttachmentDefinition."""
    text = files("multinic_lab.cluster").joinpath("manifests/network-attachment-definition.yaml").read_text()
    await two_nodes.kube.create(CRDS, yaml.safe_load(text))
    for node in ("node-1", "node-2"):
        for name in ("recorder", "second"):
            write_recorder(Path(two_nodes.told["folder"], node, "bin", name), tmp_path)
    return Cni(two_nodes, tmp_path)


def write_recorder(path: Path, folder: Path) -> None:
    path.write_text(RECORDER.format(python=os.path.realpath(sys.executable), folder=str(folder)))
    path.chmod(0o755)


def inode(path: str) -> int:
    return Path(path).stat().st_ino


def namespaces(lab: RunningLab) -> list[str]:
    return sorted(path.name for path in Path("/run/netns").glob(f"{lab.prefix}-*-pod-*"))


async def test_the_executable_is_called_as_a_runtime_does(cni):
    """Environment, arguments and configuration of ADD are exactly those of a runtime with Multus."""
    await cni.network("fast", {"cniVersion": "1.0.0", "type": "recorder", "capabilities": {"ips": True}, "plugin": {}})
    asked = [{"name": "fast", "cni-args": {"nics": 2}, "ips": ["10.9.0.2/24"]}]
    uid = await cni.pod("p1", json.dumps(asked))
    pod = await cni.running("p1")
    (call,) = cni.calls
    (row,) = await cni.lab.agent.call("pods")
    container = row["container_id"]
    assert len(container) == 64
    assert set(container) <= set("0123456789abcdef")
    folder = cni.lab.told["folder"]
    assert call["env"] == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": container,
        "CNI_NETNS": row["netns"],
        "CNI_IFNAME": "net1",
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=p1;K8S_POD_INFRA_CONTAINER_ID={container};"
        f"K8S_POD_UID={uid};IP=10.9.0.2/24",
        "CNI_PATH": f"{folder}/node-1/bin:/opt/cni/bin:/usr/lib/cni",
    }
    assert call["stdin"] == {
        "cniVersion": "1.0.0",
        "name": "fast",
        "type": "recorder",
        "plugin": {},
        "args": {"cni": {"nics": 2}},
        "runtimeConfig": {"ips": ["10.9.0.2/24"]},
    }
    assert call["pod_netns"] == inode(row["netns"])
    assert call["own_netns"] == inode(cni.lab.told["netns"]["node-1"])
    assert json.loads(pod.metadata.annotations[STATUS_ANNOTATION]) == [
        {"name": "default/fast", "interface": "net1-0", "ips": ["10.9.0.2"], "dns": {}},
        {"name": "default/fast", "interface": "net1-1", "ips": ["10.9.1.2"], "dns": {}},
    ]


async def test_a_pod_has_a_namespace_with_lo_only(cni):
    """A pod without networks runs, in a namespace whose only link is ``lo``, up; it has no default network."""
    await cni.pod("plain", "")
    pod = await cni.running("plain")
    assert STATUS_ANNOTATION not in pod.metadata.annotations
    (link,) = await cni.lab.agent.call("links", pod="default/plain")
    assert (link["ifname"], link["up"]) == ("lo", True)
    assert cni.calls == []


async def test_networks_are_added_in_order_and_deleted_in_reverse(cni):
    """ADDs come in the annotation's order; DELs in reverse with the ADD's configuration, arguments and result."""
    await cni.network("a", {"cniVersion": "1.0.0", "type": "recorder"})
    await cni.network("b", {"cniVersion": "0.3.1", "type": "recorder"})
    await cni.pod("p1", "a,b@fast0")
    await cni.running("p1")
    await cni.lab.kube.delete(PODS, "p1", "default")
    await cni.gone("p1")
    assert cni.commands == [("ADD", "net1"), ("ADD", "fast0"), ("DEL", "fast0"), ("DEL", "net1")]
    add_a, add_b, del_b, del_a = cni.calls
    assert del_b["stdin"] == add_b["stdin"]
    assert {k: v for k, v in del_a["stdin"].items() if k != "prevResult"} == add_a["stdin"]
    assert [i["name"] for i in del_a["stdin"]["prevResult"]["interfaces"]] == ["net1-0", "net1-1"]
    assert {k: v for k, v in del_a["env"].items() if k != "CNI_COMMAND"} == {
        k: v for k, v in add_a["env"].items() if k != "CNI_COMMAND"
    }
    assert namespaces(cni.lab) == []


async def test_a_list_is_a_chain(cni):
    """Plugins of a list run in order, each with the result before it, and are deleted in reverse with the last."""
    await cni.network(
        "chain", {"cniVersion": "1.0.0", "name": "l", "plugins": [{"type": "recorder"}, {"type": "second"}]}
    )
    await cni.pod("p1", "chain")
    await cni.running("p1")
    await cni.lab.agent.call("check", pod="default/p1")
    await cni.lab.kube.delete(PODS, "p1", "default")
    await cni.gone("p1")
    assert [(c["env"]["CNI_COMMAND"], c["name"], "prevResult" in c["stdin"]) for c in cni.calls] == [
        ("ADD", "recorder", False),
        ("ADD", "second", True),
        ("CHECK", "recorder", True),
        ("CHECK", "second", True),
        ("DEL", "second", True),
        ("DEL", "recorder", True),
    ]


async def test_a_failed_add_is_deleted_and_tried_again_in_a_new_sandbox(cni):
    """After a failure what was done is deleted in reverse, an Event tells why, and a new sandbox is tried."""
    await cni.network("a", {"cniVersion": "1.0.0", "type": "recorder"})
    cni.fail("ADD", "net2", 2)
    await cni.pod("p1", "a,a")
    await cni.running("p1")
    attempt = [("ADD", "net1"), ("ADD", "net2")]
    undone = [("DEL", "net2"), ("DEL", "net1")]
    assert cni.commands == [*attempt, *undone, *attempt, *undone, *attempt]
    containers = [call["env"]["CNI_CONTAINERID"] for call in cni.calls]
    assert len(set(containers)) == 3
    assert containers[0] == containers[3]
    failed_add, failed_del = cni.calls[1], cni.calls[2]
    assert failed_del["stdin"] == failed_add["stdin"]
    assert len(namespaces(cni.lab)) == 1
    events = [e for e in await cni.lab.kube.list(EVENTS) if e.reason == "FailedCreatePodSandBox"]
    assert len(events) == 2
    assert {event.message for event in events} == {"recorder ADD net2: not now"}
    assert {event.involved_object["name"] for event in events} == {"p1"}


async def test_a_failed_del_is_repeated_until_it_succeeds(cni):
    """A pod stays in the API, with its namespace, until every DEL has succeeded."""
    await cni.network("a", {"cniVersion": "1.0.0", "type": "recorder"})
    await cni.pod("p1", "a,a")
    await cni.running("p1")
    cni.fail("DEL", "net2", 2)
    await cni.lab.kube.delete(PODS, "p1", "default")
    await cni.gone("p1")
    assert cni.commands[2:] == [("DEL", "net2")] * 3 + [("DEL", "net1")]
    reasons = [event.reason for event in await cni.lab.kube.list(EVENTS)]
    assert reasons.count("FailedKillPod") == 2
    assert namespaces(cni.lab) == []


async def test_a_network_that_comes_later_is_used_then(cni):
    """A pod that asks for a network that does not exist waits for it, saying so in an Event."""
    await cni.pod("p1", "late")
    await until(lambda: [e for e in cni.lab.events if e.fields.get("state") == "FailedCreatePodSandBox"])
    assert namespaces(cni.lab) == []
    await cni.network("late", {"cniVersion": "1.0.0", "type": "recorder"})
    await cni.running("p1")
    messages = [event.message for event in await cni.lab.kube.list(EVENTS) if event.type == "Warning"]
    assert all("late" in message for message in messages)


async def test_a_pod_that_can_never_run_says_why(cni):
    """A malformed annotation or definition, or an absent executable, is an Event; the pod can still be deleted."""
    problems = {"a@b@c": "found 'a@b@c'"}
    for name, definition, problem in (
        ("text", "no json", "is not JSON"),
        ("absent", '{"cniVersion": "1.0.0", "type": "absent"}', "failed to find plugin 'absent'"),
        ("path", '{"cniVersion": "1.0.0", "type": "../recorder"}', "is not a file name"),
    ):
        await cni.network(name, definition)
        problems[name] = problem
    for number, (annotation, problem) in enumerate(problems.items()):
        await cni.pod(f"p{number}", annotation)
        found = partial(failures, cni.lab, f"default/p{number}")
        assert problem in (await until(found))[0]
        await cni.lab.kube.delete(PODS, f"p{number}", "default")
        await cni.gone(f"p{number}")
    assert namespaces(cni.lab) == []
    assert cni.calls == []


def failures(lab: RunningLab, pod: str) -> list[str]:
    """Messages of failed attempts to run a pod."""
    told = [e.fields for e in lab.events if e.fields.get("pod") == pod]
    return [fields["message"] for fields in told if fields["state"] == "FailedCreatePodSandBox"]


async def test_a_pod_of_the_same_name_is_another_pod(cni):
    """A pod created under the name of one that is going gets its own uid, sandbox and ADD."""
    await cni.network("a", {"cniVersion": "1.0.0", "type": "recorder"})
    uids = []
    for _ in range(2):
        uids.append(await cni.pod("p1", "a"))
        await cni.running("p1")
        await cni.lab.kube.delete(PODS, "p1", "default")
        await cni.gone("p1")
    assert cni.commands == [("ADD", "net1"), ("DEL", "net1")] * 2
    assert len({call["env"]["CNI_CONTAINERID"] for call in cni.calls}) == 2
    for uid, call in zip(uids, cni.calls[::2], strict=True):
        assert f"K8S_POD_UID={uid}" in call["env"]["CNI_ARGS"]


async def test_pods_of_several_nodes_start_at_once(cni):
    """Every pod runs on the node it is bound to; its commands run in its own namespace."""
    await cni.network("a", {"cniVersion": "1.0.0", "type": "recorder"})
    places = {f"p{k}": f"node-{1 + k % 2}" for k in range(6)}
    for name, node in places.items():
        await cni.pod(name, "a", node=node)
    for name in places:
        await cni.running(name)
    rows = await cni.lab.agent.call("pods")
    assert {row["pod"].removeprefix("default/"): row["node"] for row in rows} == places
    inside = await cni.lab.run("readlink", "/proc/self/ns/net", pod=rows[3]["pod"])
    assert inside["stdout"].strip() == f"net:[{inode(rows[3]['netns'])}]"


async def test_a_tool_container_runs_its_command_in_the_pod(cni):
    """The command of the lab's tool image runs in the pod's namespace, is logged, and ends with the pod."""
    argv = ["sh", "-c", "readlink /proc/self/ns/net; exec sleep 98769"]
    await cni.pod("p1", "", image="multinic-lab/tool", command=argv)
    await cni.running("p1")
    (row,) = await cni.lab.agent.call("pods")
    path = Path(cni.lab.told["folder"], "node-1", "log", "default_p1_c.log")
    await until(lambda: path.stat().st_size)
    log = await cni.lab.agent.call("logs", node="node-1", name="default_p1_c")
    assert log == f"net:[{inode(row['netns'])}]\n"
    report = await cni.lab.agent.call("audit")
    assert [p["command"] for p in report["nodes"]["node-1"]["pod_processes"]] == ["sleep 98769"]
    await cni.lab.kube.delete(PODS, "p1", "default")
    await cni.gone("p1")
    assert (await cni.lab.agent.call("audit"))["clean"]


async def test_check_tells_what_the_executable_says(cni):
    """A failing CHECK is an error of the operation, with the executable's own message."""
    await cni.network("a", {"cniVersion": "1.0.0", "type": "recorder"})
    await cni.pod("p1", "a")
    await cni.running("p1")
    await cni.lab.agent.call("check", pod="default/p1")
    cni.fail("CHECK", "net1", 1)
    with pytest.raises(OperationError, match="recorder CHECK net1: not now"):
        await cni.lab.agent.call("check", pod="default/p1")


async def test_a_pod_survives_an_api_that_fails_while_it_is_reported(cni):
    """When its status cannot be written the pod keeps its sandbox, and is reported later."""
    await cni.network("a", {"cniVersion": "1.0.0", "type": "recorder"})
    fault = cni.lab.api.faults.fail(403, method="PATCH", path=".*/pods/p1/status.*", count=2)
    await cni.pod("p1", "a")
    await cni.running("p1")
    assert fault.hits == 2
    assert cni.commands == [("ADD", "net1")]


async def test_nodes_come_back_to_an_api_that_knows_them(cni):
    """A lab that comes up again against the same API registers its nodes anew, without an error."""
    await cni.lab.agent.call("down")
    await cni.lab.agent.call("up", spec=cni.lab.spec)
    assert [node.name for node in await cni.lab.kube.list(NODES)] == ["node-1", "node-2"]
