"""The HostInterface follows the view and is written for no other reason."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from typing import Any

import pytest
import trio
from multinic_daemon.discovery.publish import serve_publishing

from multinic_core import ApiError, Nic, NodeView, Vf
from multinic_core.model import HOST_INTERFACES, NODES
from multinic_core.testing.kube import FakeKubernetes

ETH1 = Nic("eth1", 3, 1500, addresses=(ip_interface("10.0.1.5/24"),), vendor="15b3", product="1019")
ETH2 = Nic("eth2", 4, 1500, addresses=(ip_interface("10.0.2.5/24"),))
NODE = {"metadata": {"name": "n1"}, "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.5"}]}}


class FakeDiscovery:
    """A view that the test sets."""

    def __init__(self, *nics: Nic) -> None:
        self.callbacks: list[Callable[[], None]] = []
        self.declared: Mapping[str, Any] = {}
        self.internal: frozenset[Any] = frozenset()
        self.show(*nics)

    def show(self, *nics: Nic) -> None:
        self._view = NodeView("n1", {nic.ifname: nic for nic in nics})
        for callback in self.callbacks:
            callback()

    def view(self) -> NodeView:
        return self._view

    def subscribe(self, changed: Callable[[], None]) -> None:
        self.callbacks.append(changed)

    def set_declared(self, declared: Mapping[str, Any]) -> None:
        self.declared = declared

    def set_internal_addresses(self, addresses: frozenset[Any]) -> None:
        self.internal = addresses

    async def settled(self) -> None:
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def publishing(kube: FakeKubernetes, discovery: FakeDiscovery) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_publishing, "n1", kube, discovery)
        yield
        nursery.cancel_scope.cancel()


@pytest.fixture
def kube() -> FakeKubernetes:
    return FakeKubernetes()


def interfaces(kube: FakeKubernetes) -> list[dict[str, Any]]:
    return kube.raw(HOST_INTERFACES, "n1")["spec"]["interfaces"]


async def test_further_addresses_on_the_network_are_published(kube: FakeKubernetes, autojump_clock: Any) -> None:
    """Those that pods must not get where NIC networks are cut; what is on another network is left out."""
    more = ("10.0.1.77/24", "10.0.9.1/24", "10.0.1.78/32", "fd00::1/64")
    nic = replace(ETH1, addresses=(*ETH1.addresses, *map(ip_interface, more)))
    async with publishing(kube, FakeDiscovery(nic, ETH2)):
        await later()
    assert [entry.get("secondaryIPs") for entry in interfaces(kube)] == [["10.0.1.77", "10.0.1.78"], None]


async def later(seconds: float = 5) -> None:
    """Let the mock clock run."""
    await trio.sleep(seconds)


async def test_a_missing_object_is_created_and_owned_by_the_node(kube: FakeKubernetes, autojump_clock: Any):
    """The first write makes the HostInterface with the node as its owner."""
    node = await kube.create(NODES, NODE)
    discovery = FakeDiscovery(ETH1)
    async with publishing(kube, discovery):
        await later()
    made = kube.raw(HOST_INTERFACES, "n1")
    assert made["spec"]["hostName"] == "n1"
    assert made["spec"]["interfaces"] == [
        {
            "interfaceName": "eth1",
            "netAddress": "10.0.1.0/24",
            "hostIP": "10.0.1.5",
            "vendor": "15b3",
            "product": "1019",
        }
    ]
    assert [owner["uid"] for owner in made["metadata"]["ownerReferences"]] == [node.metadata.uid]


async def test_what_is_fixed_about_the_hardware_is_published_and_what_pods_change_is_not(
    kube: FakeKubernetes, autojump_clock: Any
):
    """Speed, NUMA node, place and RDMA devices; VFs that go into pods, and a cable that is pulled, cost no write."""
    place = ("0000:80:01.0", "0000:81:00.0")
    nic = replace(ETH1, speed=25_000, numa_node=0, pci_address="0000:82:00.0", pci_path=place, rdma_devices=("mlx5_0",))
    discovery = FakeDiscovery(nic)
    async with publishing(kube, discovery):
        await later()
        (written,) = interfaces(kube)
        assert (written["speed"], written["numaNode"]) == (25_000, 0)
        assert (written["pciPath"], written["rdmaDevices"]) == (list(place), ["mlx5_0"])
        before = kube.count(resource=HOST_INTERFACES)
        for change in ({"vfs": (Vf(0, "0000:82:00.1"),), "vfs_possible": 8}, {"up": False}, {"driver": "mlx5_core"}):
            discovery.show(replace(nic, **change))
            await later()
        assert kube.count(resource=HOST_INTERFACES) == before
        discovery.show(replace(nic, speed=100_000))
        await later()
        assert kube.count(resource=HOST_INTERFACES) == before + 1


async def test_the_nodes_internal_address_reaches_discovery(kube: FakeKubernetes, autojump_clock: Any):
    """The Node object marks the primary NIC; the fake API keeps its status from creation."""
    raw = {**NODE}
    await kube.create(NODES, raw)
    await kube.patch(NODES, "n1", {"status": NODE["status"]}, subresource="status")
    discovery = FakeDiscovery(ETH1)
    async with publishing(kube, discovery):
        await later()
    assert discovery.internal == {ip_address("10.0.0.5")}


async def test_nothing_is_written_while_nothing_changes(kube: FakeKubernetes, autojump_clock: Any):
    """An hour without change costs no write, and neither does a restart."""
    discovery = FakeDiscovery(ETH1)
    async with publishing(kube, discovery):
        await later()
        before = kube.count(resource=HOST_INTERFACES)
        await later(3600)
    async with publishing(kube, discovery):
        await later()
    assert kube.count(resource=HOST_INTERFACES) == before == 1


async def test_a_node_that_joins_is_one_write_and_its_status_is_the_operators(
    kube: FakeKubernetes, autojump_clock: Any
):
    """Created whole, NICs and owner; an index given, exceptions and conditions cause no write, and outlive each."""
    await kube.create(NODES, NODE)
    discovery = FakeDiscovery(ETH1, ETH2)
    claim = {"network": "net", "netAddress": "10.0.1.0/24", "interfaceName": "eth1", "hostIndex": 9}
    async with publishing(kube, discovery):
        await later()
        written = [write for write in kube.writes if write.resource == HOST_INTERFACES.plural]
        assert [write.verb for write in written] == ["create"]
        for status in ({"hostIndex": 7}, {"hostIndex": 7, "exceptions": [claim]}):
            await kube.patch(HOST_INTERFACES, "n1", {"status": status}, subresource="status")
            await later(60)
        assert kube.count(resource=HOST_INTERFACES) == 3
        discovery.show(ETH1)
        await later()
        assert kube.count(resource=HOST_INTERFACES) == 4
        raw = kube.raw(HOST_INTERFACES, "n1")
        assert raw["status"] == {"hostIndex": 7, "exceptions": [claim]}
        assert [each["interfaceName"] for each in raw["spec"]["interfaces"]] == ["eth1"]
    subresources = {(write.verb, write.subresource) for write in kube.writes if write.resource == "hostinterfaces"}
    assert subresources == {("create", ""), ("patch", "status"), ("update", "")}


async def test_status_that_changed_while_writing_is_kept(kube: FakeKubernetes, autojump_clock: Any):
    """The daemon writes from what it has read, old or not, and only the spec."""
    await kube.create(NODES, NODE)
    discovery = FakeDiscovery(ETH1)
    async with publishing(kube, discovery):
        await later()
        with kube.stale():
            await kube.patch(HOST_INTERFACES, "n1", {"status": {"hostIndex": 7}}, subresource="status")
            discovery.show(ETH1, ETH2)
            await later()
        assert kube.raw(HOST_INTERFACES, "n1")["status"] == {"hostIndex": 7}
        assert len(interfaces(kube)) == 2


async def test_changes_close_together_are_one_write(kube: FakeKubernetes, autojump_clock: Any):
    """Four changes in one tenth of a second end in one write of the last view."""
    discovery = FakeDiscovery(ETH1)
    async with publishing(kube, discovery):
        await later()
        before = kube.count(resource=HOST_INTERFACES)
        for nics in ((), (ETH2,), (ETH1,), (ETH1, ETH2)):
            discovery.show(*nics)
        await later()
        assert [i["interfaceName"] for i in interfaces(kube)] == ["eth1", "eth2"]
    assert kube.count(resource=HOST_INTERFACES) == before + 1


async def test_what_others_change_is_put_right_and_what_is_theirs_stays(kube: FakeKubernetes, autojump_clock: Any):
    """A changed spec is written again; labels and finalizers of others are kept; a deleted object returns."""
    discovery = FakeDiscovery(ETH1)
    async with publishing(kube, discovery):
        await later()
        await kube.patch(
            HOST_INTERFACES,
            "n1",
            {"metadata": {"labels": {"a": "b"}, "finalizers": ["x/y"]}, "spec": {"hostName": "n1", "interfaces": []}},
        )
        await later()
        assert [i["interfaceName"] for i in interfaces(kube)] == ["eth1"]
        metadata = kube.raw(HOST_INTERFACES, "n1")["metadata"]
        assert (metadata["labels"], metadata["finalizers"]) == ({"a": "b"}, ["x/y"])
        await kube.patch(HOST_INTERFACES, "n1", {"metadata": {"finalizers": None}})
        await kube.delete(HOST_INTERFACES, "n1")
        await later()
        assert [i["interfaceName"] for i in interfaces(kube)] == ["eth1"]


async def test_a_hand_written_object_is_read_and_never_written(kube: FakeKubernetes, autojump_clock: Any):
    """The label makes it a person's; its NICs are joined to the view."""
    spec = {
        "hostName": "n1",
        "interfaces": [{"interfaceName": "ib0", "hostIP": "10.9.0.1", "netAddress": "10.9.0.0/16"}],
    }
    await kube.create(
        HOST_INTERFACES, {"metadata": {"name": "n1", "labels": {"multi-nic-unmanaged": "true"}}, "spec": spec}
    )
    discovery = FakeDiscovery(ETH1)
    async with publishing(kube, discovery):
        await later()
    assert kube.count(resource=HOST_INTERFACES) == 1
    assert kube.raw(HOST_INTERFACES, "n1")["spec"] == spec
    assert discovery.declared == {"ib0": (ip_interface("10.9.0.1/16"),)}


async def test_a_refusing_api_is_asked_again(kube: FakeKubernetes, autojump_clock: Any):
    """Errors of the API end neither the daemon nor the attempt."""
    kube.fail(ApiError("no", status=500), verb="create", resource=HOST_INTERFACES, times=4)
    async with publishing(kube, FakeDiscovery(ETH1)):
        await later(60)
    assert [i["interfaceName"] for i in interfaces(kube)] == ["eth1"]


async def test_a_node_that_may_not_be_read_is_done_without(kube: FakeKubernetes, autojump_clock: Any):
    """Without the right to read Nodes the HostInterface has no owner and is published all the same."""
    kube.fail(ApiError("no", status=403), verb="get", resource=NODES, times=100)
    async with publishing(kube, FakeDiscovery(ETH1)):
        await later()
    assert "ownerReferences" not in kube.raw(HOST_INTERFACES, "n1")["metadata"]
