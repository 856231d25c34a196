"""One pod on its node, from its first sight to its end.

Each attempt to run it gets a fresh sandbox and one CNI ADD for each network asked for, in order. When one fails,
what was done is deleted in reverse, an Event says why, and after a growing delay there is a new sandbox. A pod that
is to go has its processes killed and its networks deleted in reverse before it leaves the API.
"""

from __future__ import annotations

from typing import Any

import trio

from multinic_core.cni.delegates import PodIdentity, make_delegate
from multinic_core.cni.podnetworks import NETWORKS_ANNOTATION, parse_networks
from multinic_core.errors import ApiError, MultinicError
from multinic_core.model import ATTACHMENT_DEFINITIONS, Pod
from multinic_core.ports import Key
from multinic_lab.machine import processes
from multinic_lab.machine.delegate import network_status
from multinic_lab.machine.layout import end_processes
from multinic_lab.machine.podsite import FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS, PodSite
from multinic_lab.machine.runtime import Attached, Sandbox

TOOL_IMAGE = "multinic-lab/tool"
"""Containers of this image run their ``command`` as a real process of the pod; others run nothing."""


class SandboxFailedError(MultinicError):
    """An attempt to run a pod failed; nothing of it is left."""

    reason = "FailedCreatePodSandBox"


class PodWorker:
    """One pod, by uid, from its first sight to its end."""

    def __init__(self, site: PodSite, key: Key, uid: str) -> None:
        self._site, self.key, self.uid = site, key, uid
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
                    await self._site.report_running(pod, self.sandbox, self.entries)
                    self._reported = True
            except (SandboxFailedError, ApiError) as error:
                await self._site.record(pod, "Warning", error.reason, str(error))
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
        pod = self._site.pods.get(self.key.name, self.key.namespace)
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
            sandbox = await self._site.new_sandbox()
        except MultinicError as error:
            raise SandboxFailedError(str(error)) from error
        attached: list[Attached] = []
        try:
            self.entries = await self._attach(pod, sandbox, attached)
            await self._start_containers(pod, sandbox)
        except MultinicError as error:
            await self._site.detach(pod, sandbox, attached)
            await self._site.remove_sandbox(sandbox)
            raise SandboxFailedError(str(error), details=error.details) from error
        self.sandbox, self.attached = sandbox, attached

    async def _attach(self, pod: Pod, sandbox: Sandbox, attached: list[Attached]) -> list[dict[str, Any]]:
        site = self._site
        annotation = (pod.metadata.annotations or {}).get(NETWORKS_ANNOTATION, "")
        identity = PodIdentity(pod.namespace, pod.name, self.uid)
        delegates = []
        for selection in parse_networks(annotation, pod.namespace):
            definition = await site.kube.get(ATTACHMENT_DEFINITIONS, selection.name, selection.namespace)
            delegates.append(make_delegate(selection, definition.spec.config, identity, sandbox.container_id))
        entries: list[dict[str, Any]] = []
        for delegate in delegates:
            site.runtime.find(delegate)
            # Half an ADD may be there even when it fails, so its DEL is due before it has succeeded.
            attached.append(Attached(delegate, None))
            attached[-1] = await site.runtime.add(sandbox, delegate)
            entries += network_status(delegate, attached[-1].result or {})
        return entries

    async def _start_containers(self, pod: Pod, sandbox: Sandbox) -> None:
        for container in pod.spec.containers:
            if container.get("image") == TOOL_IMAGE and container.get("command"):
                argv = [*container["command"], *(container.get("args") or ())]
                name = container.get("name", "")
                self.children[name] = await self._site.start_container(self.key, name, argv, sandbox)

    async def _remove(self) -> None:
        pod = self._site.pods.get(self.key.name, self.key.namespace)
        if self.sandbox is not None:
            await trio.to_thread.run_sync(end_processes, [self.sandbox.netns])
            for child in self.children.values():
                await child.end()
            await self._site.detach(pod, self.sandbox, self.attached)
            await self._site.remove_sandbox(self.sandbox)
        self._site.tell("pod", node=self._site.node.name, pod="/".join(self.key), state="removed")
        if pod is not None and pod.metadata.uid == self.uid:
            await self._site.finish(pod)
