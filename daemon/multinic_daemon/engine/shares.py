"""An address for each link, also where several links are on one NIC: then its pool is asked once for each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from multinic_core.plan import Allocation, IPInterface, Nic
from multinic_core.pools import HeldIndexes, Pool
from multinic_core.registry import Registry
from multinic_daemon.engine.allocate import allocate


def allocate_links(
    registry: Registry,
    ipam: dict[str, Any],
    parents: Sequence[str],
    static: Sequence[IPInterface],
    pools: Sequence[Pool],
) -> tuple[tuple[Allocation, ...], list[tuple[IPInterface, ...]]]:
    """What is given, and the addresses of each link. Raises as ``allocate``."""
    given: list[Allocation] = []
    addresses: list[tuple[IPInterface, ...]] = [()] * len(parents)
    left = list(enumerate(parents))
    while left:
        first = {parent: number for number, parent in reversed(left)}
        turn = [parent for parent in dict.fromkeys(parents) if parent in first]
        allocations = allocate(registry, ipam, turn, () if given else static, pools)
        for parent in turn:
            addresses[first[parent]] = tuple(each.address for each in allocations if each.parent == parent)
        given += allocations
        left = [(number, parent) for number, parent in left if first[parent] != number]
        if left:
            pools = [_after(pool, allocations) for pool in pools]
    return tuple(given), addresses


def device_addresses(
    parents: Sequence[str], devices: Sequence[str], nics: Mapping[str, Nic]
) -> list[tuple[IPInterface, ...]]:
    """The first IPv4 address of each NIC that goes into the pod itself; a VF has none to keep."""
    repeated = Counter(parents)
    found: list[tuple[IPInterface, ...]] = []
    for parent, device in zip(parents, devices, strict=True):
        nic = nics[parent]
        whole = repeated[parent] == 1 and device in ("", nic.pci_address)
        found.append(tuple(each for each in nic.addresses if each.version == 4)[:1] if whole else ())
    return found


def _after(pool: Pool, allocations: Sequence[Allocation]) -> Pool:
    """The pool once these are held."""
    own = [each.index for each in allocations if each.pool == pool.name]
    if not own:
        return pool
    return replace(pool, held=HeldIndexes([*pool.held, *((index, index) for index in own)]), cursor=max(own))
