"""What strategies need to know of a pod, from who knows it: labels from the API."""

from __future__ import annotations

from multinic_core.plan import PodReference
from multinic_core.selection import LABELS
from multinic_daemon.engine.inputs import PodFacts
from multinic_daemon.pods import NodePods


class NodeFactSource:
    """Implements :class:`multinic_daemon.engine.inputs.FactSource` for the pods of one node."""

    def __init__(self, pods: NodePods) -> None:
        self._pods = pods

    async def facts(self, pod: PodReference, needs: frozenset[str]) -> PodFacts:
        if LABELS not in needs:
            return PodFacts()
        metadata = (await self._pods.find(pod)).metadata
        return PodFacts(labels=metadata.labels or {}, annotations=metadata.annotations or {})
