"""One place to ask what pods were given: the service first, the file when the service does not answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from multinic_core.errors import DaemonUnavailableError
from multinic_core.plan import PodReference
from multinic_daemon.devices.checkpoint import CheckpointError, read_checkpoint
from multinic_daemon.devices.given import PodDevices, ServiceError
from multinic_daemon.discovery.pci import normal_address

log = logging.getLogger(__name__)
T = TypeVar("T")

SOCKET = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
CHECKPOINT = Path("/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint")
ANSWER_SECONDS = 5.0
"""For one answer of the service: the kubelet answers from memory, in milliseconds."""
ASKING = 4
"""Questions at a time; others wait for their turn."""


class KubeletDevices:
    """What the kubelet of this node gave to pods. Nothing is kept: each question is asked afresh.

    Args:
        socket: of the podresources service.
        checkpoint: file of the device manager.
        timeout_seconds: for one answer of the service.
    """

    def __init__(
        self, *, socket: Path = SOCKET, checkpoint: Path = CHECKPOINT, timeout_seconds: float = ANSWER_SECONDS
    ) -> None:
        self._socket = socket
        self._checkpoint = checkpoint
        self._timeout_seconds = timeout_seconds
        self._turns = trio.CapacityLimiter(ASKING)

    async def of_pod(self, pod: PodReference) -> PodDevices:
        """What one pod was given; nothing when the kubelet does not know it, and where no kubelet runs.

        Args:
            pod: with namespace and name for the service, and with its UID for the file.

        Raises:
            DaemonUnavailableError: neither source answers, each named with what is wrong with it.
        """

        def ask() -> PodDevices:
            from multinic_daemon.devices import podresources

            return podresources.pod_devices(self._socket, pod, timeout_seconds=self._timeout_seconds)

        return await self._answer(ask, partial(_of_uid, pod), PodDevices(pod))

    async def of_resources(self, pod: PodReference, resources: Sequence[str]) -> tuple[tuple[str, ...], frozenset[str]]:
        """Ids of the pod's devices of these resources, in their order, and ids of all devices of other pods.

        Ids that are PCI addresses are written as sysfs writes them. A device that is the pod's is nobody else's, though
        a pod that has ended may still be listed with it. Raises as :meth:`of_pod`.
        """
        nothing: tuple[PodDevices, ...] = ()
        told = await self._answer(self._ask_all, partial(_of_uid_and_others, pod), nothing)
        own = [each for each in told if _is(each.pod, pod)]
        ids = (_normal(id_) for name in resources for each in own for id_ in each.ids(name))
        held = {_normal(device.id) for each in own for device in each.devices}
        others = {_normal(device.id) for each in told if not _is(each.pod, pod) for device in each.devices}
        return tuple(dict.fromkeys(ids)), frozenset(others - held)

    def _ask_all(self) -> tuple[PodDevices, ...]:
        from multinic_daemon.devices import podresources

        return podresources.all_devices(self._socket, timeout_seconds=self._timeout_seconds)

    async def _answer(self, ask: Callable[[], T], take: Callable[[dict[str, PodDevices]], T], nothing: T) -> T:
        """What ``ask`` brings from the service, or ``take`` makes of the file; ``nothing`` where there is neither."""
        # the question ends by itself within its time, whether or not somebody still waits for it
        return await trio.to_thread.run_sync(self._ask, ask, take, nothing, limiter=self._turns, abandon_on_cancel=True)

    def _ask(self, ask: Callable[[], T], take: Callable[[dict[str, PodDevices]], T], nothing: T) -> T:
        failure = f"no socket {str(self._socket)!r}"
        if self._socket.exists():  # else grpcio is not even imported
            try:
                return ask()
            except ServiceError as error:
                failure = str(error)
        elif not self._checkpoint.exists():
            # a kubelet has at least one of them, so there is no device plugin either
            log.warning("no kubelet tells of devices", extra={"looked_for": [str(self._socket), str(self._checkpoint)]})
            return nothing
        try:
            found = take(read_checkpoint(self._checkpoint))
        except CheckpointError as error:
            raise DaemonUnavailableError(
                f"devices of pods: the kubelet does not tell: {failure}; checkpoint {error}; expected either to answer"
            ) from error
        log.debug("devices read from the checkpoint", extra={"cause": failure})
        return found


def _of_uid(pod: PodReference, found: dict[str, PodDevices]) -> PodDevices:
    _require_uid(pod)
    return found.get(pod.uid, PodDevices(pod))


def _of_uid_and_others(pod: PodReference, found: dict[str, PodDevices]) -> tuple[PodDevices, ...]:
    _require_uid(pod)
    return tuple(found.values())


def _require_uid(pod: PodReference) -> None:
    if not pod.uid:
        raise CheckpointError(f"names pods by UID, and the runtime gave none for {pod.namespace}/{pod.name}")


def _is(found: PodReference, pod: PodReference) -> bool:
    """Whether a pod of a source is this one: the file knows the UID alone, the service does not know it."""
    return found.uid == pod.uid if found.uid else (found.namespace, found.name) == (pod.namespace, pod.name)


def _normal(id_: str) -> str:
    return normal_address(id_) or id_
