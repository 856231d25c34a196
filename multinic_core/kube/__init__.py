"""The Kubernetes port of :mod:`multinic_core.ports` on the official client.

``connect`` gives the port. The client library is imported only then, so that what needs the pure parts alone (stores,
fakes, messages) starts fast.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from multinic_core.ports import Kubernetes

__all__ = ["connect"]


def connect(
    kubeconfig: str | None = None,
    *,
    agent: str = "multinic",
    writing: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Kubernetes:
    """The API named by a kubeconfig file, or by the pod's service account when None. Speaks to nobody yet.

    Args:
        agent: user agent, by which the server's logs tell callers apart.
        writing: entered by a worker thread right before each attempt of a request that writes and left after its
            answer; may raise to refuse it.

    Raises:
        ConfigError: the file, or the service account, is missing or cannot be used.
    """
    from multinic_core.kube.api import Api
    from multinic_core.kube.client import Client

    return Api(Client.from_config(kubeconfig, agent), writing)
