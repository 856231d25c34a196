"""Who has blocks in a network, for its status: as the list of its CIDR says, or the fleet where there is no list."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from multinic_core.model import CIDR
from multinic_operator.numbering.fleet import Fleet
from multinic_operator.status.daemons import Daemon


@dataclass(frozen=True, slots=True)
class Census:
    """One moment of one network."""

    daemons: Mapping[str, Daemon]
    """Node to its daemon, of all nodes."""
    alive: int
    """Daemons that are alive."""
    with_nics: int
    """Nodes that have NICs, in this network or not."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """NIC network of the CIDR to the count of nodes with a block there."""
    hosts: Sequence[str] = ()
    """Nodes with a block, sorted."""


def take_census(fleet: Fleet, daemons: Mapping[str, Daemon], cidr: CIDR | None) -> Census:
    """The moment that these show."""
    on: dict[str, Collection[str]] = {}
    for entry in cidr.spec.cidr if cidr is not None else ():
        if cidr is not None and cidr.spec.compact:
            on[entry.net_address] = fleet.on.get(entry.net_address, {}).keys()
        else:
            on[entry.net_address] = {row.host_name for row in entry.hosts}
    return Census(
        daemons,
        sum(daemon.alive for daemon in daemons.values()),
        fleet.with_nics,
        {net: len(hosts) for net, hosts in on.items()},
        sorted(set().union(*on.values())),
    )
