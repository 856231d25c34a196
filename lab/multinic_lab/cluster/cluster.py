"""A whole cluster on one machine, from nothing to ready and back.

API server and operator run on the host, the nodes (each with its daemon and its kubelet stand-in) where ``place`` puts
them. Everything ends with the block, in the order in which a cluster is taken down.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import trio

from multinic_core.cli.crds import manifests
from multinic_core.kube import connect as connect_kube
from multinic_core.model import HOST_INTERFACES, KubeObject, MultiNicNetwork, Resource
from multinic_core.ports import Kubernetes
from multinic_core.registry import load_plugins
from multinic_lab.apiserver import ApiServer, RequestLog, serve_api, write_kubeconfig
from multinic_lab.cluster.place import Kernel, choose_kernel, open_place
from multinic_lab.cluster.processes import Kept, Kubectl, operator_command
from multinic_lab.cluster.scenario import Scenario, load_network
from multinic_lab.machine.client import AgentClient
from multinic_lab.machine.protocol import Event

M = TypeVar("M", bound=KubeObject)

READY_SECONDS = 120.0
"""From starting the daemons until every node has told its NICs."""


@dataclass(slots=True)
class Cluster:
    """A running cluster."""

    scenario: Scenario
    network: MultiNicNetwork
    kernel: Kernel
    kernel_reason: str
    folder: Path
    """Logs and the kubeconfig."""
    kubeconfig: Path
    kubectl: Kubectl
    kube: Kubernetes
    api: ApiServer
    agent: AgentClient
    operator: Kept

    async def wait_for(
        self,
        resource: Resource[M],
        satisfied: Callable[[list[M]], bool],
        *,
        seconds: float = READY_SECONDS,
        namespace: str = "",
        changed: Callable[[list[M]], None] = lambda objects: None,
    ) -> list[M]:
        """The objects of a kind as soon as they satisfy; ``changed`` sees every state on the way.

        Raises:
            trio.TooSlowError: they did not within ``seconds``.
        """
        store = self.kube.store(resource, namespace=namespace)
        woken = trio.Event()

        def wake(_key: object) -> None:
            woken.set()

        store.subscribe(wake)
        with trio.fail_after(seconds):
            await store.wait_synced()
            while True:
                woken = trio.Event()
                objects = store.list()
                changed(objects)
                if satisfied(objects):
                    return objects
                await woken.wait()

    async def leftovers(self) -> list[str]:
        """One sentence per thing of ours on any node, as the agent finds it in kernels and journals."""
        found: dict[str, Any] = await self.agent.call("audit")
        return list(found["problems"])


@asynccontextmanager
async def open_cluster(
    scenario: Scenario,
    *,
    folder: Path | None = None,
    port: int = 0,
    requests: RequestLog | None = None,
    progress: Callable[[str], None] = lambda text: None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> AsyncIterator[Cluster]:
    """Bring up a cluster; inside the block every node has told its NICs and the operator runs.

    Args:
        folder: for kubeconfig and logs, kept afterwards; None: a temporary one.
        port: of the API server on the host's loopback; 0: any free one.
        requests: gets every request to the API server.
        progress: told one phrase per step.
    """
    network = load_network(scenario.network)
    registry, named = load_plugins(), network.spec.plugin.type
    plugin = registry.main_plugin(named) or registry.main_plugins[named]
    kernel, reason = choose_kernel(scenario.kernel, plugin.link_kinds)
    with tempfile.TemporaryDirectory(prefix="multinic-lab-") as temporary:
        home = folder or Path(temporary)
        home.mkdir(parents=True, exist_ok=True)
        async with trio.open_nursery() as nursery:
            api: ApiServer = await nursery.start(lambda task_status: serve_api(port=port, task_status=task_status))
            api.api.requests = requests
            kubeconfig = home / "kubeconfig"
            write_kubeconfig(kubeconfig, api.url)
            kubectl = Kubectl(kubeconfig)
            progress(f"Kubernetes API at {api.url}")
            await install(kubectl)
            kube = connect_kube(str(kubeconfig))
            await nursery.start(lambda task_status: kube.serve(task_status=task_status))
            operator = Kept(operator_command(kubeconfig), home / "operator.log")
            nursery.start_soon(operator.run)
            progress("lab kernel boots, " + reason if kernel == "lab" else "this machine's kernel, " + reason)
            async with open_place(kernel, scenario.nodes, on_event) as agent:
                cluster = Cluster(
                    scenario, network, kernel, reason, home, kubeconfig, kubectl, kube, api, agent, operator
                )
                progress(f"{scenario.nodes} nodes with {scenario.nics} NICs each")
                await agent.call("up", spec=scenario.machine_spec(f"mn{secrets.token_hex(3)}", api.port))
                progress("daemons discover the NICs")
                await agent.call("start_daemons")
                await cluster.wait_for(HOST_INTERFACES, lambda found: complete(scenario, found))
                yield cluster
            nursery.cancel_scope.cancel()


async def install(kubectl: Kubectl) -> None:
    """Install what an administrator installs: our kinds, and the one of Multus."""
    multus = files("multinic_lab.cluster").joinpath("manifests/network-attachment-definition.yaml").read_text()
    await kubectl("apply", "-f", "-", manifest="---\n".join([*manifests().values(), multus]))
    await kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")


def complete(scenario: Scenario, found: list[Any]) -> bool:
    """Whether every node has told all of its secondary NICs."""
    told = {host.name: len(host.spec.interfaces) for host in found}
    return all(told.get(name) == scenario.nics - 1 for name in scenario.node_names)
