"""What an attachment strategy sees of one request, and what it answers.

Everything is there before it is asked: a strategy reads frozen values and no files. What it gives beside the choice,
one phrase and some figures for every NIC, is what ``multinic explain`` prints and what errors and Events say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from multinic_core.plan import PodReference

LABELS = "labels"
DEVICES = "devices"
"""Words of a strategy's ``needs``: what costs a look elsewhere and is filled in for those that ask for it."""

NOTHING: Mapping[str, Any] = MappingProxyType({})
Figure = int | float | str | None


@dataclass(frozen=True, slots=True)
class NicUse:
    """How much of one NIC is in use now; all 0 for one that nobody uses."""

    attachments: int = 0
    """Links of running pods on it, or on its virtual functions."""
    promised: int = 0
    """bit/s that running pods have been promised."""
    transmit_rate: float = 0
    """bit/s, measured."""
    receive_rate: float = 0
    """bit/s, measured."""

    @property
    def load(self) -> float:
        """bit/s of the busier direction."""
        return max(self.transmit_rate, self.receive_rate)


UNUSED = NicUse()


@dataclass(frozen=True, slots=True)
class PodDevice:
    """A device that the kubelet gave the pod."""

    id: str
    """As the device plugin calls it."""
    kind: Literal["gpu", "nic", "other"]
    pci_address: str = ""
    """Such as ``0000:8a:00.0``; "" when it cannot be told from the id."""
    pci_path: tuple[str, ...] = ()
    """PCI addresses from the root port down to, and without, the device itself."""
    numa_node: int | None = None


@dataclass(frozen=True, slots=True)
class ClassId:
    """One vendor of a DeviceClass."""

    vendor: str
    """PCI vendor id, four lower-case hex digits."""
    products: frozenset[str] = frozenset()
    """PCI device ids; empty: all of the vendor."""


@dataclass(frozen=True, slots=True)
class SelectionRequest:
    """What an attachment strategy is asked: which of the candidates does this pod get?"""

    network: str
    """Name of the MultiNicNetwork."""
    pod: PodReference
    nics: int | None = None
    """How many NICs the pod asks for; None: as the strategy sees fit, by its documentation."""
    masters: tuple[str, ...] = ()
    """NICs asked for by ifname, in the pod's order; empty: any."""
    device_class: str = ""
    """Name of the DeviceClass asked for, or ""."""
    target: str = ""
    """Bandwidth asked for, such as ``10Gbps``; the pod's word, else the network's, else ""."""
    class_ids: tuple[ClassId, ...] | None = None
    """Content of ``device_class``; None: there is no such object."""
    args: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    """``spec.attachPolicy.args`` of the network."""
    use: Mapping[str, NicUse] = field(default_factory=lambda: NOTHING)
    """ifname to its use; a NIC that is absent is not used."""
    indexes: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    """ifname to the interface index of its network, which is the same on every node; absent where unknown."""
    index_count: int = 0
    """The highest interface index that the network has on any node, and one; 0 where unknown."""
    devices: tuple[PodDevice, ...] = ()
    """Of the pod, by PCI address; for strategies that need ``devices``, as ``cpu_numa_nodes``."""
    cpu_numa_nodes: tuple[int, ...] = ()
    """NUMA nodes of the CPUs that are the pod's alone, ascending."""
    labels: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    """Of the pod; for strategies that need ``labels``, as ``annotations``."""
    annotations: Mapping[str, str] = field(default_factory=lambda: NOTHING)

    def use_of(self, ifname: str) -> NicUse:
        """The use of one NIC."""
        return self.use.get(ifname, UNUSED)


@dataclass(frozen=True, slots=True)
class Selection:
    """A strategy's answer."""

    chosen: tuple[str, ...]
    """ifnames in the order in which the pod's links are numbered; a subset of the candidates without repeats."""
    reasons: Mapping[str, str]
    """ifname of every candidate to one phrase that says why it was taken or left."""
    promised: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    """ifname of chosen NICs to bit/s that the pod may count on there."""
    figures: Mapping[str, Mapping[str, Figure]] = field(default_factory=lambda: NOTHING)
    """ifname to the figures that counted, by name with its unit, such as ``free_bit_per_s``."""
    warning: str = ""
    """What could not be met though the pod is attached, or ""."""
