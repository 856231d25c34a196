"""The mirror: what of the journal stands in ``IPPool.spec.allocations``, and how it is read back.

The entries have the original's four fields. What else is needed to know an attachment again stands in two annotations
that are written together with them: the boot in which the entries were true, and for each address its holder. An entry
without a holder was written by another generation of multinic. Everything here is pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from multinic_core.model import GROUP, IPPool, PoolAllocation
from multinic_core.plan import Allocation
from multinic_daemon.journal.records import AttachmentKey, Record

BOOT_ANNOTATION = f"{GROUP}/boot-id"
"""Boot id of the node that the entries speak of."""
HOLDERS_ANNOTATION = f"{GROUP}/holders"
"""JSON object of address to ``[plugin, containerID, ifname, podUID, link group, created, state]``."""

HOLDERS = 1000
"""Addresses of a pool whose holders are written, so that the annotation keeps within the 256 KiB that an object's
annotations may have. Entries of further ones count as another generation's: held until proven dead."""
INDEX_LIMIT = 2**63 - 1
"""Of the integers that an API server takes; readers go by the address."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds an address, as this generation writes it."""

    key: AttachmentKey
    uid: str
    """Of the pod."""
    group: int
    created: float
    """Seconds since the epoch."""
    state: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a pool as it is read back."""

    held: PoolAllocation
    holder: Holder | None
    """Written by this generation, in the boot that the mirror names; None: another generation's entry."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """What a pool object says."""

    boot_id: str
    """"" when only another generation has written it."""
    entries: tuple[Entry, ...]


def read_mirror(pool: IPPool) -> Mirror:
    """The pool's entries with their holders. An annotation that cannot be read is none: its entries are then held as
    another generation's, which only proof of death frees."""
    annotations = pool.metadata.annotations or {}
    try:
        holders = json.loads(annotations.get(HOLDERS_ANNOTATION) or "{}")
    except ValueError:
        holders = {}
    if not isinstance(holders, dict):
        holders = {}
    network = pool.spec.net_attach_def
    entries = tuple(Entry(held, _holder(network, holders.get(held.address))) for held in pool.spec.allocations)
    return Mirror(annotations.get(BOOT_ANNOTATION, ""), entries)


def _holder(network: str, written: object) -> Holder | None:
    match written:
        case [
            str(plugin),
            str(container_id),
            str(ifname),
            str(uid),
            int(group),
            int() | float() as created,
            str(state),
            *_,
        ]:
            return Holder(AttachmentKey(plugin, network, container_id, ifname), uid, group, created, state)
    return None


def entries_json(rows: Iterable[tuple[Allocation, Record]]) -> list[dict[str, Any]]:
    """``spec.allocations`` of a pool, ascending as the rows are."""
    return [
        {
            "pod": record.pod.name,
            "namespace": record.pod.namespace,
            "index": min(allocation.index, INDEX_LIMIT),
            "address": str(allocation.address.ip),
        }
        for allocation, record in rows
    ]


def annotations_json(rows: Iterable[tuple[Allocation, Record]], boot_id: str) -> dict[str, str]:
    """The two annotations that go with the entries."""
    holders: dict[str, Any] = {}
    for allocation, record in islice(rows, HOLDERS):
        key = record.key
        whole = [key.plugin, key.container_id, key.ifname, record.pod.uid, record.group, record.created, record.state]
        holders[str(allocation.address.ip)] = whole
    return {BOOT_ANNOTATION: boot_id, HOLDERS_ANNOTATION: json.dumps(holders, separators=(",", ":"))}


def mirror_object(derived: IPPool, rows: Iterable[tuple[Allocation, Record]], boot_id: str) -> Mapping[str, Any] | None:
    """The object for a pool that has none and follows by arithmetic; None while there is nothing to say."""
    rows = list(rows)
    if not rows:
        return None
    body = derived.to_json()
    body["metadata"]["annotations"] = annotations_json(rows, boot_id)
    body["spec"]["allocations"] = entries_json(rows)
    return body


def with_derived(patch: Mapping[str, Any], derived: IPPool) -> Mapping[str, Any]:
    """A patch that also makes the object what arithmetic says now: nobody else writes it.

    Its owner stays: who may not delete an object may not change whose it is.
    """
    metadata = {"labels": derived.metadata.labels, **patch["metadata"]}
    return {"metadata": metadata, "spec": {**derived.to_json()["spec"], **patch["spec"]}}


def mirror_patch(pool: IPPool, rows: Iterable[tuple[Allocation, Record]], boot_id: str) -> Mapping[str, Any] | None:
    """The merge patch that makes a pool say what the journal says, None when it does.

    It holds for the version of the pool that was read and for no other. A pool that nobody has ever held an address of
    is left without annotations.
    """
    rows = list(rows)
    entries, annotations = entries_json(rows), annotations_json(rows, boot_id)
    there = pool.metadata.annotations or {}
    if [each.to_json() for each in pool.spec.allocations] == entries:
        if not entries and BOOT_ANNOTATION not in there:
            return None
        if all(_same(name, there.get(name), text) for name, text in annotations.items()):
            return None
    metadata = {"resourceVersion": pool.metadata.resource_version, "annotations": annotations}
    return {"metadata": metadata, "spec": {"allocations": entries}}


def _same(name: str, there: str | None, wanted: str) -> bool:
    """A state alone is not worth a write: ``pending`` becomes ``ready`` a few milliseconds later."""
    if there == wanted or name != HOLDERS_ANNOTATION or there is None:
        return there == wanted
    try:
        return bool(_without_state(json.loads(there)) == _without_state(json.loads(wanted)))
    except ValueError:
        return False


def _without_state(holders: object) -> object:
    return {address: each[:6] for address, each in holders.items()} if isinstance(holders, dict) else holders
