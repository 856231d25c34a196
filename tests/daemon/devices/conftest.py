"""A kubelet that answers on a unix socket, by grpcio itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from multinic_daemon.devices import messages


class Kubelet:
    """The podresources service with pods that the test writes down as dicts of the messages' fields."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.pods: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.get: Callable[[Any, Any], Any] = self.get_pod
        self._server = grpc.server(ThreadPoolExecutor(4))
        handlers = {
            "List": grpc.unary_unary_rpc_method_handler(
                self._list,
                request_deserializer=messages.ListRequest.FromString,
                response_serializer=messages.ListResponse.SerializeToString,
            ),
            "Get": grpc.unary_unary_rpc_method_handler(
                self._get,
                request_deserializer=messages.GetRequest.FromString,
                response_serializer=messages.GetResponse.SerializeToString,
            ),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(messages.SERVICE, handlers),))
        self._server.add_insecure_port(f"unix:{socket}")
        self._server.start()

    def _list(self, request: Any, context: Any) -> Any:
        self.calls.append("List")
        return messages.ListResponse(pod_resources=self.pods)

    def _get(self, request: Any, context: Any) -> Any:
        self.calls.append("Get")
        return self.get(request, context)

    def get_pod(self, request: Any, context: Any) -> Any:
        for pod in self.pods:
            if (pod["namespace"], pod["name"]) == (request.pod_namespace, request.pod_name):
                return messages.GetResponse(pod_resources=pod)
        return context.abort(grpc.StatusCode.NOT_FOUND, "pod not found")

    def close(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture
def kubelet(tmp_path: Path) -> Iterator[Kubelet]:
    """A kubelet without pods, at ``tmp_path/kubelet.sock``."""
    made = Kubelet(tmp_path / "kubelet.sock")
    yield made
    made.close()
