"""The Kubernetes port of :mod:`multinic_core.ports` on the official client.

``connect`` gives the port. The client library is imported only then, so that what needs the pure parts alone (stores,
fakes, messages) starts fast.
"""

from __future__ import annotations

from multinic_core.ports import Kubernetes

__all__ = ["connect"]


def connect(kubeconfig: str | None = None) -> Kubernetes:
    """The API named by a kubeconfig file, or by the pod's service account when None. Speaks to nobody yet.

    Raises:
        ConfigError: the file, or the service account, is missing or cannot be used.
    """
    from multinic_core.kube.api import Api
    from multinic_core.kube.client import Client

    return Api(Client.from_config(kubeconfig))
