"""What one look at a node saw, source by source, as frozen values.

A source that could not be read is :class:`NotCompared` with the reason. Nothing is concluded from its silence: it
makes no difference, and it proves nothing dead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from multinic_core.devices import VfSettings
from multinic_core.model import PoolAllocation
from multinic_core.plan import Allocation
from multinic_daemon.hostroutes.desired import NetworkRoutes, RoutingState
from multinic_daemon.journal.records import AttachmentKey, Record
from multinic_daemon.podlinks.compare import Observed


@dataclass(frozen=True, slots=True)
class NotCompared:
    """A source that was left out or could not be read."""

    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    """One attachment as the journal has it."""

    record: Record
    allocations: tuple[Allocation, ...] = ()

    @property
    def subject(self) -> str:
        """What people call it."""
        key, pod = self.record.key, self.record.pod
        owner = f"{pod.namespace}/{pod.name} ({key.container_id[:13]})" if pod.name else key.container_id
        via = "" if key.plugin == "multi-nic" else f" by {key.plugin}"
        return f"{key.ifname} of {owner} in {key.network}{via}"

    @property
    def finished(self) -> bool:
        """No ADD or DEL is in the middle of it."""
        return self.record.state not in ("pending", "deleting")


@dataclass(frozen=True, slots=True)
class NamespaceSeen:
    """One network namespace of the node."""

    inode: int
    where: str
    """A path that leads to it, for people."""
    observed: Observed
    """All its links and addresses, and its main routes."""
    node_netns_id: int
    """The number by which it knows the node's namespace; -1 when it does not."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What became of the network namespace that a row names by path."""

    inode: int | None
    """None: the path leads to no network namespace (any more)."""
    unsure: str = ""
    """Why its absence proves nothing, or ""."""

    @property
    def gone(self) -> bool:
        """For certain."""
        return self.inode is None and not self.unsure


@dataclass(frozen=True, slots=True)
class KernelSeen:
    """Network namespaces, and the routing of the node's own."""

    namespaces: Mapping[int, NamespaceSeen]
    """By inode; every one that a process is in or a file in the usual folder leads to."""
    sandboxes: Mapping[str, Sandbox]
    """By the path in the journal's rows."""
    routing: RoutingState
    """Beside our routes, all routes of the tables that our rules lead to."""
    vfs: Mapping[int, Mapping[int, VfSettings]] = field(default_factory=dict)
    """ifindex of each NIC of the node that has VFs to VF index to settings."""
    hidden: int = 0
    """Processes whose namespaces this one may not look into."""


@dataclass(frozen=True, slots=True)
class PodsSeen:
    """Pods of the API."""

    here: Mapping[str, str]
    """UID to ``namespace/name`` of the pods bound to this node."""
    gone: frozenset[str]
    """UIDs in the journal that the API, asked for that pod by name, knows no more."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A DEL that waits for the daemon's next start."""

    file: str
    key: AttachmentKey | None
    """None: it names no attachment."""


@dataclass(frozen=True, slots=True)
class World:
    """One look at everything."""

    time: float
    """Seconds since the epoch, when the look began."""
    boot_id: str
    daemon: bool
    """Whether one answers on the socket."""
    rows: tuple[Row, ...]
    kernel: KernelSeen
    pods: PodsSeen | NotCompared
    mirror: Mapping[str, tuple[PoolAllocation, ...]] | NotCompared
    """Name of each of this node's IPPools to its allocations."""
    wishes: tuple[NetworkRoutes, ...] | NotCompared
    """The host routes that the networks want of this node."""
    tombstones: tuple[Tombstone, ...] = ()
    cursors: Mapping[str, int] = field(default_factory=dict)
    """Pool to the index that the journal gave last."""
