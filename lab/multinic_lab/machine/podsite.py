"""What a node does for its pods: sandboxes with their processes and networks, and what it tells the API of each.

A sandbox is a network namespace with ``lo`` up and a new container id of 64 digits; it has no ``eth0``, as the lab
has no default network.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import trio

from multinic_core.cni.podnetworks import STATUS_ANNOTATION
from multinic_core.errors import ApiError
from multinic_core.model import EVENTS, PODS, Pod
from multinic_core.ports import Key, Kubernetes, Store
from multinic_lab.machine import links, netns, processes
from multinic_lab.machine.layout import Layout, end_processes
from multinic_lab.machine.podstatus import describe_addresses, pod_event, running_status
from multinic_lab.machine.runtime import Attached, CniError, CniRuntime, Sandbox
from multinic_lab.machine.spec import NodeSpec
from multinic_lab.provision import tools

logger = logging.getLogger(__name__)
Tell = Callable[..., None]

FIRST_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 10.0


class PodSite:
    """One node, as its pods' workers see it."""

    def __init__(self, node: NodeSpec, layout: Layout, kube: Kubernetes, runtime: CniRuntime, tell: Tell) -> None:
        self.node, self.layout, self.kube, self.runtime, self.tell = node, layout, kube, runtime, tell
        self.pods: Store[Pod] = kube.store(PODS, field_selector=f"spec.nodeName={node.name}")

    async def until_done(self, work: Callable[[], Any], what: str) -> None:
        """Repeat ``work`` after API errors, without end: a node does nothing else meanwhile."""
        delay = FIRST_DELAY_SECONDS
        while True:
            try:
                await work()
            except ApiError as error:
                logger.warning("%s: %s", what, error, extra={"node": self.node.name})
                await trio.sleep(delay)
                delay = min(MAX_DELAY_SECONDS, delay * 2)
            else:
                return

    async def new_sandbox(self) -> Sandbox:
        container_id = secrets.token_hex(32)
        with trio.CancelScope(shield=True):
            path = await trio.to_thread.run_sync(
                netns.add, self.layout.pod_netns(self.node.name, container_id), links.loopback_up
            )
        return Sandbox(container_id, path)

    async def remove_sandbox(self, sandbox: Sandbox) -> None:
        await trio.to_thread.run_sync(end_processes, [sandbox.netns])
        await trio.to_thread.run_sync(netns.remove, sandbox.netns.name)

    async def detach(self, pod: Pod | None, sandbox: Sandbox, attached: list[Attached]) -> None:
        """DEL each network, last first; each is repeated until it succeeds."""
        while attached:
            delay = FIRST_DELAY_SECONDS
            while True:
                try:
                    await self.runtime.delete(sandbox, attached[-1])
                    break
                except CniError as error:
                    logger.warning("DEL failed: %s", error, extra={"node": self.node.name})
                    if pod is not None:
                        await self.record(pod, "Warning", "FailedKillPod", str(error))
                    await trio.sleep(delay)
                    delay = min(MAX_DELAY_SECONDS, delay * 2)
            attached.pop()

    async def report_running(self, pod: Pod, sandbox: Sandbox, entries: list[dict[str, Any]]) -> None:
        """Write annotation network-status, then status Running; may be repeated. Raises ApiError."""
        if entries:
            text = json.dumps(entries, indent=4)
            metadata = {"uid": pod.metadata.uid, "annotations": {STATUS_ANNOTATION: text}}
            await self.kube.patch(PODS, pod.name, {"metadata": metadata}, namespace=pod.namespace)
        status = running_status(pod, self.node, sandbox.container_id, timestamp())
        await self.kube.patch(
            PODS,
            pod.name,
            {"metadata": {"uid": pod.metadata.uid}, "status": status},
            namespace=pod.namespace,
            subresource="status",
        )
        self.tell("pod", node=self.node.name, pod=f"{pod.namespace}/{pod.name}", state="running")
        if entries:
            await self.record(pod, "Normal", "AddedInterface", f"Add {describe_addresses(entries)}")

    async def finish(self, pod: Pod) -> None:
        """Take the pod out of the API. A pod in a final phase is deleted without a grace period."""

        async def work() -> None:
            final = {"metadata": {"uid": pod.metadata.uid}, "status": {"phase": "Succeeded"}}
            try:
                await self.kube.patch(PODS, pod.name, final, namespace=pod.namespace, subresource="status")
            except ApiError as error:
                if error.status not in {404, 409}:
                    raise
            await self.kube.delete(PODS, pod.name, pod.namespace, uid=pod.metadata.uid)

        await self.until_done(work, "delete a pod")

    async def record(self, pod: Pod, type_: str, reason: str, message: str) -> None:
        """Write an Event; a failure to do so is only logged."""
        self.tell("pod", node=self.node.name, pod=f"{pod.namespace}/{pod.name}", state=reason, message=message)
        try:
            await self.kube.create(EVENTS, pod_event(pod, self.node.name, type_, reason, message, timestamp()))
        except ApiError as error:
            logger.warning("event not written: %s", error, extra={"node": self.node.name})

    async def start_container(self, key: Key, name: str, argv: list[str], sandbox: Sandbox) -> processes.Child:
        """Run a container's command in the pod's namespace, its output appended to a log."""
        log = self.layout.log_dir(self.node.name) / f"{key.namespace}_{key.name}_{name}.log"
        with log.open("ab") as output:
            return await processes.start(
                argv,
                namespace=sandbox.netns,
                env=tools.environment(),
                stdout=output,
                stderr=output,
            )


def timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
