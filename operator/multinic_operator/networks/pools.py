"""IPPools: one per row of the CIDR. The daemon writes ``allocations``; everything else is written here."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from ipaddress import ip_network

from multinic_core.errors import ApiError
from multinic_core.model import IPPOOLS, CIDRSpec, IPPool, MultiNicNetwork
from multinic_core.poolobjects import pool_object
from multinic_operator.numbering.layout import BlockRequest, HostNic
from multinic_operator.ownership import owner_change, owner_reference
from multinic_operator.together import each
from multinic_operator.world import World

logger = logging.getLogger(__name__)


def desired_pools(
    network: MultiNicNetwork, request: BlockRequest, cidr: CIDRSpec, nics: Iterable[HostNic]
) -> dict[str, IPPool]:
    """Name to pool, for every row of the CIDR; without allocations."""
    owner = owner_reference(network)
    # where NIC networks themselves are cut, addresses of NICs lie in the blocks
    held = [(nic.net_address, address) for nic in nics if request.subnet is None for address in nic.held]
    pools: dict[str, IPPool] = {}
    for entry in cidr.cidr:
        near = [address for net_address, address in held if net_address == entry.net_address]
        near += map(ip_network, entry.reserved or ())
        for row in entry.hosts:
            pool = pool_object(
                network.name,
                row.host_name,
                row.interface_name,
                row.pod_cidr,
                entry.vlan_cidr,
                owners=[owner],
                excludes=request.excludes,
                addresses=near,
            )
            pools[pool.name] = pool
    return pools


def difference(found: IPPool, wanted: IPPool) -> dict[str, object]:
    """The merge patch that makes a pool as wanted, {} when it is; never touches ``allocations``."""
    patch: dict[str, object] = {}
    spec_found, spec_wanted = (pool.spec.model_copy(update={"allocations": []}).to_json() for pool in (found, wanted))
    if changed := {field: value for field, value in spec_wanted.items() if spec_found.get(field) != value}:
        patch["spec"] = changed
    metadata: dict[str, object] = {}
    labels, wanted_labels = found.metadata.labels or {}, wanted.metadata.labels or {}
    if any(labels.get(name) != value for name, value in wanted_labels.items()):
        metadata["labels"] = wanted_labels
    metadata |= owner_change(found, wanted)
    if metadata:
        patch["metadata"] = metadata
    return patch


async def write_pools(world: World, network: MultiNicNetwork, request: BlockRequest, cidr: CIDRSpec) -> list[str]:
    """Have exactly the pools of these blocks; none in a compact CIDR, where the daemons make what they need.

    Returns:
        One sentence for each pool that has no block any more and is kept, because its addresses are in use.
    """
    if cidr.compact:
        return []
    nics = world.fleet.nics_on(entry.net_address for entry in cidr.cidr)
    wanted = desired_pools(network, request, cidr, nics)
    found = {pool.name: pool for pool in world.pools.list() if pool.spec.net_attach_def == network.name}
    nodes = {pool.spec.host_name for pool in found.values() if world.knows_node(pool.spec.host_name)}
    kept: list[str] = []
    jobs: list[Callable[[], Awaitable[object]]] = []
    for name, pool in wanted.items():
        known = found.get(name)
        if known is None:
            jobs.append(partial(_create, world, pool))
        elif known.metadata.deletion_timestamp is not None:
            continue  # when it has gone, its event brings us back here
        elif known.spec.host_name != pool.spec.host_name:
            jobs.append(partial(_hand_over, world, known, pool, known.spec.host_name in nodes, kept))
        elif patch := difference(known, pool):
            jobs.append(partial(_patch, world, name, patch))
    for name, pool in sorted(found.items()):
        if name not in wanted:
            jobs.append(partial(_retire, world, pool, pool.spec.host_name in nodes, kept))
    await each(jobs)
    return sorted(kept)


async def retire_unused(world: World, network: str) -> None:
    """Delete the pools of a network that has just become compact, but for those whose addresses are in use."""
    pools = [pool for pool in world.pools.list() if pool.spec.net_attach_def == network and not pool.spec.allocations]
    await each(partial(_retire, world, pool, True, []) for pool in pools)


async def _create(world: World, pool: IPPool) -> None:
    try:
        await world.kube.create(IPPOOLS, pool)
    except ApiError as error:
        if error.api_reason != "AlreadyExists":
            raise
        there = await world.kube.get(IPPOOLS, pool.name)
        # One that is going, or another node's, comes up again with the event that the store has yet to see.
        same = there.metadata.deletion_timestamp is None and there.spec.host_name == pool.spec.host_name
        if same and (patch := difference(there, pool)):
            await _patch(world, pool.name, patch)
    else:
        logger.debug("pool made", extra={"pool": pool.name, "node": pool.spec.host_name})


async def _patch(world: World, name: str, patch: dict[str, object]) -> None:
    await world.kube.patch(IPPOOLS, name, patch)
    logger.info("pool changed", extra={"pool": name})


async def _hand_over(world: World, found: IPPool, pool: IPPool, node_exists: bool, kept: list[str]) -> None:
    """Replace the pool of another node, so that nobody takes that node's allocations for the new one's."""
    if await _retire(world, found, node_exists, kept):
        await _create(world, pool)


async def _retire(world: World, pool: IPPool, node_exists: bool, kept: list[str]) -> bool:
    """Delete a pool whose node has no such block any more, unless that node is there and pods hold its addresses.

    Looks at it afresh first. Gives whether it is on its way out.
    """
    try:
        fresh = await world.kube.get(IPPOOLS, pool.name)
    except ApiError as error:
        if error.status == 404:
            return True
        raise
    if fresh.spec.allocations and node_exists:
        held = len(fresh.spec.allocations)
        kept.append(
            f"IPPool {pool.name!r} has no block on node {pool.spec.host_name!r} any more and is kept:"
            f" {held} of its addresses are in use"
        )
        return False
    if fresh.metadata.deletion_timestamp is None:
        await world.kube.delete(IPPOOLS, pool.name, uid=fresh.metadata.uid)
        logger.info("pool deleted", extra={"pool": pool.name, "node": pool.spec.host_name})
    return True
