"""The foreign kinds that main plugins read or keep objects of: followed where the cluster serves them, and only then.

A kind is asked for when a network first needs it, and again whenever that network is looked at, until the cluster
serves it; from then on it is watched. Besides, each kind that plugins keep is asked about once after the start, and
when a network goes, for objects of ours that nobody wants any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from multinic_core.clusterfacts import ClusterFacts, keeps_of, reads_of
from multinic_core.errors import ApiError
from multinic_core.hookspecs import MainPlugin
from multinic_core.model import GENERATED_LABEL, KubeObject, Resource
from multinic_core.ports import Store
from multinic_operator.changes import on_change
from multinic_operator.networks.cidrs import NotYetError
from multinic_operator.world import World

logger = logging.getLogger(__name__)

NOBODY = "metadata.name=multinic-asks-whether-this-kind-is-served"
"""A selector that no object fits, so that the answer to a list is short."""
OURS = f"{GENERATED_LABEL}=true"


def needs(plugin: MainPlugin, resource: Resource[Any]) -> bool:
    """Whether networks of this plugin are to be looked at when an object of this kind changes."""
    kinds = [*reads_of(plugin), *(kept.resource for kept in keeps_of(plugin))]
    return resource.crd_name in {kind.crd_name for kind in kinds}


def _digest(item: KubeObject) -> int:
    return hash(item.model_dump_json(exclude={"metadata": {"resource_version", "generation"}}))


class ForeignKinds:
    """The stores of the foreign kinds that are needed and served."""

    def __init__(self, world: World, changed: Callable[[Resource[Any]], None]) -> None:
        """``changed`` gets the kind of each object that appears, changes or goes."""
        self._world = world
        self._changed = changed
        self._stores: dict[str, Store[Any]] = {}
        self._looked = False

    def followed(self, resource: Resource[Any]) -> Store[Any] | None:
        """The complete store of a kind; None when it is not followed yet."""
        store = self._stores.get(resource.crd_name)
        return store if store is not None and store.synced else None

    async def serves(self, resource: Resource[Any]) -> bool:
        """Whether the cluster serves the kind; then its store is complete.

        Raises:
            NotYetError: the kind is served, and its first list is on its way.
            ApiError: the API does not tell.
        """
        if self.followed(resource) is not None:
            return True
        try:
            await self._world.kube.list(resource, field_selector=NOBODY)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        self._follow(resource)
        if self.followed(resource) is None:
            raise NotYetError(f"{resource.plural} are being read")
        return True

    async def facts(self, plugin: MainPlugin | None) -> ClusterFacts:
        """What the plugin reads, from complete stores.

        Raises:
            NotYetError, ApiError: as ``serves`` does.
        """
        kinds = reads_of(plugin) if plugin is not None else ()
        absent = frozenset([kind.crd_name for kind in kinds if not await self.serves(kind)])
        return ClusterFacts(self._objects(kinds), absent, self._labels() if kinds else {})

    def facts_now(self, plugin: MainPlugin | None) -> ClusterFacts:
        """What is known without asking; a kind that is not followed yet is neither there nor absent."""
        kinds = reads_of(plugin) if plugin is not None else ()
        return ClusterFacts(self._objects(kinds), nodes=self._labels() if kinds else {})

    async def find_what_is_ours(self) -> None:
        """Follow, once, every kind that objects of ours exist of: of networks that have changed their plugin since.

        Raises:
            NotYetError: the first list of such a kind is on its way.
            ApiError: the API does not tell; called again, it goes on.
        """
        if self._looked:
            return
        plugins = self._world.registry.main_plugins.objects.values()
        for resource in [kept.resource for plugin in plugins for kept in keeps_of(plugin)]:
            if resource.crd_name not in self._stores and await self._has_ours(resource):
                self._follow(resource)
            if resource.crd_name in self._stores and self.followed(resource) is None:
                raise NotYetError(f"{resource.plural} are being read")
        self._looked = True

    async def _has_ours(self, resource: Resource[Any]) -> bool:
        try:
            return bool(await self._world.kube.list(resource, label_selector=OURS))
        except ApiError as error:
            if error.status not in (403, 404):
                raise
            return False  # no such kind, or none of our business

    def _follow(self, resource: Resource[Any]) -> None:
        if resource.crd_name in self._stores:
            return
        store = self._stores[resource.crd_name] = self._world.kube.store(resource)
        logger.info("kind followed", extra={"kind": resource.crd_name})
        on_change(store, _digest, lambda key, item: self._changed(resource))

    def _objects(self, kinds: tuple[Resource[Any], ...]) -> dict[str, list[KubeObject]]:
        return {kind.crd_name: store.list() for kind in kinds if (store := self.followed(kind)) is not None}

    def _labels(self) -> dict[str, dict[str, str]]:
        return {node.name: node.metadata.labels or {} for node in self._world.nodes.list()}
