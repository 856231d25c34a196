"""Where the API serves objects, and which of them a store or a list is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from multinic_core.kube.objects import describe
from multinic_core.model.base import Resource
from multinic_core.ports import Key


def collection_path(resource: Resource[Any], namespace: str) -> str:
    """Path of a kind's objects, of all namespaces when ``namespace`` is ""."""
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    if not namespace:
        return f"{root}/{resource.plural}"
    if not resource.namespaced:
        raise ValueError(f"{resource.plural}: namespace {namespace!r} given, but the kind has none")
    return f"{root}/namespaces/{quote(namespace, safe='')}/{resource.plural}"


def object_path(resource: Resource[Any], key: Key, subresource: str = "") -> str:
    """Path of one object or of one of its subresources."""
    if resource.namespaced and not key.namespace:
        raise ValueError(f"{describe(resource, key)}: a namespace is needed")
    if not key.name:
        raise ValueError(f"{resource.plural}: a name is needed")
    path = f"{collection_path(resource, key.namespace)}/{quote(key.name, safe='')}"
    return f"{path}/{subresource}" if subresource else path


class View(NamedTuple):
    """The objects that a store or a list is about."""

    resource: Resource[Any]
    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""

    @property
    def path(self) -> str:
        return collection_path(self.resource, self.namespace)

    @property
    def query(self) -> Mapping[str, str]:
        selectors = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        return {name: value for name, value in selectors.items() if value}

    def __str__(self) -> str:
        selectors = "&".join(self.query.values())
        place = f" in {self.namespace}" if self.namespace else ""
        return self.resource.plural + place + (f" with {selectors}" if selectors else "")
