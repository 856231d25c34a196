"""The journal's rows as frozen values: one attachment, what identifies it, and what is known before it exists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from multinic_core.plan import Allocation, Plan, PodReference
from multinic_daemon.codec import decode_plan

State = Literal["pending", "ready", "deleting"]

COLUMNS = (
    "id, plugin, network, container_id, ifname, netns, pod_namespace, pod_name, pod_uid, state, link_group, digest,"
    " plan, result, created, updated, boot_id"
)
"""Of table ``attachment``, in the order of ``to_row`` and ``from_row``."""


@dataclass(frozen=True, slots=True)
class AttachmentKey:
    """What a runtime calls one attachment, and who serves it."""

    plugin: str
    """``multi-nic``, or ``multi-nic-ipam`` for a row that holds addresses only."""
    network: str
    container_id: str
    ifname: str


@dataclass(frozen=True, slots=True)
class Record:
    """One attachment as the journal has it."""

    id: int
    key: AttachmentKey
    netns: str
    pod: PodReference
    state: State
    group: int
    """``IFLA_GROUP`` of its links."""
    digest: str
    """Of the configuration it was asked with."""
    plan_json: str
    result_json: str
    """The CNI result in the newest version; "" while not ready."""
    created: float
    """Seconds since the epoch."""
    updated: float
    boot_id: str

    @property
    def has_links(self) -> bool:
        return self.plan_json != "[]"

    @property
    def plan(self) -> Plan:
        return decode_plan(self.plan_json)


@dataclass(frozen=True, slots=True)
class NewAttachment:
    """What ``Journal.begin`` writes down before the kernel is touched."""

    key: AttachmentKey
    netns: str
    pod: PodReference
    digest: str
    plan: Plan
    allocations: tuple[Allocation, ...]
    cursors: Mapping[str, int]
    """Pool name to the index given last; pools whose address the pod named itself are absent."""


def to_row(record: Record) -> tuple[Any, ...]:
    key, pod = record.key, record.pod
    return (
        record.id,
        key.plugin,
        key.network,
        key.container_id,
        key.ifname,
        record.netns,
        pod.namespace,
        pod.name,
        pod.uid,
        record.state,
        record.group,
        record.digest,
        record.plan_json,
        record.result_json,
        record.created,
        record.updated,
        record.boot_id,
    )


def from_row(row: Sequence[Any]) -> Record:
    return Record(row[0], AttachmentKey(*row[1:5]), row[5], PodReference(*row[6:9]), *row[9:])
