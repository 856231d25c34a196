"""A client of the kubelet's podresources service, for a worker thread: each call connects, asks once and hangs up.

Importing this module imports grpcio. ``Get`` is on by default from Kubernetes 1.34 and off before; a kubelet that does
not offer it is asked for the list of all pods instead, which needs one answer of some kilobytes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from multinic_core.plan import PodReference
from multinic_daemon.devices.given import GivenDevice, PodDevices, ServiceError, merged

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # read at import; the library writes past the daemon's own log

import grpc

from multinic_daemon.devices import messages

ANSWER_BYTES = 16 << 20
"""Largest answer taken: the list of a full node is far from it."""
_NO_GET = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN)
"""UNKNOWN is what a kubelet says whose gate for ``Get`` is closed."""
_CHANNEL = (
    ("grpc.max_receive_message_length", ANSWER_BYTES),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a failure of the last call is not remembered
)


def pod_devices(socket: Path, pod: PodReference, *, timeout_seconds: float) -> PodDevices:
    """What one pod was given; nothing when the kubelet does not know it. Blocks.

    Raises:
        ServiceError: there is no answer within the time.
    """
    with _Service(socket, timeout_seconds) as service:
        try:
            request = messages.GetRequest(pod_name=pod.name, pod_namespace=pod.namespace)
            return _decoded(service.call("Get", request, messages.GetResponse).pod_resources)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return PodDevices(pod)
            if error.code() not in _NO_GET:
                raise service.failure("Get", error) from error
        listed = service.list()
    return next((each for each in listed if _same(each.pod, pod)), PodDevices(pod))


def all_devices(socket: Path, *, timeout_seconds: float) -> tuple[PodDevices, ...]:
    """What each pod of the node was given, in the kubelet's order. Blocks.

    Raises:
        ServiceError: there is no answer within the time.
    """
    with _Service(socket, timeout_seconds) as service:
        return service.list()


class _Service:
    """One connection."""

    def __init__(self, socket: Path, timeout_seconds: float) -> None:
        self._socket = socket
        self._timeout_seconds = timeout_seconds
        self._channel = grpc.insecure_channel(f"unix:{socket}", options=_CHANNEL)

    def __enter__(self) -> _Service:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def call(self, method: str, request: Any, response: Any) -> Any:
        ask = self._channel.unary_unary(
            f"/{messages.SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        return ask(request, timeout=self._timeout_seconds)

    def list(self) -> tuple[PodDevices, ...]:
        try:
            answer = self.call("List", messages.ListRequest(), messages.ListResponse)
        except grpc.RpcError as error:
            raise self.failure("List", error) from error
        return tuple(_decoded(pod) for pod in answer.pod_resources)

    def failure(self, method: str, error: grpc.RpcError) -> ServiceError:
        return ServiceError(f"podresources {method} on {str(self._socket)!r}: {error.code().name}: {error.details()}")


def _same(found: PodReference, wanted: PodReference) -> bool:
    return (found.namespace, found.name) == (wanted.namespace, wanted.name)


def _decoded(pod: Any) -> PodDevices:
    parts = [
        GivenDevice(given.resource_name, id_, container.name, tuple(node.ID for node in given.topology.nodes))
        for container in pod.containers
        for given in container.devices
        for id_ in given.device_ids
    ]
    cpus = frozenset(int(cpu) for container in pod.containers for cpu in container.cpu_ids)
    return merged(PodReference(pod.namespace, pod.name), parts, cpus)
