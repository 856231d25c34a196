"""One MultiNicNetwork: from what the user wrote to CIDR, pools and attachment definitions, and away again.

The order of writes is the order of dependence: finalizer, CIDR (the decision), pools, objects of others that the
network needs, definitions (the offer to pods).
Stopped after any of them, the next reconcile goes on from what is there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from multinic_core.errors import ApiError, ConfigError
from multinic_core.model import (
    CIDR,
    HOST_DEVICE_IPAM,
    IPPOOLS,
    NETWORKS,
    MultiNicNetwork,
)
from multinic_core.ports import Key
from multinic_core.singlenic import MULTI_CONFIG
from multinic_operator.dependents.kinds import ForeignKinds
from multinic_operator.dependents.write import Dependents
from multinic_operator.networks.cidrs import NotYetError, addresses_in_use, drop_claims, write_cidr
from multinic_operator.networks.definitions import write_definitions
from multinic_operator.networks.pools import write_pools
from multinic_operator.networks.removal import Removal
from multinic_operator.ownership import NETWORK_FINALIZER, write_finalizers
from multinic_operator.status.derive import Outcome
from multinic_operator.validation.claims import claims_on
from multinic_operator.validation.sharing import mixed_uses
from multinic_operator.validation.surroundings import Watch
from multinic_operator.validation.validate import Intent, refuse_edits, renumbering, unsafe_edits, validate
from multinic_operator.world import World

logger = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 1.0
"""While an object of ours is on its way out and its place is needed."""
NOT_YET_SECONDS = 0.2
"""While something is on its way that the blocks depend on."""
WAITING_SECONDS = 5.0
"""While the cluster lacks something that may come without a word, as a kind that is installed does."""
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


def _by_executables(ipam_type: object) -> list[str]:
    """Who gives the addresses where the operator makes no pools, unless that is a mode of the daemon."""
    if not ipam_type or ipam_type in (MULTI_CONFIG, HOST_DEVICE_IPAM):
        return []
    return [f"spec.ipam.type: no IPAM {ipam_type!r} is installed here, so nodes run their CNI executable of that name"]


class Networks:
    """Reconciles networks; keeps the last outcome of each for the status, recomputed after a restart."""

    def __init__(self, world: World, around: Watch, foreign: ForeignKinds, concluded: Callable[[str], None]) -> None:
        """``concluded`` gets the name of each network whose outcome is new."""
        self._world = world
        self._around = around
        self._foreign = foreign
        self._dependents = Dependents(world, foreign)
        self._removal = Removal(world, self._dependents)
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
            if world.cidrs.get(name) is None:
                await drop_claims(world, name)
            return None
        if network.metadata.deletion_timestamp is not None:
            self.outcomes.pop(name, None)
            return await self._removal.reconcile(network)
        recorded = world.cidrs.get(name)
        if recorded is not None and recorded.metadata.deletion_timestamp is not None:
            return LOOK_AGAIN_SECONDS
        try:
            intent, anew = await self._decide(network, recorded)
            held = await self._hold(network)
            waiting = await self._build(held, intent, anew)
        except ConfigError as error:
            self._conclude(network, failed(network, error, recorded))
            return None
        except NotYetError as reason:
            logger.debug("network waits", extra={"network": name, "reason": str(reason)})
            return NOT_YET_SECONDS
        except ApiError as error:
            if error.status in NOT_BY_WAITING:
                self._conclude(network, failed(network, error, recorded))
            raise
        return WAITING_SECONDS if waiting else None

    async def _decide(self, network: MultiNicNetwork, recorded: CIDR | None) -> tuple[Intent, bool]:
        """What the network asks for, and whether its blocks are to be numbered from the start.

        Raises:
            ConfigError: it cannot work as written, or would move blocks whose addresses are in use.
            NotYetError: what its main plugin must know is being read.
        """
        world = self._world
        if (reason := world.cidrs.invalid.get(Key("", network.name))) is not None:
            raise ConfigError(f"CIDR {network.name!r}: cannot be read: {reason}; correct or delete it")
        specs = {cidr.name: cidr.spec for cidr in world.cidrs.list()}
        claims = claims_on(network, world.networks.list(), specs, world.registry.ipams.objects)
        spec = recorded.spec if recorded else None
        facts = await self._foreign.facts(world.registry.main_plugins.objects.get(network.spec.plugin.type))
        intent = validate(network, world.registry, world.hosts.list(), claims, spec, self._around.now(), facts)
        if spec is None or not (edits := unsafe_edits(spec, network, intent.blocks)):
            return intent, False
        refuse_edits(edits, addresses_in_use(await world.kube.list(IPPOOLS), network.name))
        return intent, intent.blocks is not None and bool(renumbering(spec, intent.blocks))

    async def _hold(self, network: MultiNicNetwork) -> MultiNicNetwork:
        """Keep the network from going before what it owns has gone."""
        finalizers = network.metadata.finalizers or []
        if NETWORK_FINALIZER in finalizers:
            return network
        return await write_finalizers(self._world.kube, NETWORKS, network, [*finalizers, NETWORK_FINALIZER])

    async def _build(self, network: MultiNicNetwork, intent: Intent, anew: bool) -> bool:
        """Write it all; gives whether something is waited for."""
        world = self._world
        cidr: CIDR | None = None
        problems: list[str] = []
        notes: list[str] = [*intent.config.notes, *mixed_uses(network, world.networks.list(), world.registry)]
        if intent.blocks is not None:
            cidr, computed = await write_cidr(world, network, intent.blocks, anew=anew)
            problems += computed.problems
            notes += await write_pools(world, network, intent.blocks, cidr.spec)
            master_nets = cidr.spec.config.master_nets
        else:
            discovered = {nic.network for nic in world.fleet.sample()}
            ordered = sorted(discovered, key=lambda found: (found.version, found))
            master_nets = network.spec.master_nets or [str(found) for found in ordered]
            notes += _by_executables(intent.ipam.get("type"))
        dependents = await self._dependents.write(network, intent.config)
        problems += dependents.problems
        if not dependents.problems and not dependents.waits:
            problems += await write_definitions(world, network, intent, master_nets)
        self._conclude(
            network,
            Outcome(
                network.metadata.generation,
                tuple(problems),
                "Incomplete" if problems else "Waiting" if dependents.waits else "Configured",
                tuple(notes),
                cidr,
                waits=tuple(dependents.waits),
                needs_blocks=intent.blocks is not None,
                l3=intent.l3,
                low=intent.low,
            ),
        )
        if not self._dependents.keeps(network):
            await self._dependents.tidy(network)  # last, as the kinds of others may not answer
        return bool(dependents.waits)

    def _conclude(self, network: MultiNicNetwork, outcome: Outcome) -> None:
        self.outcomes[network.name] = outcome
        self._concluded(network.name)
