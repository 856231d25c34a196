"""The Kubernetes port that all nodes of one process share: each kind is watched once, and each node sees its part.

A real daemon watches its own HostInterface and its own IPPools by a selector. Here they are parts of a store of all;
events are handed to the one node that they concern.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import trio

from multinic_core.kube.api import Api
from multinic_core.kube.calls import REQUESTS_AT_ONCE, Request
from multinic_core.kube.client import Client
from multinic_core.model import HOST_INTERFACES, HOSTNAME_LABEL, IPPOOLS, KubeObject, Resource
from multinic_core.ports import Key, Store

M = TypeVar("M", bound=KubeObject)

Owner = Callable[[KubeObject], str]
"""The node that an object concerns."""


class Part:
    """What one node sees of a store."""

    def __init__(self, whole: Store[Any], owner: Owner, node: str, keys: set[Key]) -> None:
        self._whole, self._owner, self._node, self._keys = whole, owner, node, keys
        self.subscribers: list[Callable[[Key], None]] = []

    def get(self, name: str, namespace: str = "") -> Any:
        found = self._whole.get(name, namespace)
        return found if found is not None and self._owner(found) == self._node else None

    def list(self, namespace: str | None = None) -> list[Any]:
        found = (self.get(key.name, key.namespace) for key in sorted(self._keys))
        return [item for item in found if item is not None and namespace in (None, item.namespace)]

    @property
    def invalid(self) -> Mapping[Key, str]:
        return {key: reason for key in self._keys if (reason := self._whole.invalid.get(key)) is not None}

    @property
    def synced(self) -> bool:
        return self._whole.synced

    async def wait_synced(self) -> None:
        await self._whole.wait_synced()

    def subscribe(self, changed: Callable[[Key], None]) -> None:
        self.subscribers.append(changed)
        for key in sorted(self._keys):
            changed(key)


class Parts:
    """A store of all objects of a kind, divided among nodes."""

    def __init__(self, whole: Store[Any], owner: Owner) -> None:
        self._whole, self._owner = whole, owner
        self._keys: dict[str, set[Key]] = {}
        self._owners: dict[Key, str] = {}
        self._parts: dict[str, Part] = {}
        whole.subscribe(self._changed)

    def part(self, node: str) -> Part:
        """The part of one node; the same for the same node."""
        if node not in self._parts:
            self._parts[node] = Part(self._whole, self._owner, node, self._keys.setdefault(node, set()))
        return self._parts[node]

    def _changed(self, key: Key) -> None:
        item = self._whole.get(key.name, key.namespace)
        before = self._owners.pop(key, None)
        now = self._owner(item) if item is not None else before if key in self._whole.invalid else None
        if before is not None and before != now:
            self._keys[before].discard(key)
        if now is not None:
            self._owners[key] = now
            self._keys.setdefault(now, set()).add(key)
        for node in {before, now} - {None}:
            if (part := self._parts.get(cast("str", node))) is not None:
                for changed in list(part.subscribers):
                    changed(key)


class SharedApi(Api):
    """As :class:`multinic_core.kube.api.Api`, for many nodes."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._parts: dict[str, Parts] = {}
        self._turns = trio.CapacityLimiter(REQUESTS_AT_ONCE)
        """Each daemon has its own threads; that here one waits for another's must not count as a slow answer."""

    def store(
        self, resource: Resource[M], *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> Store[M]:
        """A whole store, or one node's part of it.

        Raises:
            ValueError: a selector that no daemon uses.
        """
        if resource.plural == HOST_INTERFACES.plural:
            resource = cast("Resource[M]", HOST_INTERFACES)  # not once more for readers that want less of each
        if not label_selector and not field_selector:
            return super().store(resource, namespace=namespace)
        if resource.plural == IPPOOLS.plural and label_selector.startswith(f"{HOSTNAME_LABEL}="):
            node = label_selector.partition("=")[2]
        elif resource.plural == HOST_INTERFACES.plural and field_selector.startswith("metadata.name="):
            node = field_selector.partition("=")[2]
        else:
            raise ValueError(f"store of {resource.plural}: found {label_selector or field_selector!r}, expected a node")
        if resource.plural not in self._parts:
            self._parts[resource.plural] = Parts(super().store(resource), _OWNERS[resource.plural])
        return cast("Store[M]", self._parts[resource.plural].part(node))

    async def _send(self, request: Request) -> dict[str, Any]:
        async with self._turns:
            return await super()._send(request)


def _hostname(pool: KubeObject) -> str:
    return (pool.metadata.labels or {}).get(HOSTNAME_LABEL, "")


def _name(host: KubeObject) -> str:
    return host.name


_OWNERS: Mapping[str, Owner] = {IPPOOLS.plural: _hostname, HOST_INTERFACES.plural: _name}
