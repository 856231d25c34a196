"""Many nodes on one port: each sees what its own watches would have shown it."""

from pathlib import Path
from typing import Any

import pytest
from multinic_lab.apiserver import write_kubeconfig
from multinic_lab.twin.sharedport import Parts, SharedApi
from multinic_lab.twin.stand_ins import MemoryRoutes

from multinic_core.kube.client import Client
from multinic_core.model import HOSTNAME_LABEL, IPPOOLS, NODES
from multinic_core.testing.kube import FakeKubernetes


def pool(name: str, node: str) -> dict[str, Any]:
    spec = {"podCIDR": "10.0.0.0/24", "vlanCIDR": "10.0.0.0/16", "netAttachDef": "net", "hostName": node}
    spec |= {"interfaceName": "eth1", "excludes": [], "allocations": []}
    return {"metadata": {"name": name, "labels": {HOSTNAME_LABEL: node}}, "spec": spec}


def hostname(item: Any) -> str:
    return str(item.metadata.labels[HOSTNAME_LABEL])


async def test_a_part_is_what_a_selector_would_show() -> None:
    """Objects of the node, sorted, and events of these alone; one that changes hands leaves one part for another."""
    kube = FakeKubernetes()
    kube.seed(IPPOOLS, pool("b", "one"), pool("a", "one"), pool("c", "two"))
    parts = Parts(kube.store(IPPOOLS), hostname)
    one, two = parts.part("one"), parts.part("two")
    heard: dict[str, list[str]] = {"one": [], "two": []}
    one.subscribe(lambda key: heard["one"].append(key.name))
    two.subscribe(lambda key: heard["two"].append(key.name))
    assert [item.name for item in one.list()] == ["a", "b"]
    assert one.get("c") is None
    assert heard == {"one": ["a", "b"], "two": ["c"]}
    await kube.patch(IPPOOLS, "b", {"metadata": {"labels": {HOSTNAME_LABEL: "two"}}})
    assert [item.name for item in one.list()] == ["a"]
    assert [item.name for item in two.list()] == ["b", "c"]
    assert heard == {"one": ["a", "b", "b"], "two": ["c", "b"]}
    await kube.delete(IPPOOLS, "c")
    assert [item.name for item in two.list()] == ["b"]
    assert heard["two"] == ["c", "b", "c"]


def test_a_selector_that_no_daemon_uses_is_refused(tmp_path: Path) -> None:
    """Rather than showing the wrong objects."""
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1")
    api = SharedApi(Client.from_config(str(kubeconfig)))
    with pytest.raises(ValueError, match=r"store of nodes: found 'metadata\.name=x', expected a node"):
        api.store(NODES, field_selector="metadata.name=x")


def test_routes_in_memory_are_followed_only_where_they_are_known() -> None:
    """As with a kernel, a change on top of nothing asks for a comparison."""
    changes: list[None] = []
    table = MemoryRoutes(lambda: changes.append(None))
    assert table.follow({"net": {}}) is None
    assert table.reconcile([]) == {}
    assert table.follow({}) == {}
    assert len(changes) == 2
