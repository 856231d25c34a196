"""multi-nic-ipam: the built-in IPAM, one address per chosen NIC out of that NIC's pool.

Addresses ascend from the one after the index given last, so that a released address rests until the top of the pool has
been reached; then the search goes on from the bottom. Pure: the daemon's journal keeps what is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Interface, IPv6Interface, ip_address

from multinic_core.addressing import overlaps, usable_indexes
from multinic_core.errors import AddressInUseError, ConfigError, PoolExhaustedError
from multinic_core.hookspecs import Ipam, hookimpl
from multinic_core.model import MULTI_NIC_IPAM
from multinic_core.plan import Allocation, AllocationRequest, IPAddress, IPNetwork
from multinic_core.pools import HeldIndexes, Pool


def excluded_indexes(pool: Pool) -> HeldIndexes:
    """Indexes of the pool that an exclude takes, as ranges; to read only."""
    return _excluded(pool.network, pool.excludes)


@lru_cache(maxsize=1024)
def _excluded(network: IPNetwork, excludes: tuple[IPNetwork, ...]) -> HeldIndexes:
    base, top = int(network.network_address), int(network.broadcast_address)
    return HeldIndexes(
        (
            max(int(exclude.network_address), base) - base,
            min(int(exclude.broadcast_address), top) - base,
        )
        for exclude in excludes
        if overlaps(exclude, network)
    )


def next_index(pool: Pool) -> int | None:
    """The index to give next, or None when the pool is full."""
    usable = usable_indexes(pool.network)
    excluded = excluded_indexes(pool)
    start = pool.cursor + 1 if pool.cursor + 1 in usable else usable.start
    for low, high in ((start, usable.stop), (usable.start, start)):
        index = low
        while index < high:
            free = excluded.next_free(pool.held.next_free(index))
            if free == index:
                return index
            index = free
    return None


def _allocation(pool: Pool, index: int) -> Allocation:
    network = pool.network
    interface = IPv4Interface if network.version == 4 else IPv6Interface
    address = interface((int(network.network_address) + index, pool.prefix_length))
    return Allocation(pool.name, pool.parent, index, address)


def _static(pool: Pool, address: IPAddress) -> Allocation:
    index = int(address) - int(pool.network.network_address)
    if index not in usable_indexes(pool.network):
        raise AddressInUseError(f"address {address} is the network or broadcast address of pool {pool.name!r}")
    if index in excluded_indexes(pool):
        raise AddressInUseError(f"address {address} is excluded from pool {pool.name!r}")
    if index in pool.held:
        raise AddressInUseError(f"address {address} of pool {pool.name!r} is held by another attachment")
    return _allocation(pool, index)


class MultiNicIpam:
    """The built-in IPAM."""

    name = MULTI_NIC_IPAM

    def allocate(self, request: AllocationRequest, pools: Sequence[Pool]) -> tuple[Allocation, ...]:
        """Give each parent one address in each of its pools (one pool per address family).

        Raises:
            ConfigError: a chosen NIC has no pool.
            AddressInUseError: a static address is held, excluded, or in no pool of the chosen NICs.
            PoolExhaustedError: a pool has no free address left.
        """
        by_parent: dict[str, list[Pool]] = {parent: [] for parent in request.parents}
        for each in pools:
            if each.parent in by_parent:
                by_parent[each.parent].append(each)
        if missing := [parent for parent, own in by_parent.items() if not own]:
            raise ConfigError(
                f"NICs {missing!r} have no address pool; pools are for {sorted({p.parent for p in pools})!r}"
            )
        wanted: dict[str, IPAddress] = {}
        for asked in request.static:
            address = ip_address(asked.ip) if hasattr(asked, "ip") else asked
            pool = next(
                (
                    p
                    for own in by_parent.values()
                    for p in own
                    if address.version == p.network.version and address in p.network
                ),
                None,
            )
            if pool is None or pool.name in wanted:
                networks = [str(p.network) for own in by_parent.values() for p in own]
                raise AddressInUseError(f"static address {address}: expected at most one in each of {networks!r}")
            wanted[pool.name] = address
        return tuple(
            _static(pool, wanted[pool.name]) if pool.name in wanted else self._next(pool)
            for parent in request.parents
            for pool in by_parent[parent]
        )

    @staticmethod
    def _next(pool: Pool) -> Allocation:
        index = next_index(pool)
        if index is None:
            raise PoolExhaustedError(
                f"pool {pool.name!r} ({pool.network}) of NIC {pool.parent!r} is full: {len(pool.held)} are held"
            )
        return _allocation(pool, index)


@hookimpl
def multinic_register_ipams() -> Sequence[Ipam]:
    return [MultiNicIpam()]
