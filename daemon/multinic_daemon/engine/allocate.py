"""Asking an IPAM for addresses, and holding it to its contract."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from multinic_core.errors import MultinicError, PluginError, UnsupportedFieldError
from multinic_core.plan import Allocation, AllocationRequest, IPInterface
from multinic_core.pools import Pool
from multinic_core.registry import Registry
from multinic_daemon.engine.limits import limited


def allocate(
    registry: Registry,
    ipam: dict[str, Any],
    parents: Sequence[str],
    static: Sequence[IPInterface],
    pools: Sequence[Pool],
) -> tuple[Allocation, ...]:
    """One or more addresses for each parent, or none at all for a network without an IPAM.

    Args:
        ipam: the netconf's block; empty or without type: links without addresses.
        static: addresses the pod asks for.

    Raises:
        UnsupportedFieldError: the IPAM is not installed, or static addresses are asked for where there is no IPAM.
        PoolExhaustedError, AddressInUseError, ConfigError: the IPAM says no.
        PluginError: it raised something else, or answered against its contract.
    """
    name = ipam.get("type") or ""
    if not name:
        if static:
            raise UnsupportedFieldError(
                f"CNI_ARGS: IP: found {[str(address) for address in static]!r}, but the network has no IPAM"
            )
        return ()
    if name not in registry.ipams:
        raise UnsupportedFieldError(
            f"ipam.type: found {name!r}, expected one that is installed: {sorted(registry.ipams.objects)!r}"
        )
    subject = f"IPAM {name!r} of {registry.ipams.owners.get(name, 'an unknown distribution')}"
    ipam_plugin, request = registry.ipams[name], AllocationRequest(tuple(parents), tuple(static), deepcopy(ipam))
    try:
        allocations = limited(subject, lambda: tuple(ipam_plugin.allocate(request, pools)))
        problem = _contract_problem(allocations, parents, pools)
    except MultinicError:
        raise
    except Exception as error:
        raise PluginError(f"{subject}: raised {error!r}") from error
    if problem:
        raise PluginError(f"{subject}: {problem}")
    return allocations


def cursors(allocations: Sequence[Allocation], static: Sequence[IPInterface]) -> dict[str, int]:
    """Pool name to the index given last, without pools whose address the pod named itself."""
    named = {address.ip for address in static}
    return {each.pool: each.index for each in allocations if each.address.ip not in named}


def _contract_problem(allocations: Sequence[Allocation], parents: Sequence[str], pools: Sequence[Pool]) -> str:
    by_name, wanted = {pool.name: pool for pool in pools}, frozenset(parents)
    given: set[tuple[str, int]] = set()
    for each in allocations:
        pool = by_name.get(each.pool)
        if pool is None or each.parent not in wanted or pool.parent != each.parent:
            return f"gave {each}, expected a pool of {sorted(by_name)!r} on one of {list(parents)!r}"
        if not _is_at(each.address, each.index, pool):
            return f"gave {each.address} as index {each.index} of {pool.network}"
        if each.index in pool.held or (each.pool, each.index) in given:
            return f"gave {each.address} of pool {each.pool!r}, which is held already"
        given.add((each.pool, each.index))
    return ""


def _is_at(address: IPInterface, index: int, pool: Pool) -> bool:
    """Whether the address is host ``index`` of the pool; in whole numbers, as for each NIC of each pod."""
    network = pool.network
    return (
        address.version == network.version
        and int(address) - int(network.network_address) == index
        and 0 <= index < 1 << (network.max_prefixlen - network.prefixlen)
    )
