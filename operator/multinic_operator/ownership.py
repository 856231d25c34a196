"""Finalizers and owner references: who waits for whom, and who goes with whom."""

from __future__ import annotations

from typing import TypeVar

from multinic_core.model import KubeObject, MultiNicNetwork, OwnerReference, Resource
from multinic_core.ports import Kubernetes

M = TypeVar("M", bound=KubeObject)

NETWORK_FINALIZER = "finalizers.multinicnetwork.multinic.fms.io"
"""Ours, under the name that the original gave it, so that networks of both go cleanly."""
LEGACY_FINALIZERS = frozenset(
    {
        "finalizers.cidr.multinic.fms.io",
        "finalizers.ippool.multinic.fms.io",
        "finalizers.hostinterface.multinic.fms.io",
    }
)
"""Put by the original on objects that need none here; removed when such an object is to go."""


def owner_reference(network: MultiNicNetwork) -> OwnerReference:
    """The reference that lets a namespaced or cluster-scoped object go with its network."""
    return OwnerReference(
        api_version=network.api_version,
        kind=network.kind,
        name=network.name,
        uid=network.metadata.uid or "",
        controller=True,
        block_owner_deletion=True,
    )


def with_owner(found: list[OwnerReference] | None, owner: OwnerReference) -> list[OwnerReference]:
    """The references found, with ``owner`` in place of any other controller and of a former self of the owner."""
    others = [
        reference
        for reference in found or []
        if not reference.controller and (reference.kind, reference.name) != (owner.kind, owner.name)
    ]
    return [*others, owner]


def owner_change(found: KubeObject, wanted: KubeObject) -> dict[str, object]:
    """What a merge patch must say for the metadata of ``found`` to have the one owner of ``wanted``; {} when it has."""
    (owner,) = wanted.metadata.owner_references or []
    references = with_owner(found.metadata.owner_references, owner)
    if references == found.metadata.owner_references:
        return {}
    return {"ownerReferences": [reference.to_json() for reference in references]}


async def write_finalizers(kube: Kubernetes, resource: Resource[M], item: M, finalizers: list[str]) -> M:
    """Replace an object's finalizers, unless it has changed since it was read.

    Raises:
        ApiError: status 409 when it has; the caller reads again and retries.
    """
    metadata = {"finalizers": finalizers, "resourceVersion": item.metadata.resource_version}
    return await kube.patch(resource, item.name, {"metadata": metadata}, namespace=item.namespace)


async def release(kube: Kubernetes, resource: Resource[M], item: M) -> bool:
    """Take the original's finalizers off an object that is to go. Gives whether there were any."""
    found = item.metadata.finalizers or []
    kept = [name for name in found if name not in LEGACY_FINALIZERS]
    if item.metadata.deletion_timestamp is None or kept == found:
        return False
    await write_finalizers(kube, resource, item, kept)
    return True
