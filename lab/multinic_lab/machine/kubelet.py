"""The kubelet stand-in of one node, with what a container runtime and Multus do below it.

It registers the Node, and brings every pod bound to it to what the API wants: each attempt to run a pod gets a
fresh sandbox (a network namespace with ``lo`` up and a new 64-digit container id, no ``eth0``: the lab has no
default network) and one CNI ADD for each network asked for, in order. When one fails, what was done is deleted in
reverse, an Event says why, and after a growing delay there is a new sandbox. A pod that is to go has its processes
killed and its networks deleted in reverse, repeated until each DEL succeeds, before it leaves the API.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import trio

from multinic_core.errors import ApiError, MultinicError
from multinic_core.model import ATTACHMENT_DEFINITIONS, EVENTS, NODES, PODS, Pod
from multinic_core.ports import Key, Kubernetes, Store
from multinic_lab.machine import links, netns, processes
from multinic_lab.machine.delegate import PodIdentity, make_delegate, network_status
from multinic_lab.machine.layout import Layout, end_processes
from multinic_lab.machine.podstatus import describe_addresses, node_document, node_status, pod_event, running_status
from multinic_lab.machine.runtime import Attached, CniError, CniRuntime, Sandbox
from multinic_lab.machine.selection import NETWORKS_ANNOTATION, STATUS_ANNOTATION, parse_networks
from multinic_lab.machine.spec import NodeSpec
from multinic_lab.provision import tools

logger = logging.getLogger(__name__)
FIRST_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 10.0
TOOL_IMAGE = "multinic-lab/tool"
"""Containers of this image run their ``command`` as a real process of the pod; others run nothing."""
Tell = Callable[..., None]


class SandboxFailedError(MultinicError):
    """An attempt to run a pod failed; nothing of it is left."""

    reason = "FailedCreatePodSandBox"


class PodWorker:
    """One pod, by uid, from its first sight to its end."""

    def __init__(self, kubelet: Kubelet, key: Key, uid: str) -> None:
        self._kubelet, self.key, self.uid = kubelet, key, uid
        self.sandbox: Sandbox | None = None
        self.attached: list[Attached] = []
        self.entries: list[dict[str, Any]] = []
        self.children: dict[str, processes.Child] = {}
        self._reported = False
        self._wake = trio.Event()

    def wake(self) -> None:
        self._wake.set()

    async def serve(self) -> None:
        """Bring the pod up, keep it, take it down; returns when it is gone."""
        delay = FIRST_DELAY_SECONDS
        while (pod := self._wanted()) is not None:
            self._wake = trio.Event()
            try:
                if self.sandbox is None:
                    await self._create(pod)
                if not self._reported and self.sandbox is not None:
                    await self._kubelet.report_running(pod, self.sandbox, self.entries)
                    self._reported = True
            except (SandboxFailedError, ApiError) as error:
                await self._kubelet.record(pod, "Warning", error.reason, str(error))
                with trio.move_on_after(delay):
                    await self._gone()
                delay = min(MAX_DELAY_SECONDS, delay * 2)
                continue
            delay = FIRST_DELAY_SECONDS
            await self._wake.wait()
        await self._remove()

    def describe(self) -> dict[str, Any]:
        """Pod, uid, netns, container id and the entries of its network-status; of a pod that has a sandbox."""
        assert self.sandbox is not None
        return {
            "pod": "/".join(self.key),
            "uid": self.uid,
            "netns": str(self.sandbox.netns),
            "container_id": self.sandbox.container_id,
            "networks": self.entries,
        }

    def _wanted(self) -> Pod | None:
        """The pod as the API has it, or None when it is to go."""
        pod = self._kubelet.pods.get(self.key.name, self.key.namespace)
        if pod is None or pod.metadata.uid != self.uid or pod.metadata.deletion_timestamp:
            return None
        return pod

    async def _gone(self) -> None:
        while self._wanted() is not None:
            await self._wake.wait()
            self._wake = trio.Event()

    async def _create(self, pod: Pod) -> None:
        """One attempt; on failure nothing of it is left. Raises SandboxFailedError."""
        try:
            sandbox = await self._kubelet.new_sandbox()
        except MultinicError as error:
            raise SandboxFailedError(str(error)) from error
        attached: list[Attached] = []
        try:
            self.entries = await self._attach(pod, sandbox, attached)
            await self._start_containers(pod, sandbox)
        except MultinicError as error:
            await self._kubelet.detach(pod, sandbox, attached)
            await self._kubelet.remove_sandbox(sandbox)
            raise SandboxFailedError(str(error), details=error.details) from error
        self.sandbox, self.attached = sandbox, attached

    async def _attach(self, pod: Pod, sandbox: Sandbox, attached: list[Attached]) -> list[dict[str, Any]]:
        kubelet = self._kubelet
        annotation = (pod.metadata.annotations or {}).get(NETWORKS_ANNOTATION, "")
        identity = PodIdentity(pod.namespace, pod.name, self.uid)
        delegates = []
        for selection in parse_networks(annotation, pod.namespace):
            definition = await kubelet.kube.get(ATTACHMENT_DEFINITIONS, selection.name, selection.namespace)
            delegates.append(make_delegate(selection, definition.spec.config, identity, sandbox.container_id))
        entries: list[dict[str, Any]] = []
        for delegate in delegates:
            kubelet.runtime.find(delegate)
            # Half an ADD may be there even when it fails, so its DEL is due before it has succeeded.
            attached.append(Attached(delegate, None))
            attached[-1] = await kubelet.runtime.add(sandbox, delegate)
            entries += network_status(delegate, attached[-1].result or {})
        return entries

    async def _start_containers(self, pod: Pod, sandbox: Sandbox) -> None:
        for container in pod.spec.containers:
            if container.get("image") == TOOL_IMAGE and container.get("command"):
                argv = [*container["command"], *(container.get("args") or ())]
                name = container.get("name", "")
                self.children[name] = await self._kubelet.start_container(self.key, name, argv, sandbox)

    async def _remove(self) -> None:
        pod = self._kubelet.pods.get(self.key.name, self.key.namespace)
        if self.sandbox is not None:
            await trio.to_thread.run_sync(end_processes, [self.sandbox.netns])
            for child in self.children.values():
                await child.end()
            await self._kubelet.detach(pod, self.sandbox, self.attached)
            await self._kubelet.remove_sandbox(self.sandbox)
        self._kubelet.tell("pod", node=self._kubelet.node.name, pod="/".join(self.key), state="removed")
        if pod is not None and pod.metadata.uid == self.uid:
            await self._kubelet.finish(pod)


class Kubelet:
    """One node."""

    def __init__(self, node: NodeSpec, layout: Layout, kube: Kubernetes, runtime: CniRuntime, tell: Tell) -> None:
        self.node, self.layout, self.kube, self.runtime, self.tell = node, layout, kube, runtime, tell
        self.pods: Store[Pod] = kube.store(PODS, field_selector=f"spec.nodeName={node.name}")
        self.workers: dict[str, PodWorker] = {}
        self._to_serve, self._keys = trio.open_memory_channel[Key](100_000)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Register the node and keep its pods; never returns. ``started()`` comes when the Node is registered."""
        await self._register()
        self.pods.subscribe(self._to_serve.send_nowait)
        task_status.started()
        async with trio.open_nursery() as nursery:
            async for key in self._keys:
                self._dispatch(key, nursery)

    def _dispatch(self, key: Key, nursery: trio.Nursery) -> None:
        pod = self.pods.get(key.name, key.namespace)
        uid = pod.metadata.uid if pod is not None else None
        if pod is not None and uid and uid not in self.workers and pod.status.phase not in {"Succeeded", "Failed"}:
            self.workers[uid] = PodWorker(self, key, uid)
            nursery.start_soon(self._keep, self.workers[uid])
        for worker in self.workers.values():
            if worker.key == key:
                worker.wake()

    async def _keep(self, worker: PodWorker) -> None:
        try:
            await worker.serve()
        finally:
            del self.workers[worker.uid]

    def worker_of(self, key: Key) -> PodWorker | None:
        """The pod's worker that has a sandbox, if any."""
        return next((w for w in self.workers.values() if w.key == key and w.sandbox is not None), None)

    async def _register(self) -> None:
        boot_id = (await trio.Path("/proc/sys/kernel/random/boot_id").read_text()).strip()
        document = node_document(self.node)
        await self._until_done(lambda: self._apply_node(document, boot_id), "register the node")

    async def _apply_node(self, document: dict[str, Any], boot_id: str) -> None:
        try:
            await self.kube.create(NODES, document)
        except ApiError as error:
            if error.status != 409:
                raise
            await self.kube.patch(NODES, self.node.name, {"metadata": {"labels": document["metadata"]["labels"]}})
        status = {"status": node_status(self.node, boot_id, _now())}
        await self.kube.patch(NODES, self.node.name, status, subresource="status")

    async def _until_done(self, work: Callable[[], Any], what: str) -> None:
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
        status = running_status(pod, self.node, sandbox.container_id, _now())
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

        await self._until_done(work, "delete a pod")

    async def record(self, pod: Pod, type_: str, reason: str, message: str) -> None:
        """Write an Event; a failure to do so is only logged."""
        self.tell("pod", node=self.node.name, pod=f"{pod.namespace}/{pod.name}", state=reason, message=message)
        try:
            await self.kube.create(EVENTS, pod_event(pod, self.node.name, type_, reason, message, _now()))
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


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
