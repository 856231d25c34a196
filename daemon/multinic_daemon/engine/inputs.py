"""What a strategy may know of a request beside the NICs: gathered before it is asked, so that it asks nobody itself.

Most of it lies in memory: the use of each NIC in the journal, its rates with discovery, indexes and classes with the
watches. The pod's labels and its devices are somebody else's to tell; they are asked for only where the network's
strategy needs them, before an ADD decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from multinic_core.model import CIDR, DeviceClass
from multinic_core.plan import Nic, PodReference
from multinic_core.selection import NOTHING, ClassId, NicUse, PodDevice
from multinic_daemon.journal.uses import Uses

Rates = Mapping[str, tuple[float, float]]
"""ifname to transmitted and received bit/s."""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What others tell of the pod; empty where nobody needs it."""

    devices: tuple[PodDevice, ...] = ()
    cpu_numa_nodes: tuple[int, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    annotations: Mapping[str, str] = field(default_factory=lambda: NOTHING)


NO_FACTS = PodFacts()


@dataclass(frozen=True, slots=True)
class Known:
    """Everything beside the NICs themselves."""

    class_ids: tuple[ClassId, ...] | None = None
    use: Mapping[str, NicUse] = field(default_factory=lambda: NOTHING)
    indexes: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    index_count: int = 0
    facts: PodFacts = NO_FACTS


NOTHING_KNOWN = Known()


class FactSource(Protocol):
    """Tells of pods, asking others where it must."""

    async def facts(self, pod: PodReference, needs: frozenset[str]) -> PodFacts:
        """What of ``labels`` and ``devices`` is needed.

        Raises:
            DaemonUnavailableError: who should know does not tell.
        """
        ...


def nic_uses(nics: Sequence[Nic], uses: Uses, rates: Rates) -> dict[str, NicUse]:
    """ifname to use, of NICs that are used at all."""
    found = {}
    for nic in nics:
        transmitted, received = rates.get(nic.ifname, (0.0, 0.0))
        links, promised = uses.links[nic.ifname], uses.promised[nic.ifname]
        if links or promised or transmitted or received:
            found[nic.ifname] = NicUse(links, promised, transmitted, received)
    return found


def nic_indexes(nics: Sequence[Nic], cidr: CIDR | None) -> tuple[dict[str, int], int]:
    """ifname to the interface index of the block of its network; and the highest index of all blocks, and one.

    The latter is the same on every node, whatever NICs it lacks; 0 without blocks.
    """
    if cidr is None or not cidr.spec.cidr:
        return {}, 0
    blocks = {entry.net_address: entry.interface_index for entry in cidr.spec.cidr}
    indexes = {nic.ifname: blocks[network] for nic in nics if (network := nic.net_address) in blocks}
    return indexes, 1 + max(blocks.values())


def class_ids(found: DeviceClass | None) -> tuple[ClassId, ...] | None:
    """The vendors and products of a class, in lower case; None when there is no such class."""
    if found is None:
        return None
    return tuple(ClassId(each.vendor.lower(), frozenset(map(str.lower, each.products))) for each in found.spec.ids)
