"""What a network must fit in, kept up to date from events and equal to what is read anew."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from multinic_operator.validation.claims import Claim, claims_on
from multinic_operator.validation.surroundings import Surroundings, Watch, nic_networks
from multinic_operator.world import World

from multinic_core.errors import ApiError
from multinic_core.model import HOST_INTERFACES, NODES, SERVICE_CIDRS, SERVICES, MultiNicNetwork

SUBNET = ip_network("10.0.0.0/8")


def watch(cluster: Any) -> Watch:
    return Watch(World.watch(cluster.kube, cluster.registry, now=cluster.now))


def owners(around: Surroundings) -> list[str]:
    return [f"{found.network} {found.owner}" for found in around.taken(SUBNET)]


async def test_nics_that_come_and_go_are_counted(cluster: Any, autojump_clock: Any) -> None:
    """After any history the snapshot is that of the nodes as they are."""
    around = watch(cluster)
    cluster.node("node-1", {"eth1": "10.0.1.1/24", "eth2": "10.0.2.1/24"})
    cluster.node("node-2", {"eth1": "10.0.1.2/24", "eth9": "10.0.1.3/24"})
    await cluster.rewire("node-1", {"eth1": "10.0.1.1/24", "eth2": "10.0.3.1/24"})
    cluster.node("node-3", {"eth1": "10.0.4.1/24"})
    await cluster.kube.delete(HOST_INTERFACES, "node-3")
    found = around.now().nics
    anew = nic_networks(await cluster.kube.list(HOST_INTERFACES))
    assert {net: one.nics for net, one in found.items()} == {net: one.nics for net, one in anew.items()}
    assert {(one.node, one.ifname) for one in found.values()} == {("node-2", "eth1"), ("node-1", "eth2")}
    assert {str(net): one.nics for net, one in found.items()} == {"10.0.1.0/24": 3, "10.0.3.0/24": 1}


async def test_pod_networks_and_addresses_of_nodes_are_taken(cluster: Any, autojump_clock: Any) -> None:
    """Until the node is gone; what is no address, or no internal one, is not looked at."""
    around = watch(cluster)
    addresses = [
        {"type": "InternalIP", "address": "10.9.0.1"},
        {"type": "Hostname", "address": "node-1"},
        {"type": "ExternalIP", "address": "10.8.0.1"},
    ]
    pods = {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24", "fd00::/64"]}
    cluster.kube.seed(NODES, {"metadata": {"name": "node-1"}, "spec": pods, "status": {"addresses": addresses}})
    assert owners(around.now()) == [
        "10.244.0.0/24 the pod network of node 'node-1'",
        "10.9.0.1/32 the address of node 'node-1'",
    ]
    await cluster.kube.delete(NODES, "node-1")
    assert owners(around.now()) == []


async def test_service_networks_are_read_from_what_is_served(cluster: Any, autojump_clock: Any) -> None:
    """ServiceCIDRs where there are any; the Service of the API always; an API that fails leaves what was known."""
    around = watch(cluster)
    service = {"metadata": {"name": "kubernetes", "namespace": "default"}, "spec": {"clusterIP": "10.96.0.1"}}
    cluster.kube.seed(SERVICES, service)
    cluster.kube.fail(ApiError("not served", status=404), verb="list", resource=SERVICE_CIDRS)
    await around.read_services()
    assert owners(around.now()) == ["10.96.0.1/32 the address of the Service 'kubernetes'"]
    cluster.kube.seed(
        SERVICE_CIDRS, {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/12", "fd01::/108"]}}
    )
    await around.read_services()
    both = ["10.96.0.0/12 the Service network", "10.96.0.1/32 the address of the Service 'kubernetes'"]
    assert owners(around.now()) == both
    cluster.kube.fail(ApiError("away", status=503), times=2)
    await around.read_services()
    assert owners(around.now()) == both


async def test_a_network_that_works_is_not_stopped_by_a_node_that_comes(cluster: Any, autojump_clock: Any) -> None:
    """Its subnet is that of the newcomer's pods, which nothing here can mend; a new network is refused."""
    cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    cluster.network()
    await cluster.settle()
    cluster.kube.seed(NODES, {"metadata": {"name": "node-2"}, "spec": {"podCIDR": "192.168.7.0/24"}})
    cluster.network("later", subnet="192.168.0.0/17")
    await cluster.settle()
    assert "overlaps" not in (await cluster.status()).message
    message = (await cluster.status("later")).message
    assert "overlaps 192.168.7.0/24, the pod network of node 'node-2'; choose another subnet" in message


def test_networks_without_a_subnet_claim_the_nic_networks_that_they_cut(make_network: Any) -> None:
    """By their CIDR, or by masterNets before there is one."""

    def network(name: str, created: str, **spec: Any) -> MultiNicNetwork:
        body = make_network(name, **spec)
        body["metadata"]["creationTimestamp"] = created
        return MultiNicNetwork.model_validate(body)

    old = network("old", "2026-01-01T00:00:00Z", subnet=None, masterNets=["10.0.1.0/24"])
    new = network("new", "2026-01-02T00:00:00Z", subnet=None)
    assert claims_on(new, [old, new], {}) == [Claim("old", ip_network("10.0.1.0/24"), whole=False)]


async def test_a_node_with_two_nics_in_one_network_comes_and_goes(cluster: Any) -> None:
    """Both NICs are counted, and neither stays when the node is rewired or goes."""
    around = watch(cluster)
    cluster.node("node-1", {"eth1": "10.0.1.1/24", "eth2": "10.0.1.2/24"})
    assert {str(network): one.nics for network, one in around.now().nics.items()} == {"10.0.1.0/24": 2}
    await cluster.rewire("node-1", {"eth1": "10.0.1.1/24"})
    assert {str(network): one.nics for network, one in around.now().nics.items()} == {"10.0.1.0/24": 1}
    await cluster.rewire("node-1", {})
    assert around.now().nics == {}
