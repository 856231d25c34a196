"""Killed after any write and started again, the operator ends where an undisturbed one ends."""

from __future__ import annotations

from typing import Any

import pytest
from multinic_operator import serve

from multinic_core.errors import ApiError
from multinic_core.model import NETWORKS, NODES


class Killed(BaseException):
    """The process is gone: nothing of ours runs any more."""


def prepare(cluster: Any) -> None:
    cluster.namespace("blue")
    cluster.node("node-1", {"eth1": "10.0.1.1/24", "eth2": "10.0.2.1/24"})
    cluster.node("node-2", {"eth1": "10.0.1.2/24", "eth2": "10.0.2.2/24"})
    cluster.network()
    cluster.network("l2", subnet=None, ipam={"type": "multi-nic-ipam", "hostBlock": 2, "vlanMode": "l2"})


async def change(cluster: Any) -> None:
    """A node and a network go, a node comes, a NIC moves, an edit: everything at once."""
    await cluster.kube.delete(NODES, "node-1")
    cluster.node("node-0", {"eth1": "10.0.1.3/24", "eth2": "10.0.2.3/24"})
    await cluster.rewire("node-2", {"eth1": "10.0.1.2/24", "eth2": "10.0.3.2/24"})
    await cluster.edit(namespaces=["blue"])
    await cluster.kube.delete(NETWORKS, "l2")


async def undisturbed(make: Any) -> tuple[Any, Any, int, int]:
    """State after the first part and after the second, with how many writes each took."""
    cluster = make()
    prepare(cluster)
    await cluster.settle()
    first, writes = cluster.state(), cluster.kube.count()
    await change(cluster)
    before = cluster.kube.count()
    await cluster.settle()
    return first, cluster.state(), writes, cluster.kube.count() - before


async def run_until_killed(cluster: Any, writes: int) -> None:
    """An operator that is gone right after this many writes have reached the API."""
    kube = cluster.kube
    allowed = kube.count() + writes

    class Log(list[Any]):
        def append(self, item: Any) -> None:
            super().append(item)
            if len(self) >= allowed:
                raise Killed

    kube.writes = Log(kube.writes)
    with pytest.raises(BaseExceptionGroup) as caught:
        await cluster.settle()
    assert caught.value.split(Killed)[1] is None
    kube.writes = list(kube.writes)


async def test_killed_after_any_write(cluster_maker: Any, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every N: killed after the Nth write of the beginning and of the change, then run to the end."""
    monkeypatch.setattr(serve, "WRITES_AT_ONCE", 1)  # indexes are written in their order, so none is skipped
    first, second, first_writes, second_writes = await undisturbed(cluster_maker)
    assert first_writes >= 20
    assert second_writes >= 15
    for number in range(1, first_writes + 1):
        cluster = cluster_maker()
        prepare(cluster)
        await run_until_killed(cluster, number)
        await cluster.settle()
        assert cluster.state() == first, f"killed after write {number}"
    for number in range(1, second_writes + 1):
        cluster = cluster_maker()
        prepare(cluster)
        await cluster.settle()
        await change(cluster)
        await run_until_killed(cluster, number)
        await cluster.settle()
        assert cluster.state() == second, f"killed after write {number} of the change"


@pytest.mark.parametrize("status", [409, 500])
async def test_every_write_refused_once(cluster_maker: Any, autojump_clock: Any, status: int) -> None:
    """For every N: the Nth write answered with an error, in one run of the operator."""
    first, second, first_writes, _ = await undisturbed(cluster_maker)
    for number in range(first_writes):
        cluster = cluster_maker()
        prepare(cluster)
        refused = refuse_write(cluster, number, status)
        await cluster.settle()
        assert refused
        assert cluster.state() == first, f"write {number} refused"
        await change(cluster)
        refuse_write(cluster, number, status)
        await cluster.settle()
        assert cluster.state() == second, f"write {number} of the change refused"


def refuse_write(cluster: Any, number: int, status: int) -> list[bool]:
    """Have the write after so many others fail, once, before it changes anything; the list fills when it does."""
    kube, begun = cluster.kube, cluster.kube.count()
    done: list[bool] = []
    enter = type(kube)._enter

    async def refusing(verb: str, resource: Any, name: str = "") -> None:
        await enter(kube, verb, resource, name)
        if verb not in ("get", "list") and not done and kube.count() - begun >= number:
            done.append(True)
            raise ApiError("injected", status=status, api_reason="Conflict" if status == 409 else "")

    kube._enter = refusing
    return done
