"""What the fake offers to tests beyond the port."""

import pytest

from multinic_core.errors import ApiError
from multinic_core.model import DEVICE_CLASSES, LEASES, NETWORKS, PODS
from multinic_core.ports import Key
from multinic_core.testing.kube import FakeKubernetes, Write


def device_class(name):
    return {"metadata": {"name": name}, "spec": {"ids": []}}


def lease(name):
    return {"metadata": {"name": name, "namespace": "s"}, "spec": {"holderIdentity": "h"}}


def test_seeding_needs_no_event_loop_and_keeps_status():
    """Objects are there before trio runs, with their status, in stores asked for before and after."""
    fake = FakeKubernetes()
    before = fake.store(PODS)
    fake.seed(PODS, {"metadata": {"name": "p", "namespace": "s"}, "status": {"phase": "Running"}})
    assert before.synced
    assert before.get("p", "s").status.phase == "Running"
    assert fake.store(PODS, namespace="s").get("p", "s") == before.get("p", "s")
    assert fake.writes == []


async def test_writes_are_logged_and_counted():
    """The log tells successful writes by verb, resource, key and subresource; modify is an update."""
    fake = FakeKubernetes()
    await fake.create(LEASES, lease("l"))
    await fake.patch(LEASES, "l", {"spec": {"holderIdentity": "x"}}, namespace="s")
    await fake.modify(LEASES, "l", lambda item: None, namespace="s")
    await fake.delete(LEASES, "l", "s")
    await fake.delete(LEASES, "l", "s")
    await fake.create(DEVICE_CLASSES, device_class("a"))
    assert fake.writes[:3] == [Write(verb, "leases", Key("s", "l")) for verb in ("create", "patch", "delete")]
    assert (fake.count(), fake.count("create"), fake.count(resource=LEASES)) == (4, 2, 3)
    assert fake.count("create", LEASES) == 1


async def test_faults_hit_what_they_name_and_end():
    """An injected error meets the next matching calls, as often as asked, and changes nothing."""
    fake = FakeKubernetes()
    away = ApiError("away", status=503)
    fake.fail(away, verb="create", resource=LEASES, name="l", times=2)
    await fake.create(DEVICE_CLASSES, device_class("a"))
    await fake.create(LEASES, lease("other"))
    for _ in range(2):
        with pytest.raises(ApiError, match="away"):
            await fake.create(LEASES, lease("l"))
    assert fake.count("create") == 2
    await fake.create(LEASES, lease("l"))


async def test_injected_conflicts_are_met_by_modify():
    """A few conflicts are worked through as in the real port; too many come out."""
    fake = FakeKubernetes()
    fake.seed(LEASES, lease("l"))
    conflict = ApiError("conflict", status=409, api_reason="Conflict")

    def rename(item):
        return item.model_copy(update={"spec": item.spec.model_copy(update={"holder_identity": "new"})})

    fake.fail(conflict, verb="update", times=2)
    assert (await fake.modify(LEASES, "l", rename, namespace="s")).spec.holder_identity == "new"
    fake.seed(LEASES, lease("m"))
    fake.fail(conflict, verb="update", times=100)
    with pytest.raises(ApiError, match="conflict"):
        await fake.modify(LEASES, "m", rename, namespace="s")


async def test_stale_stores_catch_up_at_the_end():
    """Within ``stale`` stores hear of nothing; after it each object that differs is announced once."""
    fake = FakeKubernetes()
    fake.seed(DEVICE_CLASSES, device_class("a"), device_class("b"))
    store, announced = fake.store(DEVICE_CLASSES), []
    store.subscribe(lambda key: announced.append(key.name))
    announced.clear()
    with fake.stale():
        await fake.delete(DEVICE_CLASSES, "a")
        await fake.patch(DEVICE_CLASSES, "b", {"metadata": {"labels": {"x": "y"}}})
        late = fake.store(LEASES)
        assert not late.synced
        assert [item.name for item in store.list()] == ["a", "b"]
        assert (await fake.get(DEVICE_CLASSES, "b")).metadata.labels == {"x": "y"}
    assert announced == ["a", "b"]
    assert [item.metadata.labels for item in store.list()] == [{"x": "y"}]
    assert late.synced


async def test_misfits_can_be_seeded():
    """An object that its model refuses is ``invalid`` in stores and an error of the API when read."""
    fake = FakeKubernetes()
    store, announced = fake.store(NETWORKS), []
    store.subscribe(announced.append)
    fake.seed_invalid(NETWORKS, {"metadata": {"name": "n"}, "spec": {"ipam": 5}})
    assert announced == [Key("", "n")]
    assert "spec.ipam" in store.invalid[Key("", "n")]
    assert store.list() == []
    with pytest.raises(ApiError, match="does not fit"):
        await fake.get(NETWORKS, "n")
    with pytest.raises(ApiError, match="does not fit"):
        await fake.list(NETWORKS)
    await fake.delete(NETWORKS, "n")
    assert store.invalid == {}


def test_raw_gives_the_stored_json():
    """Fields that our models lack can be looked at, and the copy may be changed freely."""
    fake = FakeKubernetes()
    fake.seed(PODS, {"metadata": {"name": "p", "namespace": "s"}, "spec": {"hostNetwork": True}})
    fake.raw(PODS, "p", "s")["spec"].clear()
    assert fake.raw(PODS, "p", "s")["spec"] == {"hostNetwork": True}
