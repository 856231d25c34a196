"""The kubelet stand-in of one node, which does below it what a container runtime and Multus do.

It registers the Node and has a :class:`~multinic_lab.machine.podworker.PodWorker` for every pod bound to it.
"""

from __future__ import annotations

from typing import Any

import trio

from multinic_core.errors import ApiError
from multinic_core.model import NODES
from multinic_core.ports import Key, Kubernetes
from multinic_lab.machine.layout import Layout
from multinic_lab.machine.podsite import PodSite, Tell, timestamp
from multinic_lab.machine.podstatus import node_document, node_status
from multinic_lab.machine.podworker import PodWorker
from multinic_lab.machine.runtime import CniRuntime
from multinic_lab.machine.spec import NodeSpec


class Kubelet:
    """One node."""

    def __init__(self, node: NodeSpec, layout: Layout, kube: Kubernetes, runtime: CniRuntime, tell: Tell) -> None:
        self.node, self.kube, self.runtime = node, kube, runtime
        self.site = PodSite(node, layout, kube, runtime, tell)
        self.workers: dict[str, PodWorker] = {}
        self._to_serve, self._keys = trio.open_memory_channel[Key](100_000)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Register the node and keep its pods; never returns. ``started()`` comes when the Node is registered."""
        await self._register()
        self.site.pods.subscribe(self._to_serve.send_nowait)
        task_status.started()
        async with trio.open_nursery() as nursery:
            async for key in self._keys:
                self._dispatch(key, nursery)

    def _dispatch(self, key: Key, nursery: trio.Nursery) -> None:
        pod = self.site.pods.get(key.name, key.namespace)
        uid = pod.metadata.uid if pod is not None else None
        if pod is not None and uid and uid not in self.workers and pod.status.phase not in {"Succeeded", "Failed"}:
            self.workers[uid] = PodWorker(self.site, key, uid)
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
        await self.site.until_done(lambda: self._apply_node(document, boot_id), "register the node")

    async def _apply_node(self, document: dict[str, Any], boot_id: str) -> None:
        try:
            await self.kube.create(NODES, document)
        except ApiError as error:
            if error.status != 409:
                raise
            await self.kube.patch(NODES, self.node.name, {"metadata": {"labels": document["metadata"]["labels"]}})
        status = {"status": node_status(self.node, boot_id, timestamp())}
        await self.kube.patch(NODES, self.node.name, status, subresource="status")
