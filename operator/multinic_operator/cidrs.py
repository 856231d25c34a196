"""The CIDR object of a network: computed, written only when it differs, never from a stale memory."""

from __future__ import annotations

import logging

from multinic_core.errors import ApiError
from multinic_core.model import CIDR, CIDRS, CIDRSpec, IPPool, MultiNicNetwork, ObjectMeta
from multinic_operator.blocks import Computed, compute_blocks
from multinic_operator.layout import BlockRequest, host_nics
from multinic_operator.ownership import owner_reference, with_owner
from multinic_operator.recall import recall_blocks
from multinic_operator.validation import renumbering
from multinic_operator.world import World

logger = logging.getLogger(__name__)


def addresses_in_use(pools: list[IPPool], network: str) -> int:
    """How many addresses of this network pods hold, as the pools show it."""
    return sum(len(pool.spec.allocations) for pool in pools if pool.spec.net_attach_def == network)


async def write_cidr(
    world: World, network: MultiNicNetwork, request: BlockRequest, *, anew: bool
) -> tuple[CIDR, Computed]:
    """Have the network's CIDR hold the blocks that this request gives now.

    The store may lag behind our own last write, so what is written is computed again from the object just read.

    Args:
        anew: the recorded blocks are cut otherwise and none of their addresses is in use: number from the start.

    Returns:
        The object as the API has it now, and the computation that it agrees with.
    """
    owner = owner_reference(network)
    nics, nodes = host_nics(world.hosts.list()), world.node_names()

    def compute(recorded: CIDRSpec | None) -> Computed:
        usable = recorded if recorded is not None and not (anew and renumbering(recorded, request)) else None
        return compute_blocks(request, nics, nodes, usable)

    def begin() -> Computed:
        pools = [pool for pool in world.pools.list() if pool.spec.net_attach_def == network.name]
        return compute_blocks(request, nics, nodes, recall_blocks(request, pools, nics))

    known = world.cidrs.get(network.name)
    if known is None:
        computed = begin()
        body = CIDR(metadata=ObjectMeta(name=network.name, owner_references=[owner]), spec=computed.spec)
        try:
            made = await world.kube.create(CIDRS, body)
        except ApiError as error:
            if error.api_reason != "AlreadyExists":
                raise
        else:
            logger.info("blocks written", extra={"network": network.name, "interfaces": len(computed.spec.cidr)})
            return made, computed
    else:
        computed = compute(known.spec)
        if (
            computed.spec == known.spec
            and with_owner(known.metadata.owner_references, owner) == known.metadata.owner_references
        ):
            return known, computed

    changed = False

    def change(item: CIDR) -> CIDR:
        nonlocal computed, changed
        computed = compute(item.spec)
        references = with_owner(item.metadata.owner_references, owner)
        changed = computed.spec != item.spec or references != item.metadata.owner_references
        return item.model_copy(
            update={
                "spec": computed.spec,
                "metadata": item.metadata.model_copy(update={"owner_references": references}),
            }
        )

    written = await world.kube.modify(CIDRS, network.name, change)
    if changed:
        logger.info(
            "blocks changed",
            extra={
                "network": network.name,
                "interfaces": len(computed.spec.cidr),
                "generation": written.metadata.generation,
            },
        )
    return written, computed
