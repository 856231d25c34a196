"""A local copy of the objects of one kind.

Whoever keeps it current (the reflector, or a fake) hands it what was seen, parsed already; whoever reads
it gets models. What counts as a change is a new resourceVersion, so a repeated event or a fresh list announces only
what differs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

import trio

from multinic_core.kube.objects import Seen, describe
from multinic_core.model.base import KubeObject, Resource
from multinic_core.ports import Key

M = TypeVar("M", bound=KubeObject)

log = logging.getLogger(__name__)


class LocalStore(Generic[M]):
    """The objects of one kind, as the port's ``Store``; readers must not change the models they get."""

    def __init__(self, resource: Resource[M]) -> None:
        self.resource = resource
        self._objects: dict[str, dict[str, M]] = {}
        """Index: namespace to name to object."""
        self._versions: dict[Key, str] = {}
        """resourceVersion of every object here, fitting or not."""
        self._invalid: dict[Key, str] = {}
        self._subscribers: list[Callable[[Key], None]] = []
        self._synced = trio.Event()

    def get(self, name: str, namespace: str = "") -> M | None:
        return self._objects.get(namespace, {}).get(name)

    def list(self, namespace: str | None = None) -> list[M]:
        spaces = sorted(self._objects) if namespace is None else [namespace]
        return [item for space in spaces for _, item in sorted(self._objects.get(space, {}).items())]

    @property
    def invalid(self) -> Mapping[Key, str]:
        return MappingProxyType(self._invalid)

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    def subscribe(self, changed: Callable[[Key], None]) -> None:
        self._subscribers.append(changed)
        for key in sorted(self._versions):
            changed(key)

    def replace(self, items: Iterable[Seen[M]]) -> None:
        """Take a complete list: announce what is new, changed or gone, and nothing else. Marks the store synced."""
        fresh = {item.key: item for item in items}
        for key in [key for key in self._versions if key not in fresh]:
            self.remove(key)
        for item in fresh.values():
            self.put(item)
        self._synced.set()

    def put(self, seen: Seen[M]) -> None:
        """Take one object as it is now; a version that is here already changes nothing."""
        key = seen.key
        if seen.version and self._versions.get(key) == seen.version:
            return
        self._versions[key] = seen.version
        if seen.model is not None:
            self._objects.setdefault(key.namespace, {})[key.name] = seen.model
            self._invalid.pop(key, None)
        else:
            self._drop(key)
            if self._invalid.get(key) != seen.problem:
                log.warning(
                    "object does not fit its model and is left out",
                    extra={"object": describe(self.resource, key), "problem": seen.problem},
                )
            self._invalid[key] = seen.problem
        self._announce(key)

    def remove(self, key: Key) -> None:
        """Forget one object; nothing happens when it is not here."""
        if self._versions.pop(key, None) is None:
            return
        self._invalid.pop(key, None)
        self._drop(key)
        self._announce(key)

    def _drop(self, key: Key) -> None:
        by_name = self._objects.get(key.namespace, {})
        by_name.pop(key.name, None)
        if not by_name:
            self._objects.pop(key.namespace, None)

    def _announce(self, key: Key) -> None:
        for changed in list(self._subscribers):
            changed(key)
