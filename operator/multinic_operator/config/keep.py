"""Has the DaemonSet of the Config that counts in place, and no other one of ours.

A DaemonSet that something else made under that name is taken over by making it anew, because its selector cannot be
changed and fields of its former keeper would stay mixed with ours. Where the selectors are equal its pods stay and
are replaced one after another by the new one; otherwise they go with it. Attached pods notice neither: their links are
in the kernel.
"""

from __future__ import annotations

import logging
from typing import Any

from multinic_core.errors import ApiError
from multinic_core.model import CONFIGS, DAEMONSETS, Config, DaemonSet
from multinic_operator.config.daemonset import (
    APP,
    APPLIED_ANNOTATION,
    FIELD_MANAGER,
    MANAGED,
    contains,
    desired_daemonset,
)
from multinic_operator.settings import choose
from multinic_operator.world import World

logger = logging.getLogger(__name__)


def is_ours(found: DaemonSet) -> bool:
    labels = found.metadata.labels or {}
    return all(labels.get(name) == value for name, value in MANAGED.items())


def runs_daemons(found: DaemonSet) -> bool:
    """Whether its pods carry the label by which daemons are known, whoever made it."""
    labels: dict[str, str] = found.spec.get("template", {}).get("metadata", {}).get("labels") or {}
    return all(labels.get(name) == value for name, value in APP.items())


def has_our_selector(found: DaemonSet) -> bool:
    return bool(found.spec.get("selector") == {"matchLabels": APP})


class DaemonSets:
    """Keeps the DaemonSet."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def keep(self, config: Config) -> str:
        """Have the DaemonSet of this Config as it should be; gives why it cannot be, or "".

        Raises:
            ApiError: a read or write failed.
        """
        world = self._world
        await self._remove_others(config)
        wanted = desired_daemonset(config, world.namespace, world.daemon_image)
        found = world.daemonsets.get(config.name, world.namespace)
        if found is not None and self._is_as(found, wanted):
            return ""
        found = await self._fresh(config.name)  # the store may not show what we have written a moment ago
        if found is not None and found.metadata.deletion_timestamp is not None:
            return ""  # its end will tell
        if found is not None and not runs_daemons(found):
            return (
                f"DaemonSet {config.name!r} in namespace {world.namespace!r}: found one whose pods do not carry"
                f" {APP}, expected none or that of daemons; delete it or give the Config another name"
            )
        if found is not None and (not is_ours(found) or not has_our_selector(found)):
            await self._delete(found, orphan=has_our_selector(found))
            found = None
        if found is None or not self._is_as(found, wanted):
            await world.kube.patch(
                DAEMONSETS, config.name, wanted, namespace=world.namespace, kind="apply", field_manager=FIELD_MANAGER
            )
            logger.info("DaemonSet written", extra={"daemonset": config.name, "new": found is None})
        return ""

    def _is_as(self, found: DaemonSet, wanted: dict[str, Any]) -> bool:
        metadata = found.metadata
        annotations = metadata.annotations or {}
        return (
            is_ours(found)
            and metadata.deletion_timestamp is None
            and annotations.get(APPLIED_ANNOTATION) == wanted["metadata"]["annotations"][APPLIED_ANNOTATION]
            and contains(metadata.labels, wanted["metadata"]["labels"])
            and contains(found.spec, wanted["spec"])
        )

    async def _fresh(self, name: str) -> DaemonSet | None:
        try:
            return await self._world.kube.get(DAEMONSETS, name, self._world.namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    async def _remove_others(self, config: Config) -> None:
        """Delete DaemonSets of Configs that do not count (any more): two daemons cannot serve one node."""
        world = self._world
        configs = {other.name for other in world.configs.list()}
        others = [
            found
            for found in world.daemonsets.list(world.namespace)
            if found.name != config.name
            and found.metadata.deletion_timestamp is None
            and (is_ours(found) or (runs_daemons(found) and found.name in configs))
        ]
        if not others:
            return
        chosen = choose(await world.kube.list(CONFIGS))
        if chosen is None or chosen.name != config.name:
            return  # the store is behind; it will tell
        for found in others:
            await self._delete(found, orphan=False)

    async def _delete(self, found: DaemonSet, *, orphan: bool) -> None:
        await self._world.kube.delete(DAEMONSETS, found.name, found.namespace, uid=found.metadata.uid, orphan=orphan)
        logger.info("DaemonSet deleted", extra={"daemonset": found.name, "its_pods_stay": orphan})
