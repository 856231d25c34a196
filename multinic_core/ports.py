"""The outside worlds as small protocols: the Kubernetes API and the local stores that mirror it.

:mod:`multinic_core.kube` implements :class:`Kubernetes` on the official client, and
:mod:`multinic_core.testing` has a fake. Operator and daemon know only these protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import trio

from multinic_core.model.base import KubeObject, Resource

M = TypeVar("M", bound=KubeObject)


class Key(NamedTuple):
    """Names one object of a kind; ``namespace`` is "" for cluster-scoped kinds."""

    namespace: str
    name: str


PatchKind = Literal["merge", "json", "apply"]


class Store(Protocol[M]):
    """A local copy of the objects of one kind, kept current by list-then-watch.

    Reading never blocks and never calls the API. An object that does not fit its model is absent from ``get`` and
    ``list`` and named in ``invalid``.
    """

    def get(self, name: str, namespace: str = "") -> M | None: ...

    def list(self, namespace: str | None = None) -> list[M]:
        """Objects sorted by (namespace, name); of all namespaces when None."""
        ...

    @property
    def invalid(self) -> Mapping[Key, str]:
        """Objects that do not fit the model, with the reason."""
        ...

    @property
    def synced(self) -> bool:
        """Whether a first complete list has arrived."""
        ...

    async def wait_synced(self) -> None: ...

    def subscribe(self, changed: Callable[[Key], None]) -> None:
        """Call ``changed`` with the key of each object added, changed or removed, after the store shows it.

        Objects already present are announced at once. The callback must be quick and must not raise.
        """
        ...


class Kubernetes(Protocol):
    """The Kubernetes API, under trio. Every call is bounded and raises ``ApiError`` on failure."""

    def store(
        self,
        resource: Resource[M],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> Store[M]:
        """The store of these objects; the same arguments give the same store. Filled while ``serve`` runs."""
        ...

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep all stores current, those asked for later too; never returns. ``started()`` is called at once."""
        ...

    async def get(self, resource: Resource[M], name: str, namespace: str = "") -> M: ...

    async def list(
        self,
        resource: Resource[M],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> list[M]: ...

    async def create(self, resource: Resource[M], body: M | Mapping[str, Any]) -> M: ...

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
        """Patch one object. ``kind="apply"`` is server-side apply, forced, and creates what is missing."""
        ...

    async def modify(
        self,
        resource: Resource[M],
        name: str,
        change: Callable[[M], M | None],
        *,
        namespace: str = "",
        subresource: str = "",
    ) -> M:
        """Read, change, and replace with the resourceVersion read; again on conflict, a limited number of times.

        Args:
            change: pure; gets the object as read and gives the wanted one, or None to leave it as it is.
        """
        ...

    async def delete(
        self, resource: Resource[M], name: str, namespace: str = "", *, uid: str | None = None, orphan: bool = False
    ) -> None:
        """Delete one object, only if it has this ``uid`` when one is given. What is already gone is no error.

        Args:
            orphan: leave what it owns, ownerless; else that goes too, in the background.
        """
        ...
