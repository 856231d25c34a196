"""What the API says of this node: its pods, its pools, and the networks' host routes.

Three lists that fail one by one. A pod that the journal names and the list does not have is asked for by name, so that
a wrong node name, or a list that is cut short, proves nobody dead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import trio

from multinic_core.errors import ApiError
from multinic_core.model import CIDRS, HOST_INTERFACES, HOSTNAME_LABEL, IPPOOLS, NODES, PODS, PoolAllocation
from multinic_core.plan import PodReference
from multinic_core.ports import Kubernetes
from multinic_daemon.audit.world import NotCompared, PodsSeen
from multinic_daemon.hostroutes.compact import compact_routes
from multinic_daemon.hostroutes.desired import NetworkRoutes, network_routes

API_SECONDS = 10.0
"""For all that is asked in one look."""


@dataclass(frozen=True, slots=True)
class ClusterSeen:
    """The three parts of :class:`multinic_daemon.audit.world.World` that the API gives."""

    pods: PodsSeen | NotCompared
    mirror: dict[str, tuple[PoolAllocation, ...]] | NotCompared
    wishes: tuple[NetworkRoutes, ...] | NotCompared


def not_compared(reason: str) -> ClusterSeen:
    """Nothing is known of the API."""
    nothing = NotCompared(reason)
    return ClusterSeen(nothing, nothing, nothing)


async def observe_cluster(kubernetes: Kubernetes, node: str, journal: Iterable[PodReference]) -> ClusterSeen:
    """Ask the API, for a bounded time; what fails is not compared.

    Args:
        journal: the pods that the journal names.
    """
    with trio.move_on_after(API_SECONDS):
        if reason := await _stranger(kubernetes, node):
            return not_compared(reason)
        return ClusterSeen(
            await _pods(kubernetes, node, journal), await _mirror(kubernetes, node), await _wishes(kubernetes, node)
        )
    return not_compared(f"the API did not answer within {API_SECONDS:g} s")


async def _stranger(kubernetes: Kubernetes, node: str) -> str:
    """Why nothing that the API says can be about this node, or ""."""
    try:
        await kubernetes.get(NODES, node)
    except ApiError as error:
        if error.status == 404:
            return f"the API knows no node {node!r}"
        if error.status == 0:
            return str(error)
    return ""


async def _pods(kubernetes: Kubernetes, node: str, journal: Iterable[PodReference]) -> PodsSeen | NotCompared:
    try:
        pods = await kubernetes.list(PODS, field_selector=f"spec.nodeName={node}")
        here = {pod.metadata.uid or "": f"{pod.namespace}/{pod.name}" for pod in pods}
        suspects = [pod for pod in dict.fromkeys(journal) if pod.uid and pod.name and pod.uid not in here]
        gone = frozenset([pod.uid for pod in suspects if await _gone(kubernetes, pod)])
    except ApiError as error:
        return NotCompared(str(error))
    return PodsSeen(here, gone)


async def _gone(kubernetes: Kubernetes, pod: PodReference) -> bool:
    """Whether the API knows no pod of this name, or another one under it."""
    try:
        found = await kubernetes.get(PODS, pod.name, pod.namespace)
    except ApiError as error:
        if error.status == 404:
            return True
        raise
    return found.metadata.uid != pod.uid


async def _mirror(kubernetes: Kubernetes, node: str) -> dict[str, tuple[PoolAllocation, ...]] | NotCompared:
    try:
        pools = await kubernetes.list(IPPOOLS, label_selector=f"{HOSTNAME_LABEL}={node}")
    except ApiError as error:
        return NotCompared(str(error))
    return {pool.name: tuple(pool.spec.allocations) for pool in pools if pool.spec.host_name == node}


async def _wishes(kubernetes: Kubernetes, node: str) -> tuple[NetworkRoutes, ...] | NotCompared:
    try:
        cidrs = await kubernetes.list(CIDRS)
        hosts = await kubernetes.list(HOST_INTERFACES) if any(cidr.spec.compact for cidr in cidrs) else []
    except ApiError as error:
        return NotCompared(str(error))
    try:
        wishes = [
            compact_routes(cidr, node, hosts) if cidr.spec.compact else network_routes(cidr, node) for cidr in cidrs
        ]
    except ValueError as error:
        return NotCompared(f"a CIDR cannot be read: {error}")
    return tuple(wish for wish in wishes if wish is not None)
