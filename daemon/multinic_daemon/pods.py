"""The pods of this node, for strategies that look at labels: watched once somebody needs them, asked for when unseen.

A node whose networks look at no labels watches no pods.
"""

from __future__ import annotations

import trio

from multinic_core.errors import ApiError, DaemonUnavailableError
from multinic_core.model import PODS, Pod
from multinic_core.plan import PodReference
from multinic_core.ports import Kubernetes, Store

FETCH_SECONDS = 5.0
"""For one pod that the watch has not brought yet."""


class NodePods:
    """Pods by name, as the API shows them."""

    def __init__(self, kubernetes: Kubernetes, node: str) -> None:
        self._kubernetes = kubernetes
        self._node = node
        self._store: Store[Pod] | None = None

    async def find(self, pod: PodReference) -> Pod:
        """The pod itself, never one of the same name that came before or after it.

        Raises:
            DaemonUnavailableError: it is not known and the API does not tell.
        """
        if self._store is None:
            self._store = self._kubernetes.store(PODS, field_selector=f"spec.nodeName={self._node}")
        found = self._store.get(pod.name, pod.namespace)
        if found is not None and self._is(found, pod):
            return found
        subject = f"pod {pod.namespace}/{pod.name}: its labels are not known"
        try:
            with trio.fail_after(FETCH_SECONDS):
                found = await self._kubernetes.get(PODS, pod.name, pod.namespace)
        except trio.TooSlowError as error:
            late = f"{subject}, and the API did not answer within {FETCH_SECONDS:g} seconds"
            raise DaemonUnavailableError(late) from error
        except ApiError as error:
            raise DaemonUnavailableError(f"{subject}, and the API said: {error}") from error
        if not self._is(found, pod):
            raise DaemonUnavailableError(f"{subject}: the API shows another pod of this name, UID {found.metadata.uid}")
        return found

    @staticmethod
    def _is(found: Pod, pod: PodReference) -> bool:
        return not pod.uid or found.metadata.uid == pod.uid
