"""The real client against the lab's API server while that one misbehaves."""

import random

import pytest
import trio
from multinic_lab.apiserver.server import serve_api, write_kubeconfig

from multinic_core.kube import connect, reflector
from multinic_core.model import LEASES, NAMESPACES


def lease(name):
    return {"metadata": {"name": name, "namespace": "one"}, "spec": {"holderIdentity": "h"}}


async def start(nursery, tmp_path, port=0):
    scope = trio.CancelScope()

    async def serve(*, task_status):
        with scope:
            await serve_api(port=port, task_status=task_status)

    server = await nursery.start(serve)
    kube = connect(str(write_kubeconfig(tmp_path / "kubeconfig", server.url)))
    await kube.create(NAMESPACES, {"metadata": {"name": "one"}})
    return server, kube, scope


def agreement(store, kube):
    """The condition that the store shows exactly what the server has."""

    async def agree():
        return store.list() == await kube.list(LEASES)

    return agree


@pytest.mark.parametrize("orderly", [True, False])
async def test_nothing_is_missed_over_broken_watches(nursery, tmp_path, eventually, orderly):
    """Watches cut in the middle of changes lose none, and announce each object as often as it changed at most."""
    server, kube, _ = await start(nursery, tmp_path)
    store = kube.store(LEASES)
    await nursery.start(kube.serve)
    await store.wait_synced()
    announced = []
    store.subscribe(announced.append)
    chance = random.Random(1)
    for number in range(60):
        await kube.create(LEASES, lease(f"l{number}"))
        if number % 3 == 0:
            await kube.delete(LEASES, f"l{chance.randrange(number + 1)}", "one")
        if number % 10 == 0:
            server.faults.drop_watches(orderly=orderly)
    await eventually(agreement(store, kube))
    assert len(announced) == 60 + 60 - len(store.list())
    assert server.faults.drop_watches() == 1


async def test_a_server_that_lost_everything_is_followed(nursery, tmp_path, eventually, monkeypatch):
    """A server restarted from nothing on the same address is believed once it has said so long enough."""
    monkeypatch.setattr(reflector, "OLD_LIST_SECONDS", 0.2)
    server, kube, scope = await start(nursery, tmp_path)
    store = kube.store(LEASES)
    await nursery.start(kube.serve)
    for number in range(20):
        await kube.create(LEASES, lease(f"old{number}"))
    await eventually(agreement(store, kube))
    scope.cancel()
    with trio.fail_after(60):
        while True:
            try:
                _, kube_again, _ = await start(nursery, tmp_path, server.port)
                break
            except OSError:
                await trio.sleep(0.05)
    await kube_again.create(LEASES, lease("new"))
    await eventually(agreement(store, kube_again))
    assert [item.name for item in store.list()] == ["new"]


async def test_a_write_whose_answer_was_lost_is_done_once(nursery, tmp_path):
    """A patch that took effect but was answered with an error is sent again and changes nothing more."""
    server, kube, _ = await start(nursery, tmp_path)
    await kube.create(LEASES, lease("l"))
    server.faults.fail(500, method="PATCH", after=True)
    patched = await kube.patch(LEASES, "l", {"spec": {"holderIdentity": "other"}}, namespace="one")
    assert patched.spec.holder_identity == "other"
    server.faults.fail(500, method="PUT", after=True)
    modified = await kube.modify(
        LEASES,
        "l",
        lambda item: item.model_copy(
            update={"spec": item.spec.model_copy(update={"lease_transitions": (item.spec.lease_transitions or 0) + 1})}
        ),
        namespace="one",
    )
    # The second PUT carries the version that was read, so it conflicts, and the change is made anew on what is there.
    assert modified.spec.lease_transitions == 2
