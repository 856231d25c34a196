"""The same cases on the fake and on the real client with an API server, so that the fake is proven to be like it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
from multinic_lab.apiserver.server import ApiServer, serve_api, write_kubeconfig

from multinic_core.errors import ApiError
from multinic_core.kube import connect
from multinic_core.model import (
    DEVICE_CLASSES,
    LEASES,
    NAMESPACES,
    NETWORKS,
    OUR_RESOURCES,
    PODS,
    KubeObject,
    Resource,
)
from multinic_core.model.crd import crd
from multinic_core.ports import Key, Kubernetes
from multinic_core.testing.kube import FakeKubernetes

CRDS = Resource(
    KubeObject, "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False
)


@dataclass
class World:
    kube: Kubernetes
    settle: Callable[[Callable[[], Any]], Awaitable[Any]]
    """Waits for what a real cluster does by and by."""

    async def status(self, resource: Resource[Any], name: str, namespace: str = "") -> int:
        """200 when the object can be read, else the status of the refusal."""
        try:
            await self.kube.get(resource, name, namespace)
        except ApiError as error:
            return error.status
        return 200

    async def gone(self, resource: Resource[Any], name: str, namespace: str = "") -> bool:
        return await self.status(resource, name, namespace) == 404


async def start_real(nursery: trio.Nursery, tmp_path: Path, settle: Any) -> Kubernetes:
    server: ApiServer = await nursery.start(serve_api)
    kube = connect(str(write_kubeconfig(tmp_path / "kubeconfig", server.url)))
    for resource in OUR_RESOURCES:
        await kube.create(CRDS, crd(resource))

    async def served() -> bool:
        try:
            for resource in OUR_RESOURCES:
                await kube.list(resource)
        except ApiError:
            return False
        return True

    await settle(served)
    return kube


@pytest.fixture(params=["fake", "real"])
async def world(request: Any, nursery: trio.Nursery, tmp_path: Path, eventually: Any) -> World:
    real = request.param == "real"
    kube = await start_real(nursery, tmp_path, eventually) if real else FakeKubernetes()
    await nursery.start(kube.serve)
    for name in ("one", "two"):
        await kube.create(NAMESPACES, {"metadata": {"name": name}})
    return World(kube, eventually)


def device_class(name: str, vendor: str = "15b3", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, "spec": {"ids": [{"vendor": vendor, "products": ["1017"]}]}}


def network(name: str, **metadata: Any) -> dict[str, Any]:
    plugin = {"cniVersion": "0.3.0", "type": "ipvlan", "args": {"mode": "l3", "mtu": "1500"}}
    return {"metadata": {"name": name, **metadata}, "spec": {"subnet": "10.0.0.0/16", "ipam": "", "plugin": plugin}}


def pod(name: str, node: str, **metadata: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": "i"}]
    return {
        "metadata": {"name": name, "namespace": "one", **metadata},
        "spec": {"nodeName": node, "containers": containers},
    }


def lease(name: str, namespace: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, **metadata}, "spec": {"holderIdentity": "h"}}


async def refused(status: int, call: Any, api_reason: str = "") -> ApiError:
    with pytest.raises(ApiError) as caught:
        await call
    assert caught.value.status == status
    assert api_reason in ("", caught.value.api_reason)
    return caught.value


async def test_create_fills_in_what_the_server_gives(world):
    """A new object has uid, resourceVersion, creation time and generation 1, and no status however it was sent."""
    sent = network("n") | {"status": {"configStatus": "Success"}}
    made = await world.kube.create(NETWORKS, sent)
    assert made.metadata.uid
    assert made.metadata.resource_version
    assert made.metadata.creation_timestamp.endswith("Z")
    assert made.metadata.generation == 1
    assert made.status is None
    assert await world.kube.get(NETWORKS, "n") == made


async def test_create_twice_is_refused(world):
    """The second object of a name is 409 AlreadyExists, and modify does not take that for a conflict."""
    await world.kube.create(DEVICE_CLASSES, device_class("a"))
    await refused(409, world.kube.create(DEVICE_CLASSES, device_class("a")), "AlreadyExists")


async def test_generated_names(world):
    """generateName gives different names that start with it."""
    sent = lease("", "one", generateName="x-")
    names = {(await world.kube.create(LEASES, sent)).name for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("x-") and len(name) > 2 for name in names)


async def test_missing_objects_are_404(world):
    """Reading, changing and patching what is not there are status 404; deleting it is no error."""
    await refused(404, world.kube.get(DEVICE_CLASSES, "a"), "NotFound")
    await refused(404, world.kube.modify(DEVICE_CLASSES, "a", lambda item: item), "NotFound")
    await refused(404, world.kube.patch(DEVICE_CLASSES, "a", {"metadata": {"labels": {"x": "y"}}}), "NotFound")
    await world.kube.delete(DEVICE_CLASSES, "a")


async def test_schemas_are_enforced(world):
    """What does not fit the schema of our kinds is 422 naming the field, on create and on patch."""
    error = await refused(422, world.kube.create(DEVICE_CLASSES, device_class("a", vendor="no")), "Invalid")
    assert "vendor" in str(error)
    await world.kube.create(DEVICE_CLASSES, device_class("a"))
    await refused(422, world.kube.patch(DEVICE_CLASSES, "a", {"spec": {"ids": "none"}}), "Invalid")


async def test_generation_counts_changes_of_spec_only(world):
    """Labels and status leave the generation alone; a changed spec raises it by one."""
    await world.kube.create(NETWORKS, network("n"))
    labelled = await world.kube.patch(NETWORKS, "n", {"metadata": {"labels": {"a": "b"}}})
    assert labelled.metadata.generation == 1
    status = {"status": {"message": "m", "computeResults": [], "conditions": []}}
    reported = await world.kube.patch(NETWORKS, "n", status, subresource="status")
    assert reported.metadata.generation == 1
    edited = await world.kube.patch(NETWORKS, "n", {"spec": {"subnet": "10.1.0.0/16"}})
    assert edited.metadata.generation == 2


async def test_writes_without_a_difference_keep_the_version(world):
    """Writing what is there already is no change: same resourceVersion, and no watcher is told."""
    made = await world.kube.create(DEVICE_CLASSES, device_class("a", labels={"x": "y"}))
    same = await world.kube.patch(DEVICE_CLASSES, "a", {"metadata": {"labels": {"x": "y"}}})
    assert same.metadata.resource_version == made.metadata.resource_version


async def test_status_and_the_rest_are_written_apart(world):
    """The object's endpoint ignores status, and the status endpoint ignores the rest."""
    await world.kube.create(NETWORKS, network("n"))
    both = {"spec": {"subnet": "10.1.0.0/16"}, "status": {"message": "m"}}
    main = await world.kube.patch(NETWORKS, "n", both)
    assert (main.spec.subnet, main.status) == ("10.1.0.0/16", None)
    both = {"spec": {"subnet": "10.2.0.0/16"}, "status": {"message": "m"}}
    status = await world.kube.patch(NETWORKS, "n", both, subresource="status")
    assert (status.spec.subnet, status.status.message) == ("10.1.0.0/16", "m")
    modified = await world.kube.modify(NETWORKS, "n", with_message("other"), subresource="status")
    assert modified.status.message == "other"
    assert (await world.kube.get(NETWORKS, "n")).status.message == "other"


def with_message(message):
    def change(item):
        return item.model_copy(update={"status": item.status.model_copy(update={"message": message})})

    return change


async def test_kinds_without_status_have_no_such_subresource(world):
    """A status written where there is none is 404, not lost in silence."""
    await world.kube.create(LEASES, lease("l", "one"))
    await refused(404, world.kube.patch(LEASES, "l", {"status": {}}, namespace="one", subresource="status"))


async def test_a_stale_version_is_a_conflict(world):
    """A patch that names an older resourceVersion is a conflict, one with another uid invalid; nothing is changed."""
    made = await world.kube.create(DEVICE_CLASSES, device_class("a"))
    await world.kube.patch(DEVICE_CLASSES, "a", {"metadata": {"labels": {"x": "y"}}})
    stale = {"metadata": {"resourceVersion": made.metadata.resource_version, "labels": {"x": "z"}}}
    await refused(409, world.kube.patch(DEVICE_CLASSES, "a", stale), "Conflict")
    await refused(422, world.kube.patch(DEVICE_CLASSES, "a", {"metadata": {"uid": "other"}}), "Invalid")
    assert (await world.kube.get(DEVICE_CLASSES, "a")).metadata.labels == {"x": "y"}


async def test_modify_loses_no_update(world):
    """Many that modify one object at once all get their change in."""
    await world.kube.create(LEASES, lease("l", "one"))

    def count(item):
        spec = item.spec.model_copy(update={"lease_transitions": (item.spec.lease_transitions or 0) + 1})
        return item.model_copy(update={"spec": spec})

    async def one():
        await world.kube.modify(LEASES, "l", count, namespace="one")

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(one)
    assert (await world.kube.get(LEASES, "l", "one")).spec.lease_transitions == 4


async def test_modify_removes_fields_set_to_none(world):
    """None in the changed model takes the field away."""
    await world.kube.create(DEVICE_CLASSES, device_class("a", labels={"x": "y"}, annotations={"k": "v"}))

    def unlabel(item):
        return item.model_copy(update={"metadata": item.metadata.model_copy(update={"labels": None})})

    changed = await world.kube.modify(DEVICE_CLASSES, "a", unlabel)
    assert (changed.metadata.labels, changed.metadata.annotations) == (None, {"k": "v"})


async def test_merge_patches(world):
    """null removes, objects merge, lists are replaced."""
    await world.kube.create(DEVICE_CLASSES, device_class("a", labels={"x": "y", "z": "0"}))
    ids = [{"vendor": "8086", "products": []}]
    patch = {"metadata": {"labels": {"x": None, "new": "1"}}, "spec": {"ids": ids}}
    changed = await world.kube.patch(DEVICE_CLASSES, "a", patch)
    assert changed.metadata.labels == {"z": "0", "new": "1"}
    assert [entry.vendor for entry in changed.spec.ids] == ["8086"]


async def test_json_patches(world):
    """Operations apply in order; a failed test or an absent path is 422 and changes nothing."""
    await world.kube.create(DEVICE_CLASSES, device_class("a", labels={"x/y": "1"}))
    operations = [
        {"op": "test", "path": "/metadata/labels/x~1y", "value": "1"},
        {"op": "replace", "path": "/metadata/labels/x~1y", "value": "2"},
        {"op": "add", "path": "/spec/ids/0/products/-", "value": "101b"},
        {"op": "copy", "from": "/spec/ids/0", "path": "/spec/ids/-"},
        {"op": "remove", "path": "/spec/ids/0/products/0"},
    ]
    changed = await world.kube.patch(DEVICE_CLASSES, "a", operations, kind="json")
    assert changed.metadata.labels == {"x/y": "2"}
    assert [entry.products for entry in changed.spec.ids] == [["101b"], ["1017", "101b"]]
    for wrong in (operations[0], {"op": "remove", "path": "/spec/absent"}):
        await refused(422, world.kube.patch(DEVICE_CLASSES, "a", [wrong], kind="json"))
    assert await world.kube.get(DEVICE_CLASSES, "a") == changed


async def test_apply_creates_updates_and_withdraws(world):
    """Apply creates what is missing, merges into what is there, and removes what its manager no longer names."""
    body = {"metadata": {"labels": {"mine": "1", "also": "1"}}, "spec": device_class("a")["spec"]}
    made = await world.kube.patch(DEVICE_CLASSES, "a", body, kind="apply", field_manager="m")
    assert made.metadata.generation == 1
    await world.kube.patch(DEVICE_CLASSES, "a", {"metadata": {"labels": {"theirs": "1"}}})
    body = {"metadata": {"labels": {"mine": "2"}}, "spec": device_class("a")["spec"]}
    changed = await world.kube.patch(DEVICE_CLASSES, "a", body, kind="apply", field_manager="m")
    assert changed.metadata.labels == {"mine": "2", "theirs": "1"}
    again = await world.kube.patch(DEVICE_CLASSES, "a", body, kind="apply", field_manager="m")
    assert again.metadata.resource_version == changed.metadata.resource_version


async def test_applied_status(world):
    """Apply through the status subresource writes status alone, and needs the object."""
    status = {"status": {"message": "m", "computeResults": [], "conditions": []}}
    patch = {"kind": "apply", "subresource": "status", "field_manager": "m"}
    await refused(404, world.kube.patch(NETWORKS, "n", status, **patch), "NotFound")
    await world.kube.create(NETWORKS, network("n"))
    changed = await world.kube.patch(NETWORKS, "n", status, **patch)
    assert (changed.status.message, changed.metadata.generation) == ("m", 1)


async def test_finalizers_hold_an_object(world):
    """A deleted object with a finalizer stays, marked, takes no new finalizer, and goes with its last one."""
    made = await world.kube.create(DEVICE_CLASSES, device_class("a", finalizers=["f.io/1", "f.io/2"]))
    await world.kube.delete(DEVICE_CLASSES, "a", uid=made.metadata.uid)
    marked = await world.kube.get(DEVICE_CLASSES, "a")
    assert marked.metadata.deletion_timestamp
    assert marked.metadata.finalizers == ["f.io/1", "f.io/2"]
    added = {"metadata": {"finalizers": ["f.io/1", "f.io/3"]}}
    await refused(422, world.kube.patch(DEVICE_CLASSES, "a", added), "Invalid")
    await world.kube.delete(DEVICE_CLASSES, "a")
    assert (await world.kube.get(DEVICE_CLASSES, "a")).metadata.deletion_timestamp == marked.metadata.deletion_timestamp
    await world.kube.patch(DEVICE_CLASSES, "a", {"metadata": {"finalizers": ["f.io/2"]}})
    assert not await world.gone(DEVICE_CLASSES, "a")
    await world.kube.patch(DEVICE_CLASSES, "a", {"metadata": {"finalizers": None}})
    assert await world.gone(DEVICE_CLASSES, "a")


async def test_delete_spares_another_uid(world):
    """A delete for an object that was replaced under its name leaves the new one alone."""
    await world.kube.create(DEVICE_CLASSES, device_class("a"))
    await world.kube.delete(DEVICE_CLASSES, "a", uid="00000000-0000-0000-0000-000000000000")
    assert not await world.gone(DEVICE_CLASSES, "a")
    await world.kube.delete(DEVICE_CLASSES, "a")
    assert await world.gone(DEVICE_CLASSES, "a")


def owned_by(*owners):
    return [
        {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.metadata.uid}
        for owner in owners
    ]


async def test_dependents_follow_their_last_owner(world):
    """What an object owns goes with it, level by level, unless another owner is left."""
    first = await world.kube.create(NETWORKS, network("first"))
    second = await world.kube.create(NETWORKS, network("second"))
    both = await world.kube.create(DEVICE_CLASSES, device_class("both", ownerReferences=owned_by(first, second)))
    child = await world.kube.create(DEVICE_CLASSES, device_class("child", ownerReferences=owned_by(first)))
    await world.kube.create(LEASES, lease("grandchild", "one", ownerReferences=owned_by(child)))
    await world.kube.delete(NETWORKS, "first")
    await world.settle(lambda: world.gone(LEASES, "grandchild", "one"))
    await world.settle(lambda: world.gone(DEVICE_CLASSES, "child"))
    assert (await world.kube.get(DEVICE_CLASSES, "both")).metadata.uid == both.metadata.uid
    await world.kube.delete(NETWORKS, "second")
    await world.settle(lambda: world.gone(DEVICE_CLASSES, "both"))


async def test_orphans_stay_without_an_owner(world):
    """Deleted with ``orphan``, an object leaves what it owned there, and an owner less on it."""
    first = await world.kube.create(NETWORKS, network("first"))
    second = await world.kube.create(NETWORKS, network("second"))
    await world.kube.create(DEVICE_CLASSES, device_class("both", ownerReferences=owned_by(first, second)))
    await world.kube.create(DEVICE_CLASSES, device_class("child", ownerReferences=owned_by(first)))
    await world.kube.delete(NETWORKS, "first", uid=first.metadata.uid, orphan=True)
    await world.settle(lambda: world.gone(NETWORKS, "first"))
    assert not (await world.kube.get(DEVICE_CLASSES, "child")).metadata.owner_references
    (left,) = (await world.kube.get(DEVICE_CLASSES, "both")).metadata.owner_references
    assert left.uid == second.metadata.uid


async def test_a_namespace_takes_its_objects_along(world):
    """Deleting a namespace deletes what is in it, and nothing elsewhere."""
    for namespace in ("one", "two"):
        await world.kube.create(LEASES, lease("l", namespace))
    await world.kube.delete(NAMESPACES, "one")
    await world.settle(lambda: world.gone(NAMESPACES, "one"))
    assert await world.gone(LEASES, "l", "one")
    assert not await world.gone(LEASES, "l", "two")


async def test_lists_and_their_selectors(world):
    """Lists are sorted by namespace and name, and keep to namespace, labels and fields."""
    for name, namespace, label in (("b", "one", "x"), ("a", "two", "x"), ("a", "one", "y")):
        await world.kube.create(LEASES, lease(name, namespace, labels={"l": label}))

    async def names(**selection):
        return [(item.namespace, item.name) for item in await world.kube.list(LEASES, **selection)]

    assert await names() == [("one", "a"), ("one", "b"), ("two", "a")]
    assert await names(namespace="one") == [("one", "a"), ("one", "b")]
    assert await names(label_selector="l=x") == [("one", "b"), ("two", "a")]
    assert await names(label_selector="l!=x") == [("one", "a")]
    assert await names(label_selector="l in (y,z)") == [("one", "a")]
    assert await names(label_selector="!l") == []
    assert await names(field_selector="metadata.name=a", namespace="two") == [("two", "a")]
    for node in ("n1", "n2"):
        await world.kube.create(PODS, pod(f"p-{node}", node))
    assert [item.name for item in await world.kube.list(PODS, field_selector="spec.nodeName=n2")] == ["p-n2"]


async def test_stores_follow(world):
    """A store shows and announces what is created, changed and deleted."""
    store = world.kube.store(DEVICE_CLASSES)
    with trio.fail_after(60):
        await store.wait_synced()
    assert store.synced
    announced = []
    store.subscribe(announced.append)
    await world.kube.create(DEVICE_CLASSES, device_class("a"))
    await world.settle(lambda: store.get("a"))
    await world.kube.patch(DEVICE_CLASSES, "a", {"spec": {"ids": []}})
    await world.settle(lambda: store.get("a").spec.ids == [])
    assert store.get("a") == await world.kube.get(DEVICE_CLASSES, "a")
    await world.kube.delete(DEVICE_CLASSES, "a")
    await world.settle(lambda: store.get("a") is None)
    assert announced == [Key("", "a")] * 3
    late = []
    await world.kube.create(DEVICE_CLASSES, device_class("b"))
    await world.settle(lambda: store.get("b"))
    store.subscribe(late.append)
    assert late == [Key("", "b")]


async def test_stores_keep_to_their_selectors(world):
    """An object that stops to match leaves the store, and comes back when it matches again."""
    chosen = world.kube.store(LEASES, namespace="one", label_selector="l=x")
    assert world.kube.store(LEASES, namespace="one", label_selector="l=x") is chosen
    with trio.fail_after(60):
        await chosen.wait_synced()
    await world.kube.create(LEASES, lease("a", "two", labels={"l": "x"}))
    await world.kube.create(LEASES, lease("a", "one", labels={"l": "x"}))
    await world.settle(lambda: chosen.get("a", "one"))
    assert [item.namespace for item in chosen.list()] == ["one"]
    await world.kube.patch(LEASES, "a", {"metadata": {"labels": {"l": "y"}}}, namespace="one")
    await world.settle(lambda: chosen.get("a", "one") is None)
    await world.kube.patch(LEASES, "a", {"metadata": {"labels": {"l": "x"}}}, namespace="one")
    await world.settle(lambda: chosen.get("a", "one"))
    assert chosen.list("two") == []
