"""Handing the rows that exist to the NICs that are there now. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeVar

from multinic_core.model import CIDRHost, IndexClaim
from multinic_core.plan import IPNetwork
from multinic_operator.numbering.layout import Entry, HostNic

Held = TypeVar("Held", CIDRHost, IndexClaim)
"""What remembers the index of a NIC: a row of a list, or a claim."""
Needs: TypeAlias = dict[str, dict[IPNetwork, list[HostNic]]]
"""Node, NIC network, and there the NICs that need a row, sorted by name."""


def match_rows(entries: Mapping[IPNetwork, Entry], nics: Sequence[HostNic]) -> Needs:
    """Put NICs into the rows of their node and network; gives the NICs for which there was no row.

    A row that no NIC takes stays, as the memory of its index, unless its NIC now is on another network of the CIDR.

    Args:
        nics: sorted by node and name.
    """
    there: dict[IPNetwork, dict[str, list[HostNic]]] = {network: defaultdict(list) for network in entries}
    placed: dict[tuple[str, str], IPNetwork] = {}
    for nic in nics:
        if nic.network in there:
            there[nic.network][nic.host].append(nic)
            placed[nic.host, nic.ifname] = nic.network
    needs: Needs = {}
    for network, entry in entries.items():
        old: dict[str, list[CIDRHost]] = defaultdict(list)
        for row in entry.rows:
            old[row.host_name].append(row)
        entry.rows = []
        for host in sorted({*old, *there[network]}):
            rows, waiting = old.get(host, []), there[network].get(host, [])
            entry.rows += [
                row.model_copy(update={"interface_name": nic.ifname, "host_ip": nic.address})
                for row, nic in pair(rows, waiting)
            ]
            entry.rows += [row for row in rows if placed.get((host, row.interface_name), network) == network]
            if waiting:
                needs.setdefault(host, {})[network] = waiting
    return needs


def pair(held: list[Held], nics: list[HostNic]) -> list[tuple[Held, HostNic]]:
    """Pair what is held with NICs of the same name, else address, else in order; paired ones leave both lists."""
    paired = []
    for same in (
        lambda one, nic: one.interface_name == nic.ifname,
        lambda one, nic: bool(nic.address) and one.host_ip == nic.address,
        lambda one, nic: True,
    ):
        for nic in list(nics):
            one = next((one for one in held if same(one, nic)), None)
            if one is not None:
                held.remove(one)
                nics.remove(nic)
                paired.append((one, nic))
    return paired
