"""A cluster that is lent for tests is left as it was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from multinic_lab.apiserver import ApiServer, serve_api, write_kubeconfig
from multinic_lab.cluster.borrowed import DEFINITIONS, borrow

from multinic_core.errors import ConfigError
from multinic_core.kube import connect
from multinic_core.model import HOST_INTERFACES, NAMESPACES, NETWORKS, NODES


def places(server: ApiServer) -> set[tuple[str, ...]]:
    """Every object of the server."""
    return {(*kind, *key) for kind, found in server.store.collections.items() for key in found.records}


async def test_nothing_stays_behind(
    tmp_path: Path, nursery: Any, make_host: Any, make_network: Any, kinds: Any
) -> None:
    """Objects of our kinds go, also where a finalizer holds them, then the kinds; Nodes of others stay."""
    server = await nursery.start(serve_api)
    kube = connect(str(write_kubeconfig(tmp_path / "kubeconfig", server.url)))
    await kube.create(NODES, {"metadata": {"name": "control-plane"}})
    before = places(server)
    async with borrow(kube, kinds) as borrowed:
        await kube.create(NAMESPACES, {"metadata": {"name": borrowed.namespace}})
        await kube.create(NODES, {"metadata": {"name": "node-1"}})
        await kube.create(HOST_INTERFACES, make_host("node-1", {"eth1": "10.0.1.1/24"}))
        held = make_network()
        held["metadata"]["finalizers"] = ["example.io/somebody"]
        await kube.create(NETWORKS, held)
    with trio.fail_after(60):
        while places(server) != before:
            await trio.sleep(0.01)


async def test_a_cluster_in_use_is_refused(tmp_path: Path, nursery: Any, make_network: Any, kinds: Any) -> None:
    """A network that is somebody's is named, and nothing is touched."""
    server = await nursery.start(serve_api)
    kube = connect(str(write_kubeconfig(tmp_path / "kubeconfig", server.url)))
    for body in kinds:
        await kube.create(DEFINITIONS, body)
    await kube.create(NETWORKS, make_network("theirs"))
    before = places(server)
    with pytest.raises(ConfigError, match="MultiNicNetwork 'theirs'"):
        async with borrow(kube, kinds):
            pytest.fail("the cluster was taken")
    assert places(server) == before
