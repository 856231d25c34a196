"""The Kubernetes port on one API server: stores that reflectors keep current, and single reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar, cast

import trio

from multinic_core.errors import ApiError
from multinic_core.kube.answers import json_object
from multinic_core.kube.calls import Caller, Request
from multinic_core.kube.client import Client
from multinic_core.kube.listing import list_all
from multinic_core.kube.modify import modify
from multinic_core.kube.objects import Json, describe, fitting, parse
from multinic_core.kube.paths import View, object_path
from multinic_core.kube.reflector import Reflector
from multinic_core.kube.store import LocalStore
from multinic_core.kube.writes import create_request, delete_request, patch_request, update_request
from multinic_core.model.base import KubeObject, Resource
from multinic_core.ports import Key, PatchKind, Store

M = TypeVar("M", bound=KubeObject)


class Api:
    """As :class:`multinic_core.ports.Kubernetes`; made by :func:`multinic_core.kube.connect`."""

    def __init__(self, client: Client, writing: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        self._caller = Caller(client, writing)
        self._stores: dict[View, LocalStore[Any]] = {}
        self._nursery: trio.Nursery | None = None

    def store(
        self, resource: Resource[M], *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> Store[M]:
        view = View(resource, namespace, label_selector, field_selector)
        if view not in self._stores:
            self._stores[view] = LocalStore(resource)
            if self._nursery is not None:
                self._start(self._nursery, view)
        return cast("Store[M]", self._stores[view])

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        if self._nursery is not None:
            raise RuntimeError("serve is running already")
        try:
            async with trio.open_nursery() as self._nursery:
                for view in self._stores:
                    self._start(self._nursery, view)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    async def get(self, resource: Resource[M], name: str, namespace: str = "") -> M:
        return parse(resource, await self._read(resource, Key(namespace, name)))

    async def list(
        self, resource: Resource[M], *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> list[M]:
        items, _ = await list_all(View(resource, namespace, label_selector, field_selector), self._caller.call)
        return [fitting(resource, item) for item in sorted(items, key=attrgetter("key"))]

    async def create(self, resource: Resource[M], body: M | Mapping[str, Any]) -> M:
        return parse(resource, await self._send(create_request(resource, body)))

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
        request = patch_request(resource, Key(namespace, name), body, kind, subresource, field_manager)
        return parse(resource, await self._send(request))

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
            return await self._send(update_request(resource, key, raw, subresource))

        return await modify(resource, change, partial(self._read, resource, key), replace)

    async def delete(
        self, resource: Resource[M], name: str, namespace: str = "", *, uid: str | None = None, orphan: bool = False
    ) -> None:
        key = Key(namespace, name)
        try:
            await self._send(delete_request(resource, key, uid, orphan=orphan))
        except ApiError as error:
            if error.status == 404:
                return
            if error.status != 409 or uid is None or await self._exists(resource, key, uid):
                raise

    async def _exists(self, resource: Resource[M], key: Key, uid: str) -> bool:
        try:
            raw = await self._read(resource, key)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return bool(raw["metadata"].get("uid") == uid)

    async def _read(self, resource: Resource[Any], key: Key) -> Json:
        return await self._send(Request("GET", object_path(resource, key), f"get {describe(resource, key)}"))

    async def _send(self, request: Request) -> Json:
        return await self._caller.call(request, partial(json_object, request.subject))

    def _start(self, nursery: trio.Nursery, view: View) -> None:
        nursery.start_soon(Reflector(self._caller, view, self._stores[view]).serve, name=f"reflector of {view}")
