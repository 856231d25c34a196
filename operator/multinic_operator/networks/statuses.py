"""Writes the status of a network when something but the time has changed, and tells Events of the turns."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import trio

from multinic_core.errors import ApiError
from multinic_core.model import NETWORKS, Condition, MultiNicNetwork, MultiNicNetworkStatus
from multinic_operator.networks.reconcile import Networks
from multinic_operator.status.census import take_census
from multinic_operator.status.daemons import Daemons
from multinic_operator.status.derive import Outcome, derive_status, same_but_time
from multinic_operator.status.events import tell
from multinic_operator.world import World

logger = logging.getLogger(__name__)

SPACING_SECONDS = 1.0
"""Least time between two writes of one network's status: of many nodes that come one after another one write tells."""


class Statuses:
    """Reconciles the status of networks."""

    def __init__(self, world: World, networks: Networks, daemons: Daemons) -> None:
        self._world = world
        self._networks = networks
        self._daemons = daemons
        self._at: dict[str, float] = {}
        """Network to the trio time of its last write."""
        self._written: dict[str, tuple[str | None, MultiNicNetworkStatus]] = {}
        """Network to the resourceVersion that its last write was based on, and what was written."""

    async def reconcile(self, name: str) -> float | None:
        """Have the status say what is.

        Raises:
            ApiError: the status could not be written.
        """
        world = self._world
        network, outcome = world.networks.get(name), self._networks.outcomes.get(name)
        if network is None or network.metadata.deletion_timestamp is not None or outcome is None:
            self._written.pop(name, None)
            self._at.pop(name, None)
            return None
        if (left := self._at.get(name, -SPACING_SECONDS) + SPACING_SECONDS - trio.current_time()) > 0:
            return left
        based_on, written = self._written.get(name, (None, None))
        if based_on is not None and based_on == network.metadata.resource_version:
            network = network.model_copy(update={"status": written})  # the store has yet to show our own write
        wanted = self._derive(network, outcome)
        if same_but_time(network.status, wanted):
            return None
        await self._tell(network, wanted)
        try:
            await world.kube.patch(NETWORKS, name, {"status": wanted.to_json()}, subresource="status")
        except ApiError as error:
            if error.status == 404:
                return None  # it went meanwhile
            raise
        self._at[name] = trio.current_time()
        self._written[name] = network.metadata.resource_version, wanted
        logger.info(
            "network status changed",
            extra={
                "network": name,
                "config": wanted.config_status,
                "routes": wanted.route_status,
                "nodes": wanted.discovery.cidr_processed if wanted.discovery else 0,
                "problem": wanted.message,
            },
        )
        return None

    def _derive(self, network: MultiNicNetwork, outcome: Outcome) -> MultiNicNetworkStatus:
        world = self._world
        return derive_status(
            network, outcome, take_census(world.fleet, self._daemons.view(), outcome.cidr), world.now()
        )

    async def _tell(self, network: MultiNicNetwork, wanted: MultiNicNetworkStatus) -> None:
        before, after = _by_type(network.status), _by_type(wanted)
        for kind in ("Configured", "RoutesReady"):
            old, new = before.get(kind), after[kind]
            if new.status == "False" and new.reason != "RoutesPending" and not _alike(old, new):
                await tell(self._world, network, "Warning", new.reason, new.message, since=new.last_transition_time)
        old, low = before.get("CapacityLow"), after.get("CapacityLow")
        if low is not None and low.status == "True" and (old is None or old.status != "True"):
            await tell(self._world, network, "Warning", low.reason, low.message, since=low.last_transition_time)
        old, new = before.get("Ready"), after["Ready"]
        if new.status == "True" and (old is None or old.status != "True"):
            nodes = wanted.discovery.cidr_processed if wanted.discovery else 0
            message = f"blocks for {nodes} nodes and attachment definitions are written"
            await tell(self._world, network, "Normal", "Ready", message, since=new.last_transition_time)


def _by_type(status: MultiNicNetworkStatus | None) -> Mapping[str, Condition]:
    return {condition.type: condition for condition in status.conditions} if status else {}


def _alike(old: Condition | None, new: Condition) -> bool:
    return old is not None and (old.status, old.reason, old.message) == (new.status, new.reason, new.message)
