"""Networks wait while there is no Config: then only their removal goes on."""

from __future__ import annotations

from collections.abc import Callable

from multinic_operator.config.reconcile import Configs
from multinic_operator.networks.reconcile import Networks
from multinic_operator.status.derive import Outcome
from multinic_operator.world import World

UNDECIDED_SECONDS = 0.1
"""After the start, until it is known whether there is a Config."""


class Pausing:
    """Reconciles networks, unless there is no Config."""

    def __init__(self, world: World, networks: Networks, configs: Configs, concluded: Callable[[str], None]) -> None:
        self._world = world
        self._networks = networks
        self._configs = configs
        self._concluded = concluded

    async def reconcile(self, name: str) -> float | None:
        """As :meth:`Networks.reconcile`, when there is a Config or the network is to go."""
        network = self._world.networks.get(name)
        if network is None or network.metadata.deletion_timestamp is not None or self._configs.paused is False:
            return await self._networks.reconcile(name)
        if self._configs.paused is None:
            return UNDECIDED_SECONDS
        recorded = self._world.cidrs.get(name)
        outcome = Outcome(network.metadata.generation, reason="NoConfig", cidr=recorded, paused=True)
        self._networks.outcomes[name] = outcome
        self._concluded(name)
        return None
