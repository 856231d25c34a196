"""Pools as an IPAM reads them: the operator's IPPool objects joined with what the journal holds of each."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_interface, ip_network

from multinic_core.addressing import covers
from multinic_core.errors import ConfigError
from multinic_core.model import IPPool
from multinic_core.plan import IPNetwork
from multinic_core.pools import Pool
from multinic_daemon.journal.journal import Journal


def join_pools(objects: Iterable[IPPool], journal: Journal) -> tuple[Pool, ...]:
    """One Pool per object, with the indexes held and the cursor.

    What is held is the journal's to say alone; what others have written into ``spec.allocations`` it has taken over
    (:mod:`multinic_daemon.recovery.adoption`).

    Raises:
        ConfigError: an object whose networks cannot be read; all problems at once.
    """
    pools: list[Pool] = []
    problems: list[str] = []
    for each in objects:
        try:
            pools.append(_join(each, journal))
        except ValueError as error:
            problems.append(f"IPPool {each.name!r}: {error}")
    if problems:
        raise ConfigError(*problems)
    return tuple(pools)


def _join(pool: IPPool, journal: Journal) -> Pool:
    spec = pool.spec
    network, prefix_length, excludes = _read(spec.pod_cidr, spec.vlan_cidr, tuple(spec.excludes))
    return Pool(
        name=pool.name,
        network=network,
        prefix_length=prefix_length,
        parent=spec.interface_name,
        excludes=excludes,
        held=journal.held(pool.name),
        cursor=journal.cursor(pool.name),
    )


@lru_cache(maxsize=1024)
def _read(pod_cidr: str, vlan_cidr: str, excludes: tuple[str, ...]) -> tuple[IPNetwork, int, tuple[IPNetwork, ...]]:
    """The pool's network, the prefix length of its block, and what is never given; kept, as pods ask for it again."""
    network: IPNetwork = ip_network(pod_cidr)
    block: IPNetwork = ip_network(vlan_cidr)
    if not covers(block, network):
        raise ValueError(f"podCIDR {pod_cidr!r} is not within vlanCIDR {vlan_cidr!r}")
    # An address without a prefix length is a network of one.
    return network, block.prefixlen, tuple(ip_interface(text).network for text in excludes)
