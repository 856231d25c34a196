"""The journal's rows as frozen values: one attachment, what identifies it, and what is known before it exists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from multinic_core.plan import AddRule, Allocation, Plan, PodReference
from multinic_daemon.journal.codec import OUTSIDE_STEPS, decode_plan
from multinic_daemon.journal.decisions import Decision
from multinic_daemon.podlinks.kernel import Parent, parent_of

State = Literal["pending", "ready", "deleting", "adopted", "unknown"]
"""``adopted``: held for a pod that this journal did not attach; ``unknown``: held by links of nobody knows whom. Both
go by DEL, GC or proof."""

_OUTSIDE = tuple(f'"{name}",' for name in OUTSIDE_STEPS)

NAMELESS = "?"
"""Begins the container id of a row whose real one is not known; no container id of a runtime begins so."""

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

    @property
    def log_fields(self) -> dict[str, str]:
        """What a log line says of it."""
        return {"network": self.network, "container_id": self.container_id, "ifname": self.ifname}


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
    def taken_over(self) -> bool:
        """Not attached by this journal: what is known of it comes from the mirror, another generation or the kernel."""
        return self.state in ("adopted", "unknown")

    @property
    def nameless(self) -> bool:
        """The runtime's container id is not known, so neither a DEL nor a GC can name it."""
        return self.key.container_id.startswith(NAMELESS)

    @property
    def has_links(self) -> bool:
        return self.plan_json != "[]"

    @property
    def has_devices(self) -> bool:
        """Whether it takes devices of the node, or sets up VFs."""
        return '"step":"device"' in self.plan_json or '"step":"vf"' in self.plan_json

    @property
    def plan(self) -> Plan:
        return decode_plan(self.plan_json)

    @property
    def outside(self) -> bool:
        """Whether others do a part of it: executables, or actions of plugins; perhaps, where a link is so named."""
        text = self.plan_json
        return _OUTSIDE[0] in text or _OUTSIDE[1] in text or _OUTSIDE[2] in text  # a tenth of what any() takes

    @property
    def vlans(self) -> tuple[Parent, ...]:
        """The VLAN links of the node that its links lie on, sorted."""
        if '"vlan":' not in self.plan_json:
            return ()
        return tuple(sorted({parent_of(link) for link in self.plan.links if link.vlan}))

    @property
    def rules(self) -> tuple[AddRule, ...]:
        """Those of the plan."""
        # few plans have rules, and reading one takes longer than looking for the word
        return self.plan.rules if '"rule"' in self.plan_json else ()


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
    decision: Decision | None = None
    """Why these NICs; None where nobody chose."""


@dataclass(frozen=True, slots=True)
class TakenOver:
    """An attachment that exists already and that a journal starts to answer for."""

    new: NewAttachment
    state: State
    group: int | None = None
    """``IFLA_GROUP`` that its links carry; None: they are not ours."""
    result_json: str = ""
    created: float = 0.0
    """Seconds since the epoch; 0 when unknown."""


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
