"""Which PCI addresses must be selected, and on which nodes, for a network to have VFs on all of its NICs.

A policy selects NICs by PCI address on all nodes that it is for. Where every node has the network's NICs in the same
slots, or in slots that are empty elsewhere, one policy with all addresses does. An address that is another NIC on some
node must not be in it, as that NIC would be cut up too: each node that needs such an address has it selected by a
policy of its own. So every NIC of the network is selected and no other, in as few policies as selectors allow: they
compare labels for equality, so there is none for several nodes but for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NodeLayout:
    """The NICs of one node."""

    wanted: frozenset[str]
    """PCI addresses of the network's NICs."""
    present: frozenset[str]
    """PCI addresses of all NICs that can have VFs."""


@dataclass(frozen=True, slots=True)
class RootDevices:
    """What to select."""

    everywhere: tuple[str, ...] = ()
    """Sorted PCI addresses that may be selected on all nodes."""
    on_node: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Node to the sorted PCI addresses that may be selected there alone; nodes without are left out."""

    def __bool__(self) -> bool:
        return bool(self.everywhere or self.on_node)


def root_devices(layouts: Mapping[str, NodeLayout]) -> RootDevices:
    """What to select so that on each node its wanted NICs are selected, and no other.

    Args:
        layouts: node to its NICs.
    """
    wanted = frozenset[str]().union(*(layout.wanted for layout in layouts.values()))
    foreign = frozenset[str]().union(*(layout.present - layout.wanted for layout in layouts.values()))
    shared = wanted - foreign
    rest = {node: tuple(sorted(layout.wanted - shared)) for node, layout in sorted(layouts.items())}
    return RootDevices(tuple(sorted(shared)), {node: devices for node, devices in rest.items() if devices})
