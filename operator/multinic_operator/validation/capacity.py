"""Whether a network's blocks hold today's NICs, and how near they are to being full. Pure.

It counts what is there against what the blocks allow, less the excluded ones; which block whom belongs to, it does not
ask, so it is as quick for a network that lists its nodes as for one that does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from multinic_core.addressing import covers, excluded_blocks, merged, overlaps
from multinic_core.model import CIDRSpec
from multinic_core.plan import IPNetwork
from multinic_core.pools import HeldIndexes
from multinic_operator.numbering.layout import BlockRequest

LOW = 0.2
"""Blocks count as low while less than this part of them is free."""
NAMES_IN_MESSAGE = 5


@dataclass(frozen=True, slots=True)
class Capacity:
    """The verdict on one network."""

    problems: tuple[str, ...] = ()
    """What does not fit today, each with its field path."""
    low: tuple[str, ...] = ()
    """What is nearly full, or full."""


def capacity(request: BlockRequest, nics: Mapping[IPNetwork, int], recorded: CIDRSpec | None) -> Capacity:
    """The verdict.

    Args:
        nics: NIC networks that exist, with the number of NICs in each.
        recorded: the CIDR cut in this way; None before there is one.
    """
    excludes = merged(request.excludes)
    held = {entry.net_address: entry for entry in recorded.cidr} if recorded else {}
    wanted = _wanted(request, nics, excludes)
    problems, low = _interfaces(request, wanted, set(held), excludes)
    if not problems:
        indexes = _indexes(request, wanted, {text: entry.interface_index for text, entry in held.items()}, excludes)
        for network in wanted:
            rows = len(held[str(network)].hosts or ()) if str(network) in held else 0
            count = max(nics.get(network, 0), rows)
            more, nearly = _hosts(request, network, indexes[network], count, excludes)
            problems += more
            low += nearly
    return Capacity(tuple(problems), tuple(low))


def _wanted(request: BlockRequest, nics: Mapping[IPNetwork, int], excludes: list[IPNetwork]) -> list[IPNetwork]:
    """The NIC networks that are to have an interface block, in the order of their indexes."""
    found = request.master_nets or sorted(nics, key=lambda network: (network.version, network))
    if request.subnet is None:
        return [network for network in found if not any(covers(exclude, network) for exclude in excludes)]
    return [network for network in found if not overlaps(network, request.subnet)]


def _interfaces(
    request: BlockRequest, wanted: list[IPNetwork], held: set[str], excludes: list[IPNetwork]
) -> tuple[list[str], list[str]]:
    if request.subnet is None:
        return [], []
    total = 1 << request.interface_bits
    excluded = len(HeldIndexes(excluded_blocks(request.subnet, request.interface_bits, excludes)))
    allowed, needed = total - excluded, len({str(network) for network in wanted} | held)
    less = f" less {excluded} excluded" if excluded else ""
    if len(request.master_nets) > allowed:
        return [
            f"spec.masterNets: found {len(request.master_nets)} networks, expected at most {allowed},"
            f" as spec.ipam.interfaceBlock {request.interface_bits} numbers {total}{less}; raise it or leave some out"
        ], []
    if needed > allowed:
        names = ", ".join(map(str, wanted[:NAMES_IN_MESSAGE])) + (", …" if len(wanted) > NAMES_IN_MESSAGE else "")
        bits = (needed + excluded - 1).bit_length()
        return [
            f"spec.ipam.interfaceBlock: found {request.interface_bits}, which numbers {total} NIC networks{less}, but"
            f" there are {needed} ({names}); expected at least {bits}, or fewer networks in spec.masterNets"
        ], []
    if request.interface_bits and allowed - needed < LOW * allowed:
        return [], [f"spec.ipam.interfaceBlock {request.interface_bits}: {needed} of {allowed} blocks are in use"]
    return [], []


def _indexes(
    request: BlockRequest, wanted: list[IPNetwork], recorded: Mapping[str, int], excludes: list[IPNetwork]
) -> dict[IPNetwork, int]:
    """The interface index that each NIC network has or would get."""
    tabu = [] if request.subnet is None else excluded_blocks(request.subnet, request.interface_bits, excludes)
    taken = HeldIndexes([*((index, index) for index in recorded.values()), *tabu])
    found: dict[IPNetwork, int] = {}
    for network in wanted:
        if (index := recorded.get(str(network))) is None:
            index = taken.next_free(0)
            taken.add(index)
        found[network] = index
    return found


def _hosts(
    request: BlockRequest, network: IPNetwork, index: int, count: int, excludes: list[IPNetwork]
) -> tuple[list[str], list[str]]:
    try:
        block = network if request.subnet is None else request.interface_block(network, index)
    except ValueError:
        return [], []  # an index outside the blocks never worked, and is numbered anew
    bits, left = request.host_bits, block.max_prefixlen - block.prefixlen
    if bits > left:
        if request.subnet is not None:
            return [], []  # told with the subnet itself
        return [
            f"spec.ipam.hostBlock: found {bits}, but the NIC network {network} has only {left} bits; expected at most"
            f" {left}, or only larger networks in spec.masterNets"
        ], []
    total = 1 << bits
    excluded = len(HeldIndexes(excluded_blocks(block, bits, merged([*excludes, *request.reserved(network)]))))
    allowed = total - excluded
    less = f" less {excluded} excluded" if excluded else ""
    if count > allowed:
        needed = (count + excluded - 1).bit_length()
        remedy = f"expected at least {needed}" if needed <= left else f"expected a subnet with {needed} bits for nodes"
        plural = "s" if total > 1 else ""
        return [
            f"spec.ipam.hostBlock: found {bits}, which gives {total} block{plural}{less} on the NIC network {network},"
            f" but {count} NICs are there; {remedy}"
        ], []
    if bits and count and allowed - count < LOW * allowed:
        return [], [f"spec.ipam.hostBlock {bits}: {count} of {allowed} blocks on {network} are in use"]
    return [], []
