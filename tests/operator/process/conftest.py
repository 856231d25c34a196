"""An API server with our kinds, and operator processes on it.

The server is one of the lab's, or the cluster that the kubeconfig named by the variable KUBECONFIG_REAL leads to; there
the operator has a namespace of its own, and the cluster is left as it was found. Tests that break the server or read
its log, marked ``embedded_api``, have one of the lab's in any case.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from multinic_lab.apiserver import serve_api, write_kubeconfig
from multinic_lab.cluster.borrowed import borrow

from multinic_core.kube import connect
from multinic_core.model import (
    HOST_INTERFACES,
    NAMESPACES,
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
PATIENCE_SECONDS = 60
STANDBY = "another operator leads"


@dataclass
class Lab:
    """An API server with our kinds, a client, and operators started on it."""

    kube: Any
    server: Any
    """None when it is not ours."""
    kubeconfig: Path
    log: Path
    options: tuple[str, ...] = ()
    """Of every operator."""
    processes: list[trio.Process] = field(default_factory=list)

    async def start(self, *options: str) -> trio.Process:
        """An operator; one of its own unless the options say otherwise."""
        command = [sys.executable, "-m", "multinic_operator", "--kubeconfig", str(self.kubeconfig), *self.options]
        with self.log.open("ab") as log:
            process = await trio.lowlevel.open_process([*command, *(options or ("--no-leader-elect",))], stderr=log)
        self.processes.append(process)
        return process

    async def namespace(self, name: str) -> None:
        await self.kube.create(NAMESPACES, {"metadata": {"name": name}})

    async def start_another(self) -> trio.Process:
        """A further operator, once it has seen that another one leads."""
        seen = self.log.read_text().count(STANDBY)
        process = await self.start("--leader-elect")

        async def waits() -> bool:
            return self.log.read_text().count(STANDBY) > seen

        await self.until(waits)
        return process

    async def until(self, condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> None:
        """Poll until the condition holds, a bounded time."""
        with trio.move_on_after(seconds):
            while not await condition():
                await trio.sleep(0.05)
            return
        pytest.fail(f"not within {seconds} s; operator's log:\n{self.log.read_text()[-4000:]}")

    async def configured(self) -> bool:
        status = (await self.kube.get(NETWORKS, "multi-nic-sample")).status
        return status is not None and status.route_status == "Unknown"


KINDS = (DEFINITION_CRD, *(crd(resource) for resource in OUR_RESOURCES))


@asynccontextmanager
async def open_lab(folder: Path) -> AsyncIterator[Lab]:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_api)
        kubeconfig = write_kubeconfig(folder / "kubeconfig", server.url)
        kube = connect(str(kubeconfig))
        made = Lab(kube, server, kubeconfig, folder / "operator.log")
        for body in KINDS:
            await kube.create(CRDS, body)
        try:
            yield made
        finally:
            await end_all(made.processes)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_real_lab(kubeconfig: Path, folder: Path) -> AsyncIterator[Lab]:
    kube = connect(str(kubeconfig))
    async with borrow(kube, KINDS) as borrowed:
        options = ("--namespace", borrowed.namespace)
        made = Lab(kube, None, kubeconfig, folder / "operator.log", options)
        try:
            yield made
        finally:
            await end_all(made.processes)


async def end_all(processes: list[trio.Process]) -> None:
    for process in processes:
        if process.returncode is None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


async def populated(kube: Any, make_host: Any) -> None:
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


@pytest.fixture
async def lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lab]:
    """A lab without nodes and networks."""
    real = os.environ.get("KUBECONFIG_REAL")
    embedded = not real or request.node.get_closest_marker("embedded_api") is not None
    async with open_lab(tmp_path) if embedded else open_real_lab(Path(str(real)), tmp_path) as made:
        yield made


@pytest.fixture
def kinds() -> Any:
    """Definitions of our kinds and of attachment definitions."""
    return KINDS


@pytest.fixture
def populate(make_host: Any) -> Any:
    """Makes three nodes with three NICs each and a network."""

    async def make(kube: Any) -> None:
        await populated(kube, make_host)

    return make
