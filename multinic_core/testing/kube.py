"""An in-memory Kubernetes for unit tests of whatever takes the port :class:`multinic_core.ports.Kubernetes`.

Differences from a real cluster, all on the side of fewer surprises in a test:

* Stores are filled at once: a write has reached every store and subscriber before the call that made it returns,
  ``serve`` or not (:meth:`FakeKubernetes.stale` holds deliveries back, as a slow watch does).
* Server-side apply is a merge in which lists are replaced whole, and which removes what the same field manager
  applied before and no longer names; who else owns a field is not looked at, as every apply is forced.
* Of schemas only our six kinds' models are enforced, and unknown fields are kept where a real server prunes them.
* A namespace need not exist for objects to be made in it; a pod is deleted without a grace period.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast

import trio

from multinic_core.errors import ApiError
from multinic_core.kube.modify import modify
from multinic_core.kube.objects import Json, Seen, encode, key_of, parse, see
from multinic_core.kube.paths import View
from multinic_core.kube.store import LocalStore
from multinic_core.model.base import KubeObject, Resource
from multinic_core.ports import Key, PatchKind, Store
from multinic_core.testing.kube_objects import Objects
from multinic_core.testing.kube_rules import field_match, label_match

M = TypeVar("M", bound=KubeObject)


class Write(NamedTuple):
    """One successful write, in the order of the log."""

    verb: str
    """``create``, ``update``, ``patch`` or ``delete``, as RBAC names them."""
    resource: str
    """Plural, such as ``cidrs``."""
    key: Key
    subresource: str = ""


@dataclass(slots=True)
class _Fault:
    error: ApiError
    verb: str
    resource: Resource[Any] | None
    name: str
    left: int


def _shows(view: View, raw: Mapping[str, Any]) -> bool:
    return (
        view.namespace in ("", key_of(raw).namespace)
        and label_match(view.label_selector, raw["metadata"].get("labels") or {})
        and field_match(view.field_selector, raw)
    )


class FakeKubernetes:
    """A cluster of its own, empty unless seeded; usable inside and outside of trio until an async method is called."""

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self._objects = Objects(self._deliver)
        self._stores: dict[View, LocalStore[Any]] = {}
        self._faults: list[_Fault] = []
        self._stale = False
        self._unserved: set[str] = set()

    # For tests

    def seed(self, resource: Resource[M], *bodies: M | Mapping[str, Any]) -> list[M]:
        """Put objects there as if they had always been, status included; neither logged nor refused by ``fail``."""
        return [
            parse(resource, self._objects.create(resource, encode(resource, body), keep_status=True)) for body in bodies
        ]

    def seed_invalid(self, resource: Resource[Any], body: Mapping[str, Any]) -> None:
        """Put there an object that its model does not accept, as one stored under an older schema."""
        raw = encode(resource, body)
        raw["metadata"] |= {"uid": f"invalid-{raw['metadata']['name']}", "resourceVersion": "1"}
        self._objects.table(resource)[key_of(raw)] = raw
        self._deliver(resource, key_of(raw), raw)

    def raw(self, resource: Resource[Any], name: str, namespace: str = "") -> Json:
        """The JSON of one object; ApiError 404 when there is none. Not subject to ``fail``."""
        return self._objects.get(resource, Key(namespace, name))

    def fail(
        self, error: ApiError, *, verb: str = "", resource: Resource[Any] | None = None, name: str = "", times: int = 1
    ) -> None:
        """Answer the next matching calls with this error, changing nothing. Empty arguments match everything.

        Args:
            verb: ``get``, ``list``, ``create``, ``update``, ``patch`` or ``delete``; ``modify`` is a get and an update.
        """
        self._faults.append(_Fault(error, verb, resource, name, times))

    def install(self, *resources: Resource[Any]) -> None:
        """Serve these kinds, as a cluster does once their CRDs are there."""
        self._unserved -= {resource.crd_name for resource in resources}

    def uninstall(self, *resources: Resource[Any]) -> None:
        """Answer every call about these kinds with 404, as a cluster without their CRDs; their objects are gone."""
        for resource in resources:
            for key in list(self._objects.table(resource)):
                del self._objects.table(resource)[key]
                self._deliver(resource, key, None)
            self._unserved.add(resource.crd_name)

    def count(self, verb: str = "", resource: Resource[Any] | None = None) -> int:
        """How many writes are in the log; of one verb, of one resource, or of all."""
        plural = "" if resource is None else resource.plural
        return sum(verb in ("", write.verb) and plural in ("", write.resource) for write in self.writes)

    @contextmanager
    def stale(self) -> Iterator[None]:
        """Within this block stores hear of nothing and new ones stay unsynced; at its end they all catch up.

        As after a watch that was cut off: what happened in between is announced once per object that differs.
        """
        self._stale = True
        try:
            yield
        finally:
            self._stale = False
            for view, store in list(self._stores.items()):
                store.replace(self._seen(view))

    # The port

    def store(
        self, resource: Resource[M], *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> Store[M]:
        view = View(resource, namespace, label_selector, field_selector)
        if view not in self._stores:
            self._stores[view] = LocalStore(resource)
            if not self._stale:
                self._stores[view].replace(self._seen(view))
        return cast("Store[M]", self._stores[view])

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()

    async def get(self, resource: Resource[M], name: str, namespace: str = "") -> M:
        return parse(resource, await self._read(resource, Key(namespace, name)))

    async def list(
        self, resource: Resource[M], *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> list[M]:
        await self._enter("list", resource)
        view = View(resource, namespace, label_selector, field_selector)
        return [parse(resource, raw) for raw in self._select(view)]

    async def create(self, resource: Resource[M], body: M | Mapping[str, Any]) -> M:
        raw = encode(resource, body)
        await self._enter("create", resource, key_of(raw).name)
        made = self._objects.create(resource, raw)
        self.writes.append(Write("create", resource.plural, key_of(made)))
        return parse(resource, made)

    async def patch(
        self,
        resource: Resource[M],
        name: str,
        body: Mapping[str, Any] | Iterable[Mapping[str, Any]],
        *,
        namespace: str = "",
        kind: PatchKind = "merge",
        subresource: str = "",
        field_manager: str = "multinic",
    ) -> M:
        await self._enter("patch", resource, name)
        key = Key(namespace, name)
        patched = self._objects.patch(resource, key, body, kind, subresource, field_manager)
        self.writes.append(Write("patch", resource.plural, key, subresource))
        return parse(resource, patched)

    async def modify(
        self,
        resource: Resource[M],
        name: str,
        change: Callable[[M], M | None],
        *,
        namespace: str = "",
        subresource: str = "",
    ) -> M:
        key = Key(namespace, name)

        async def replace(raw: Json) -> Json:
            await self._enter("update", resource, name)
            replaced = self._objects.update(resource, key, raw, subresource)
            self.writes.append(Write("update", resource.plural, key, subresource))
            return replaced

        return await modify(resource, change, lambda: self._read(resource, key), replace)

    async def delete(
        self, resource: Resource[M], name: str, namespace: str = "", *, uid: str | None = None, orphan: bool = False
    ) -> None:
        await self._enter("delete", resource, name)
        key = Key(namespace, name)
        raw = self._objects.table(resource).get(key)
        if raw is None or uid not in (None, raw["metadata"]["uid"]):
            return
        self._objects.delete(resource, key, orphan=orphan)
        self.writes.append(Write("delete", resource.plural, key))

    # Inside

    async def _enter(self, verb: str, resource: Resource[Any], name: str = "") -> None:
        await trio.lowlevel.checkpoint()
        if resource.crd_name in self._unserved:
            raise ApiError(f"{resource.plural}: the server has no such kind", status=404, api_reason="NotFound")
        for fault in self._faults:
            wanted = (fault.verb in ("", verb), fault.resource in (None, resource), fault.name in ("", name))
            if fault.left and all(wanted):
                fault.left -= 1
                raise fault.error

    async def _read(self, resource: Resource[Any], key: Key) -> Json:
        await self._enter("get", resource, key.name)
        return self._objects.get(resource, key)

    def _select(self, view: View) -> Iterable[Json]:
        table = self._objects.table(view.resource)
        return [table[key] for key in sorted(table) if _shows(view, table[key])]

    def _seen(self, view: View) -> Iterable[Seen[Any]]:
        return [see(view.resource, raw) for raw in self._select(view)]

    def _deliver(self, resource: Resource[Any], key: Key, raw: Json | None) -> None:
        if self._stale:
            return
        for view, store in list(self._stores.items()):
            if (view.resource.group, view.resource.plural) == (resource.group, resource.plural):
                if raw is not None and _shows(view, raw):
                    store.put(see(view.resource, raw))
                else:
                    store.remove(key)
