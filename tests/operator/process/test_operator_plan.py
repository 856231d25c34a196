"""``multinic plan`` from afar, as a process, on what an operator has really written."""

from __future__ import annotations

import json
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trio
from multinic_lab.apiserver import RequestLog

from multinic_core.model import HOST_INTERFACES, IPPOOLS, NETWORKS

PATIENCE_SECONDS = 120


def manifest(folder: Path, **asked: Any) -> Path:
    """A pod on the network that asks for this."""
    wanted = json.dumps([{"name": "multi-nic-sample", "cni-args": asked}])
    metadata = {"name": "train", "annotations": {"k8s.v1.cni.cncf.io/networks": wanted}}
    path = folder / "pod.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}}))
    return path


async def plan(lab: Any, file: Path, node: str, folder: Path) -> tuple[int, Any, str]:
    """Exit status, JSON and messages of the command."""
    options = [
        "--pod",
        str(file),
        "--node",
        node,
        "--kubeconfig",
        str(lab.kubeconfig),
        "--run-dir",
        str(folder),
        "--json",
    ]
    command = [sys.executable, "-c", "from multinic_core.cli import main; main()", "plan", *options]
    with trio.fail_after(PATIENCE_SECONDS):
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    return done.returncode, json.loads(done.stdout or "null"), done.stderr.decode()


@pytest.mark.embedded_api
async def test_a_pod_is_planned_for_on_any_node_by_what_the_operator_wrote(
    lab: Any, populate: Any, tmp_path: Path
) -> None:
    """NICs and first addresses of each node's own pools; nothing is written, and only reading is asked for."""
    await populate(lab.kube)
    await lab.start()
    await lab.until(lab.configured)
    lab.server.api.requests = log = RequestLog()
    pools = {(pool.spec.host_name, pool.spec.interface_name): pool.spec for pool in await lab.kube.list(IPPOOLS)}
    for node in ("node-1", "node-3"):
        status, document, messages = await plan(lab, manifest(tmp_path, nics=2), node, tmp_path)
        assert (status, messages) == (0, "")
        assert document["node"] == node
        (attachment,) = document["attachments"]
        own = [(nic, pools[node, nic]) for nic in ("eth1", "eth2")]
        assert [(link["nic"], link["addresses"]) for link in attachment["links"]] == [
            (nic, [f"{ip_network(spec.pod_cidr)[1]}/{ip_network(spec.vlan_cidr).prefixlen}"]) for nic, spec in own
        ]
    asked = {entry.verb for entry in log.entries if entry.agent == "multinic-plan"}
    assert asked
    assert asked <= {"get", "list", "watch"}


@pytest.mark.embedded_api
async def test_a_policy_counts_as_on_the_node(lab: Any, populate: Any, tmp_path: Path) -> None:
    """By the speeds that the node's daemon published; what cannot be met is status 1 with the figures."""
    await populate(lab.kube)
    host = await lab.kube.get(HOST_INTERFACES, "node-2")
    interfaces = [
        entry.model_dump(by_alias=True, exclude_none=True) | {"speed": 10_000 * number}
        for number, entry in enumerate(host.spec.interfaces, start=1)
    ]
    await lab.kube.patch(HOST_INTERFACES, "node-2", {"spec": {"interfaces": interfaces}})
    policy = {"spec": {"attachPolicy": {"strategy": "costOpt", "target": "15Gbps"}}}
    await lab.kube.patch(NETWORKS, "multi-nic-sample", policy)
    await lab.start()
    await lab.until(lab.configured)
    status, document, _ = await plan(lab, manifest(tmp_path), "node-2", tmp_path)
    (attachment,) = document["attachments"]
    assert (status, [link["nic"] for link in attachment["links"]]) == (0, ["eth2"])
    status, document, _ = await plan(lab, manifest(tmp_path, target="70Gbps"), "node-2", tmp_path)
    assert status == 1
    assert "found 60 Gbit/s free to promise on its 3 NICs" in document["attachments"][0]["refusal"]
    status, document, messages = await plan(lab, manifest(tmp_path), "node-9", tmp_path)
    assert (status, document) == (1, None)
    assert "node-9" in messages
    assert messages.count("\n") == 1
