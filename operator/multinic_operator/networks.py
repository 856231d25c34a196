"""One MultiNicNetwork: from what the user wrote to CIDR, pools and attachment definitions, and away again.

The order of writes is the order of dependence: finalizer, CIDR (the decision), pools, definitions (the offer to pods).
Stopped after any of them, the next reconcile goes on from what is there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from multinic_core.errors import ApiError, ConfigError
from multinic_core.model import (
    ATTACHMENT_DEFINITIONS,
    CIDR,
    CIDRS,
    GENERATED_LABEL,
    IPPOOLS,
    NETWORKS,
    MultiNicNetwork,
)
from multinic_core.ports import Key
from multinic_operator.cidrs import addresses_in_use, write_cidr
from multinic_operator.claims import claims_on
from multinic_operator.definitions import delete_definitions, write_definitions
from multinic_operator.layout import host_nics
from multinic_operator.ownership import NETWORK_FINALIZER, write_finalizers
from multinic_operator.pools import each, write_pools
from multinic_operator.status import Outcome
from multinic_operator.validation import Intent, renumbering, validate
from multinic_operator.world import World

logger = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 1.0
"""While an object of ours is on its way out and its place is needed."""
NOT_BY_WAITING = frozenset({400, 403, 404, 405, 422})
"""Answers of the API that a person must see, as trying again alone will hardly change them."""


def failed(network: MultiNicNetwork, error: ConfigError | ApiError, recorded: CIDR | None) -> Outcome:
    """The outcome of a reconcile that changed nothing or stopped halfway; what is recorded goes on to be served."""
    problems = tuple(error.problems) if isinstance(error, ConfigError) else (str(error),)
    mode = recorded.spec.config.vlan_mode if recorded else None
    return Outcome(
        network.metadata.generation,
        problems,
        error.reason,
        cidr=recorded,
        needs_blocks=recorded is not None,
        l3=mode in ("l3", "l3s") and bool(network.spec.multi_nic_ipam),
    )


class Networks:
    """Reconciles networks; keeps the last outcome of each for the status, recomputed after a restart."""

    def __init__(self, world: World, concluded: Callable[[str], None]) -> None:
        """``concluded`` gets the name of each network whose outcome is new."""
        self._world = world
        self._concluded = concluded
        self.outcomes: dict[str, Outcome] = {}

    async def reconcile(self, name: str) -> float | None:
        """Move everything that belongs to this network toward its spec.

        Raises:
            ApiError: a write or read failed; what was written stands, and the next reconcile goes on.
        """
        world = self._world
        if (reason := world.networks.invalid.get(Key("", name))) is not None:
            logger.error("network cannot be read", extra={"network": name, "reason": reason})
            return None
        network = world.networks.get(name)
        if network is None:
            self.outcomes.pop(name, None)
            return None
        if network.metadata.deletion_timestamp is not None:
            self.outcomes.pop(name, None)
            await self._remove(network)
            return None
        recorded = world.cidrs.get(name)
        if recorded is not None and recorded.metadata.deletion_timestamp is not None:
            return LOOK_AGAIN_SECONDS
        try:
            intent, anew = await self._decide(network, recorded)
        except ConfigError as error:
            self._conclude(network, failed(network, error, recorded))
            return None
        network = await self._hold(network)
        try:
            await self._build(network, intent, anew)
        except ApiError as error:
            if error.status in NOT_BY_WAITING:
                self._conclude(network, failed(network, error, recorded))
            raise
        return None

    async def _decide(self, network: MultiNicNetwork, recorded: CIDR | None) -> tuple[Intent, bool]:
        """What the network asks for, and whether its blocks are to be numbered from the start.

        Raises:
            ConfigError: it cannot work as written, or would move blocks whose addresses are in use.
        """
        world = self._world
        if (reason := world.cidrs.invalid.get(Key("", network.name))) is not None:
            raise ConfigError(f"CIDR {network.name!r}: cannot be read: {reason}; correct or delete it")
        specs = {cidr.name: cidr.spec for cidr in world.cidrs.list()}
        claims = claims_on(network, world.networks.list(), specs)
        spec = recorded.spec if recorded else None
        intent = validate(network, world.registry, world.hosts.list(), claims, spec)
        if spec is None or intent.blocks is None or not (edits := renumbering(spec, intent.blocks)):
            return intent, False
        if in_use := addresses_in_use(await world.kube.list(IPPOOLS), network.name):
            reason = f"{in_use} addresses are in use and would move; remove the pods first, or restore the value"
            raise ConfigError(*(f"{edit}, because {reason}" for edit in edits))
        return intent, True

    async def _hold(self, network: MultiNicNetwork) -> MultiNicNetwork:
        """Keep the network from going before what it owns has gone."""
        finalizers = network.metadata.finalizers or []
        if NETWORK_FINALIZER in finalizers:
            return network
        return await write_finalizers(self._world.kube, NETWORKS, network, [*finalizers, NETWORK_FINALIZER])

    async def _build(self, network: MultiNicNetwork, intent: Intent, anew: bool) -> None:
        world = self._world
        cidr: CIDR | None = None
        problems: list[str] = []
        notes: list[str] = []
        if intent.blocks is not None:
            cidr, computed = await write_cidr(world, network, intent.blocks, anew=anew)
            problems += computed.problems
            notes += await write_pools(world, network, intent.blocks, cidr.spec)
            master_nets = cidr.spec.config.master_nets
        else:
            discovered = sorted({nic.network for nic in host_nics(world.hosts.list())}, key=lambda n: (n.version, n))
            master_nets = network.spec.master_nets or [str(found) for found in discovered]
        problems += await write_definitions(world, network, intent, master_nets)
        self._conclude(
            network,
            Outcome(
                network.metadata.generation,
                tuple(problems),
                "Incomplete" if problems else "Configured",
                tuple(notes),
                cidr,
                needs_blocks=intent.blocks is not None,
                l3=intent.l3,
            ),
        )

    def _conclude(self, network: MultiNicNetwork, outcome: Outcome) -> None:
        self.outcomes[network.name] = outcome
        self._concluded(network.name)

    async def _remove(self, network: MultiNicNetwork) -> None:
        """Delete what the network owns, then let it go. The daemons drop host routes as they see the CIDR go."""
        finalizers = network.metadata.finalizers or []
        if NETWORK_FINALIZER not in finalizers:
            return
        kube, name = self._world.kube, network.name
        # Lists from the API, as the stores may not show yet what the last reconcile made.
        definitions = await kube.list(ATTACHMENT_DEFINITIONS, label_selector=f"{GENERATED_LABEL}=true")
        await delete_definitions(self._world, [d for d in definitions if d.name == name])
        await kube.delete(CIDRS, name)
        pools = [pool for pool in await kube.list(IPPOOLS) if pool.spec.net_attach_def == name]
        await each(partial(kube.delete, IPPOOLS, pool.name, uid=pool.metadata.uid) for pool in pools)
        try:
            await write_finalizers(kube, NETWORKS, network, [f for f in finalizers if f != NETWORK_FINALIZER])
        except ApiError as error:
            if error.status == 404:
                return  # it has gone already; the store has yet to show it
            raise
        logger.info("network removed", extra={"network": name, "pools": len(pools)})
