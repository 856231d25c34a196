"""What strategies need to know of a pod, from who knows it: labels from the API, devices from the kubelet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

import trio

from multinic_core.model import Pod
from multinic_core.plan import PodReference
from multinic_core.selection import DEVICES, LABELS, PodDevice
from multinic_daemon.devices import PodDevices
from multinic_daemon.devices.gpus import PROC
from multinic_daemon.devices.places import cpu_numa_nodes, pod_devices
from multinic_daemon.discovery.pci import SYSFS
from multinic_daemon.discovery.virtualtopology import VIRTUAL_TOPOLOGY, VirtualTopology
from multinic_daemon.engine.inputs import PodFacts


class PodSource(Protocol):
    """Finds pods of the node; see :class:`multinic_daemon.pods.NodePods`."""

    async def find(self, pod: PodReference) -> Pod: ...


class DeviceSource(Protocol):
    """Tells what pods were given; see :class:`multinic_daemon.devices.KubeletDevices`."""

    async def of_pod(self, pod: PodReference) -> PodDevices: ...


class NodeFactSource:
    """Implements :class:`multinic_daemon.engine.inputs.FactSource` for the pods of one node.

    Args:
        sysfs, proc: where they are mounted.
        topology: the file of a virtual machine, which may be absent.
    """

    def __init__(
        self,
        pods: PodSource,
        devices: DeviceSource,
        *,
        sysfs: Path = SYSFS,
        proc: Path = PROC,
        topology: Path = VIRTUAL_TOPOLOGY,
    ) -> None:
        self._pods = pods
        self._devices = devices
        self._sysfs = sysfs
        self._proc = proc
        self._topology = VirtualTopology(topology)

    async def facts(self, pod: PodReference, needs: frozenset[str]) -> PodFacts:
        found = PodFacts()
        if LABELS in needs:
            metadata = (await self._pods.find(pod)).metadata
            found = replace(found, labels=metadata.labels or {}, annotations=metadata.annotations or {})
        if DEVICES in needs:
            given = await self._devices.of_pod(pod)
            devices, nodes = await trio.to_thread.run_sync(self._places, given)
            found = replace(found, devices=devices, cpu_numa_nodes=nodes)
        return found

    def _places(self, given: PodDevices) -> tuple[tuple[PodDevice, ...], tuple[int, ...]]:
        devices = pod_devices(given, sysfs=self._sysfs, proc=self._proc, places=self._topology.places())
        return devices, cpu_numa_nodes(given.cpus, sysfs=self._sysfs)
