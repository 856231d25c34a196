"""Whether a network may be stored: the operator's own validation, asked of the stores as they are now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multinic_core.clusterfacts import NO_FACTS
from multinic_core.ports import Store
from multinic_operator.dependents.kinds import ForeignKinds
from multinic_operator.networks.removal import in_use
from multinic_operator.validation.claims import claims_on
from multinic_operator.validation.sharing import mixed_uses
from multinic_operator.validation.surroundings import Watch
from multinic_operator.validation.validate import refuse_edits, unsafe_edits, validate
from multinic_operator.webhook.review import Question
from multinic_operator.world import World

LATEST = "9999-12-31T23:59:59Z"
"""What is not stored yet is younger than anything that is, whatever their names and clocks."""
UNCHECKED = "not checked against the cluster, which is still being read; the status will tell"


class Judging:
    """Judges networks by the stores of this process."""

    def __init__(self, world: World, around: Watch, foreign: ForeignKinds | None = None) -> None:
        """``foreign``: kinds of others, as far as they are followed here; None: they are not looked at."""
        self._world = world
        self._around = around
        self._foreign = foreign

    def judge(self, question: Question) -> Sequence[str]:
        """The warnings for a network that may be stored.

        Raises:
            ConfigError: it may not; all problems at once.
        """
        world, network = self._world, question.network
        needed: tuple[Store[Any], ...] = (world.networks, world.cidrs, world.hosts, world.nodes, world.namespaces)
        if not all(store.synced for store in (*needed, world.pools)):
            return [UNCHECKED]
        if question.old is None:
            metadata = network.metadata.model_copy(update={"creation_timestamp": LATEST})
            network = network.model_copy(update={"metadata": metadata, "status": None})
        cidrs = {cidr.name: cidr.spec for cidr in world.cidrs.list()}
        recorded = cidrs.get(network.name) if question.old is not None else None
        claims = claims_on(network, world.networks.list(), cidrs, world.registry.ipams.objects)
        plugin = world.registry.main_plugins.objects.get(network.spec.plugin.type)
        facts = self._foreign.facts_now(plugin) if self._foreign is not None else NO_FACTS
        intent = validate(network, world.registry, world.hosts.list(), claims, recorded, self._around.now(), facts)
        if recorded is not None and (edits := unsafe_edits(recorded, network, intent.blocks)):
            refuse_edits(edits, in_use(world.pools.list(), network.name).total())
        mixed = mixed_uses(network, world.networks.list(), world.registry)
        told = (*intent.warnings, *intent.config.waits, *intent.config.notes, *mixed, *intent.low)
        return [*told, *self._missing_namespaces(network.spec.namespaces or [])]

    def _missing_namespaces(self, listed: Sequence[str]) -> Sequence[str]:
        existing = {item.name for item in self._world.namespaces.list()}
        return [
            f"spec.namespaces[{position}]: found {name!r}, which does not exist; create it or leave it out"
            for position, name in enumerate(listed)
            if name not in existing
        ]
