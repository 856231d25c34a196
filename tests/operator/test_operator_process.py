"""The operator as a process, against the lab's API server with the real client and schemas."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from multinic_lab.apiserver import serve_api, write_kubeconfig

from multinic_core.kube import connect
from multinic_core.model import (
    ATTACHMENT_DEFINITIONS,
    CIDRS,
    EVENTS,
    HOST_INTERFACES,
    IPPOOLS,
    NETWORKS,
    NODES,
    OUR_RESOURCES,
    KubeObject,
    Resource,
)
from multinic_core.model.crd import crd

CRDS: Resource[Any] = Resource(
    KubeObject, "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False
)
DEFINITION_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "network-attachment-definitions.k8s.cni.cncf.io"},
    "spec": {
        "group": "k8s.cni.cncf.io",
        "scope": "Namespaced",
        "names": {
            "plural": "network-attachment-definitions",
            "singular": "network-attachment-definition",
            "kind": "NetworkAttachmentDefinition",
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"config": {"type": "string"}}},
                        },
                    }
                },
            }
        ],
    },
}
PATIENCE_SECONDS = 30


@dataclass
class Lab:
    """An API server with our kinds, a client, and operators started on it."""

    kube: Any
    server: Any
    kubeconfig: Path
    log: Path
    processes: list[trio.Process] = field(default_factory=list)

    async def start(self) -> trio.Process:
        with self.log.open("ab") as log:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "multinic_operator", "--kubeconfig", str(self.kubeconfig)], stderr=log
            )
        self.processes.append(process)
        return process

    async def until(self, condition: Callable[[], Any]) -> None:
        """Poll until the condition holds, a bounded time."""
        with trio.move_on_after(PATIENCE_SECONDS):
            while not await condition():
                await trio.sleep(0.05)
            return
        pytest.fail(f"not within {PATIENCE_SECONDS} s; operator's log:\n{self.log.read_text()[-4000:]}")

    async def configured(self) -> bool:
        status = (await self.kube.get(NETWORKS, "multi-nic-sample")).status
        return status is not None and status.route_status == "Unknown"


@asynccontextmanager
async def lab(folder: Path) -> AsyncIterator[Lab]:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_api)
        kubeconfig = write_kubeconfig(folder / "kubeconfig", server.url)
        kube = connect(str(kubeconfig))
        made = Lab(kube, server, kubeconfig, folder / "operator.log")
        for body in (DEFINITION_CRD, *(crd(resource) for resource in OUR_RESOURCES)):
            await kube.create(CRDS, body)
        try:
            yield made
        finally:
            for process in made.processes:
                if process.returncode is None:
                    process.kill()
                    with trio.CancelScope(shield=True):
                        await process.wait()
            nursery.cancel_scope.cancel()


async def populate(kube: Any, make_host: Any) -> None:
    for number in range(1, 4):
        name = f"node-{number}"
        await kube.create(NODES, {"metadata": {"name": name}})
        nics = {f"eth{nic}": f"10.0.{nic}.{number}/24" for nic in range(1, 4)}
        await kube.create(HOST_INTERFACES, make_host(name, nics))
    ipam = {"type": "multi-nic-ipam", "hostBlock": 6, "interfaceBlock": 2, "vlanMode": "l3"}
    body = {
        "metadata": {"name": "multi-nic-sample"},
        "spec": {
            "subnet": "192.168.0.0/16",
            "ipam": json.dumps(ipam),
            "multiNICIPAM": True,
            "plugin": {"cniVersion": "0.3.0", "type": "ipvlan", "args": {"mode": "l3"}},
            "attachPolicy": {"strategy": "none"},
            "namespaces": ["default"],
        },
    }
    await kube.create(NETWORKS, body)


async def test_a_process_serves_a_network_and_ends_on_sigterm(tmp_path: Path, make_host: Any) -> None:
    """CIDR, pools, definition, status and Event are written; SIGTERM ends it with status 0; the log is key=value."""
    async with lab(tmp_path) as made:
        kube = made.kube
        await populate(kube, make_host)
        process = await made.start()
        await made.until(made.configured)
        cidr = await kube.get(CIDRS, "multi-nic-sample")
        assert [len(entry.hosts) for entry in cidr.spec.cidr] == [3, 3, 3]
        assert len(await kube.list(IPPOOLS)) == 9
        definition = await kube.get(ATTACHMENT_DEFINITIONS, "multi-nic-sample", "default")
        assert json.loads(definition.spec.config)["plugin"] == {"cniVersion": "0.3.0", "mode": "l3", "type": "ipvlan"}
        status = (await kube.get(NETWORKS, "multi-nic-sample")).status
        assert status.message == "some daemon cannot be connected: node-1, node-2, node-3"

        await kube.delete(NETWORKS, "multi-nic-sample")

        async def gone() -> bool:
            left = [await kube.list(r) for r in (NETWORKS, CIDRS, IPPOOLS, ATTACHMENT_DEFINITIONS)]
            return not any(left)

        await made.until(gone)
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(PATIENCE_SECONDS):
            assert await process.wait() == 0
        lines = made.log.read_text().splitlines()
        assert all(line.startswith("time=") and " level=" in line and " msg=" in line for line in lines)
        assert not [line for line in lines if "level=error" in line]


async def test_kill_nine_at_any_moment_changes_nothing_in_the_outcome(tmp_path: Path, make_host: Any) -> None:
    """Killed again and again while it writes, it ends with the same rows and pools, and then writes nothing more."""
    async with lab(tmp_path) as made:
        kube = made.kube
        await populate(kube, make_host)
        for pools in (0, 1, 4, 8):
            process = await made.start()

            async def far(least: int = pools) -> bool:
                cidrs = await kube.list(CIDRS)
                return bool(cidrs) and len(await kube.list(IPPOOLS)) >= least

            await made.until(far)
            process.kill()
            await process.wait()
        await made.start()
        await made.until(made.configured)
        cidr = await kube.get(CIDRS, "multi-nic-sample")
        rows = {(row.host_name, row.interface_name): row.pod_cidr for entry in cidr.spec.cidr for row in entry.hosts}
        assert rows == {
            (f"node-{host + 1}", f"eth{nic + 1}"): f"192.168.{64 * nic + host}.0/24"
            for host in range(3)
            for nic in range(3)
        }
        pools_now = {(p.spec.host_name, p.spec.interface_name): p.spec.pod_cidr for p in await kube.list(IPPOOLS)}
        assert pools_now == rows


async def test_a_wrong_text_is_told_with_an_event(tmp_path: Path, make_host: Any) -> None:
    """What the schema lets through and cannot work is said where ``kubectl describe`` shows it."""
    async with lab(tmp_path) as made:
        await populate(made.kube, make_host)
        await made.kube.patch(NETWORKS, "multi-nic-sample", {"spec": {"attachPolicy": {"strategy": "luck"}}})
        await made.start()

        async def told() -> bool:
            return any("spec.attachPolicy.strategy: found 'luck'" in e.message for e in await made.kube.list(EVENTS))

        await made.until(told)
        assert await made.kube.list(CIDRS) == []


def test_a_kubeconfig_that_is_missing_is_named(tmp_path: Path) -> None:
    """One line on stderr, status 1, no traceback."""
    absent = tmp_path / "absent"
    command = [sys.executable, "-m", "multinic_operator", "--kubeconfig", str(absent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 1
    assert str(absent) in done.stderr
    assert "Traceback" not in done.stderr
