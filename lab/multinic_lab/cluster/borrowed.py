"""A Kubernetes cluster that somebody lends for tests: left as it was found.

Our kinds are cluster-wide and an operator works on all of them, so the cluster must have none of our objects. Whatever
of them is there in the end is removed, whoever holds it; so are the kinds themselves unless they were there before.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from multinic_core.errors import ApiError, ConfigError
from multinic_core.model import (
    ATTACHMENT_DEFINITIONS,
    NAMESPACES,
    NODES,
    OUR_RESOURCES,
    KubeObject,
    Resource,
)
from multinic_core.ports import Key, Kubernetes

DEFINITIONS: Resource[KubeObject] = Resource(
    KubeObject, "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False
)
OURS: tuple[Resource[Any], ...] = OUR_RESOURCES
TEST_NODES = re.compile(r"node-\d+")
"""Names of Nodes that tests make; only such are removed."""
SERVED_SECONDS = 30.0
"""Until a kind that was just defined can be listed."""
GONE_SECONDS = 60.0
LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Borrowed:
    """What the cluster had before, as far as it matters for leaving it so."""

    namespace: str
    """For the operator: its own, not made yet."""
    kinds: frozenset[str]
    nodes: frozenset[str]
    definitions: frozenset[Key]
    """Attachment definitions, of whoever."""


@asynccontextmanager
async def borrow(kube: Kubernetes, manifests: Iterable[Mapping[str, Any]]) -> AsyncIterator[Borrowed]:
    """Define these kinds, where they are missing, for as long as the block lasts; then remove all that came with it.

    Args:
        kube: the cluster; may define kinds and delete anything.
        manifests: CustomResourceDefinitions; those of our kinds and of attachment definitions.

    Raises:
        ConfigError: there are objects of our kinds, or a Node of the name of a test's; nothing was touched.
        trio.TooSlowError: a kind is not served, or something does not go.
    """
    kinds = frozenset(found.name for found in await kube.list(DEFINITIONS))
    there = [
        f"{resource.kind} {item.name!r}"
        for resource in OURS
        if resource.crd_name in kinds
        for item in await kube.list(resource)
    ]
    nodes = frozenset(node.name for node in await kube.list(NODES))
    there += [f"Node {name!r}" for name in sorted(nodes) if TEST_NODES.fullmatch(name)]
    if there:
        raise ConfigError(f"cluster lent for tests: found {', '.join(there)}, expected no objects of multinic")
    definitions: frozenset[Key] = frozenset()
    if ATTACHMENT_DEFINITIONS.crd_name in kinds:
        definitions = frozenset(Key(i.namespace, i.name) for i in await kube.list(ATTACHMENT_DEFINITIONS))
    before = Borrowed(f"multinic-test-{secrets.token_hex(4)}", kinds, nodes, definitions)
    try:
        for manifest in manifests:
            if manifest["metadata"]["name"] not in kinds:
                await kube.create(DEFINITIONS, manifest)
        with trio.fail_after(SERVED_SECONDS):
            for resource in (*OURS, ATTACHMENT_DEFINITIONS):
                while not await _served(kube, resource):  # noqa: ASYNC110 -- the server tells nobody
                    await trio.sleep(LOOK_SECONDS)
        yield before
    finally:
        with trio.CancelScope(shield=True):
            await _give_back(kube, before)


async def _served(kube: Kubernetes, resource: Resource[Any]) -> bool:
    try:
        await kube.list(resource)
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return True


async def _give_back(kube: Kubernetes, before: Borrowed) -> None:
    now = {found.name for found in await kube.list(DEFINITIONS)}
    with trio.fail_after(GONE_SECONDS):
        for resource in OURS:
            while resource.crd_name in now and (items := await kube.list(resource)):
                for item in items:
                    await _remove(kube, resource, item)
        if ATTACHMENT_DEFINITIONS.crd_name in now:
            for item in await kube.list(ATTACHMENT_DEFINITIONS):
                if Key(item.namespace, item.name) not in before.definitions:
                    await _remove(kube, ATTACHMENT_DEFINITIONS, item)
        for node in await kube.list(NODES):
            if node.name not in before.nodes and TEST_NODES.fullmatch(node.name):
                await kube.delete(NODES, node.name)
        await kube.delete(NAMESPACES, before.namespace)
        for name in (now - before.kinds) & _our_kinds():
            await kube.delete(DEFINITIONS, name)
        while {found.name for found in await kube.list(DEFINITIONS)} & (_our_kinds() - before.kinds):  # noqa: ASYNC110 -- nor here
            await trio.sleep(LOOK_SECONDS)


def _our_kinds() -> frozenset[str]:
    return frozenset(resource.crd_name for resource in (*OURS, ATTACHMENT_DEFINITIONS))


async def _remove(kube: Kubernetes, resource: Resource[Any], item: KubeObject) -> None:
    """Delete an object whatever holds it: what would have let it go has ended."""
    await kube.delete(resource, item.name, item.namespace)
    if not item.metadata.finalizers:
        return
    try:
        await kube.patch(resource, item.name, {"metadata": {"finalizers": None}}, namespace=item.namespace)
    except ApiError as error:
        if error.status != 404:
            raise
