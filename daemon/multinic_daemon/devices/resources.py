"""Which devices of a network's resources a pod was given, and which are other pods'."""

from __future__ import annotations

from collections.abc import Sequence

from multinic_core.plan import PodReference
from multinic_daemon.devices.kubelet import KubeletDevices


class ResourceDevices:
    """Implements :data:`multinic_daemon.engine.context.DeviceSource` for the kubelet of this node."""

    def __init__(self, kubelet: KubeletDevices) -> None:
        self._kubelet = kubelet

    async def __call__(self, pod: PodReference, resources: Sequence[str]) -> tuple[tuple[str, ...], frozenset[str]]:
        """Ids of the pod's devices, in the order of the resources, and those of all other pods of the node.

        A node whose kubelet tells of no devices at all, having neither service nor file, runs no device plugin.

        Raises:
            DaemonUnavailableError: the kubelet does not answer.
        """
        if not self._kubelet.exists:
            return (), frozenset()
        return await self._kubelet.of_resources(pod, resources)
