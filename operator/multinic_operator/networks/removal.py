"""A network on its way out: what it offers goes at once, what pods hold goes when they have gone.

Deleting a network takes its attachment definitions away, so that no further pod gets it, and daemons refuse it. Pods
that have it keep their addresses and routes: CIDR, pools and the network itself wait for the last of them, and the
status says how many addresses are in use on which nodes. Addresses that another IPAM gave are not known here, and
not waited for.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial

import trio

from multinic_core.errors import ApiError
from multinic_core.model import (
    ATTACHMENT_DEFINITIONS,
    CIDRS,
    GENERATED_LABEL,
    IPPOOLS,
    NETWORKS,
    IPPool,
    MultiNicNetwork,
)
from multinic_operator.dependents.write import Dependents
from multinic_operator.networks.definitions import delete_definitions
from multinic_operator.ownership import NETWORK_FINALIZER, write_finalizers
from multinic_operator.status.derive import DELETING, deleting_status, same_but_time
from multinic_operator.status.events import tell
from multinic_operator.together import each
from multinic_operator.world import World

logger = logging.getLogger(__name__)

MIRROR_SECONDS = 2.5
"""A daemon's mirror shows an attachment after at most a second and a bit; one made just before the deletion counts."""
LOOK_AGAIN_SECONDS = 5.0
"""While addresses are in use: the last of a pool is noticed at once, the number in between so often."""
NODES_IN_MESSAGE = 5


def in_use(pools: Iterable[IPPool], network: str) -> Counter[str]:
    """Node to the number of this network's addresses that its pods hold, as the pools show it."""
    held: Counter[str] = Counter()
    for pool in pools:
        if pool.spec.net_attach_def == network and pool.spec.allocations:
            held[pool.spec.host_name] += len(pool.spec.allocations)
    return held


def in_use_message(held: Counter[str]) -> str:
    """How many addresses are in use and where, the nodes with most of them first."""
    ordered = sorted(held.items(), key=lambda item: (-item[1], item[0]))
    names = ", ".join(f"{node} ({count})" for node, count in ordered[:NODES_IN_MESSAGE])
    more = f" and {len(ordered) - NODES_IN_MESSAGE} more" if len(ordered) > NODES_IN_MESSAGE else ""
    total = held.total()
    addresses = "1 address is" if total == 1 else f"{total} addresses are"
    nodes = "1 node" if len(held) == 1 else f"{len(held)} nodes"
    return f"deletion waits: {addresses} in use on {nodes}: {names}{more}; remove the pods that have this network"


def left_message(left: Sequence[str]) -> str:
    """Which dependents are still there."""
    more = f" and {len(left) - NODES_IN_MESSAGE} more" if len(left) > NODES_IN_MESSAGE else ""
    names = "; ".join(left[:NODES_IN_MESSAGE])
    return f"deletion waits: {names}{more} must go first; see to the operator that keeps such objects"


async def remove_blocks(world: World, network: str) -> int:
    """Delete CIDR and pools; gives the number of pools. The daemons drop host routes as they see the CIDR go."""
    kube = world.kube
    await kube.delete(CIDRS, network)
    pools = [pool for pool in await kube.list(IPPOOLS) if pool.spec.net_attach_def == network]
    await each(partial(kube.delete, IPPOOLS, pool.name, uid=pool.metadata.uid) for pool in pools)
    return len(pools)


class Removal:
    """Takes networks away, by what the stores and then the API itself say."""

    def __init__(self, world: World, dependents: Dependents) -> None:
        self._world = world
        self._dependents = dependents
        self._since: dict[str, float] = {}
        """uid of a network to the trio time at which its deletion was first seen here."""

    async def reconcile(self, network: MultiNicNetwork) -> float | None:
        """Move a network that is being deleted toward its end; gives the seconds after which to look again.

        Raises:
            ApiError: a write or read failed; the next reconcile goes on.
        """
        finalizers = network.metadata.finalizers or []
        if NETWORK_FINALIZER not in finalizers:
            return None
        kube, name, uid = self._world.kube, network.name, network.metadata.uid or ""
        first = uid not in self._since
        since = self._since.setdefault(uid, trio.current_time())
        if first:
            await self._withdraw(name)
        if held := self._held(self._world.pools.list(), name):
            return await self._wait(network, "AddressesInUse", in_use_message(held))
        if self._world.cidrs.get(name) is not None and (left := since + MIRROR_SECONDS - trio.current_time()) > 0:
            return left
        # Asked of the API, as the stores may not show yet what daemons and the last reconcile wrote.
        if held := self._held(await kube.list(IPPOOLS), name):
            return await self._wait(network, "AddressesInUse", in_use_message(held))
        await self._withdraw(name)
        if remaining := await self._dependents.remove(network):
            return await self._wait(network, "DependentsRemain", left_message(remaining))
        pools = await remove_blocks(self._world, name)
        try:
            await write_finalizers(kube, NETWORKS, network, [f for f in finalizers if f != NETWORK_FINALIZER])
        except ApiError as error:
            if error.status != 404:
                raise
        else:
            logger.info("network removed", extra={"network": name, "pools": pools})
        self._since.pop(uid, None)
        return None

    def _held(self, pools: Iterable[IPPool], name: str) -> Counter[str]:
        """What is in use on nodes that exist; what pods of a node that is gone held is free."""
        found = in_use(pools, name)
        return Counter({node: count for node, count in found.items() if self._world.knows_node(node)})

    async def _withdraw(self, name: str) -> None:
        listed = await self._world.kube.list(ATTACHMENT_DEFINITIONS, label_selector=f"{GENERATED_LABEL}=true")
        await delete_definitions(self._world, [found for found in listed if found.name == name])

    async def _wait(self, network: MultiNicNetwork, reason: str, message: str) -> float:
        """Say what the deletion waits for: in the status when that has changed, in an Event when the reason has."""
        world = self._world
        wanted = deleting_status(network, reason, message, world.now())
        if not same_but_time(network.status, wanted):
            conditions = network.status.conditions if network.status is not None else []
            known = any((c.type, c.reason) == (DELETING, reason) for c in conditions)
            try:
                await world.kube.patch(NETWORKS, network.name, {"status": wanted.to_json()}, subresource="status")
            except ApiError as error:
                if error.status != 404:
                    raise
                return LOOK_AGAIN_SECONDS
            if not known:
                since = network.metadata.deletion_timestamp or ""
                await tell(world, network, "Warning", reason, message, since=since)
            logger.info("network deletion waits", extra={"network": network.name, "reason": message})
        return LOOK_AGAIN_SECONDS
