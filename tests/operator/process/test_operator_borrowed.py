"""A cluster that is lent for tests is left as it was found."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import trio
from multinic_lab.apiserver import ApiServer, serve_api, write_kubeconfig
from multinic_lab.cluster.borrowed import borrow

from multinic_core.errors import ConfigError
from multinic_core.kube import connect
from multinic_core.model import HOST_INTERFACES, NAMESPACES, NETWORKS, NODES, OUR_RESOURCES
from multinic_core.model.crd import crd

MULTUS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "network-attachment-definitions.k8s.cni.cncf.io"},
    "spec": {
        "group": "k8s.cni.cncf.io",
        "scope": "Namespaced",
        "names": {"plural": "network-attachment-definitions", "kind": "NetworkAttachmentDefinition"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
KINDS = [MULTUS, *(crd(resource) for resource in OUR_RESOURCES)]


def places(server: ApiServer) -> set[tuple[str, ...]]:
    """Every object of the server."""
    return {(*kind, *key) for kind, found in server.store.collections.items() for key in found.records}


async def test_nothing_stays_behind(tmp_path: Path, nursery: Any, make_host: Any, make_network: Any) -> None:
    """Objects of our kinds go, also where a finalizer holds them, then the kinds; Nodes of others stay."""
    server = await nursery.start(serve_api)
    kube = connect(str(write_kubeconfig(tmp_path / "kubeconfig", server.url)))
    await kube.create(NODES, {"metadata": {"name": "control-plane"}})
    before = places(server)
    async with borrow(kube, KINDS) as borrowed:
        await kube.create(NAMESPACES, {"metadata": {"name": borrowed.namespace}})
        await kube.create(NODES, {"metadata": {"name": "node-1"}})
        await kube.create(HOST_INTERFACES, make_host("node-1", {"eth1": "10.0.1.1/24"}))
        held = make_network()
        held["metadata"]["finalizers"] = ["example.io/somebody"]
        await kube.create(NETWORKS, held)
    with trio.fail_after(10):
        while places(server) != before:
            await trio.sleep(0.01)


async def test_a_cluster_in_use_is_refused(tmp_path: Path, nursery: Any, make_network: Any) -> None:
    """A network that is somebody's is named, and nothing is touched."""
    server = await nursery.start(serve_api)
    kube = connect(str(write_kubeconfig(tmp_path / "kubeconfig", server.url)))
    for body in KINDS:
        server.api.ensure(deepcopy(body))
    await kube.create(NETWORKS, make_network("theirs"))
    before = places(server)
    with pytest.raises(ConfigError, match="MultiNicNetwork 'theirs'"):
        async with borrow(kube, KINDS):
            pytest.fail("the cluster was taken")
    assert places(server) == before
