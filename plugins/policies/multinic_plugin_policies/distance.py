"""How near a NIC is to a device of the pod, by their places in the PCI tree."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from multinic_core import Nic, PodDevice


class Nearness(IntEnum):
    """What two devices share, the nearest first."""

    SWITCH = 0
    """A bridge or switch below the root: traffic between them need not pass the root complex."""
    ROOT = 1
    """The root complex."""
    NUMA = 2
    """The NUMA node."""
    OTHER = 3
    """Nothing, as far as is known."""


WORDS = {
    Nearness.SWITCH: "below the same PCI switch as",
    Nearness.ROOT: "at the same root complex as",
    Nearness.NUMA: "on the same NUMA node as",
    Nearness.OTHER: "far from",
}


class Distance(NamedTuple):
    """From near to far when sorted."""

    nearness: Nearness
    hops: int
    """Bridges on the way between them where both places are known, else 0."""


class Place(NamedTuple):
    """Where a device sits."""

    pci_address: str
    pci_path: tuple[str, ...]
    numa_node: int | None


def place(device: Nic | PodDevice) -> Place:
    """The place of a NIC or of a device."""
    return Place(device.pci_address, device.pci_path, device.numa_node)


@lru_cache(maxsize=256)
def distances(ones: tuple[Place, ...], others: tuple[Place, ...]) -> tuple[tuple[Distance, ...], ...]:
    """From each of ``ones`` to each of ``others``; kept, as places stay while devices stay plugged in."""
    return tuple(tuple(distance(one, other) for other in others) for one in ones)


def distance(one: Place, other: Place) -> Distance:
    """How far apart two devices are."""
    shared = 0
    for bridge, counterpart in zip(one.pci_path, other.pci_path, strict=False):
        if bridge != counterpart:
            break
        shared += 1
    hops = len(one.pci_path) + len(other.pci_path) - 2 * shared
    if shared:
        return Distance(Nearness.SWITCH, hops)
    known = _root(one) and _root(other)
    # a hypervisor's file may give all its switches one bus, whatever socket they are at
    apart = None not in (one.numa_node, other.numa_node) and one.numa_node != other.numa_node
    if known and _root(one) == _root(other) and not apart:
        return Distance(Nearness.ROOT, hops)
    if one.numa_node is not None and one.numa_node == other.numa_node:
        return Distance(Nearness.NUMA, hops if known else 0)
    return Distance(Nearness.OTHER, hops if known else 0)


def _root(device: Place) -> str:
    """Domain and bus of the root complex, such as ``0000:40``; "" when not known."""
    first = device.pci_path[0] if device.pci_path else device.pci_address
    return first.rpartition(":")[0]
