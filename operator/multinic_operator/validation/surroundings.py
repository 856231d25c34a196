"""What a network must fit in: the NICs that there are, and the networks that the cluster itself uses.

A snapshot is a value, so that webhook and operator judge by the same pure function. :class:`Watch` keeps what snapshots
are made of up to date, one node at a time. Pods and Services are not watched: a node says which pod networks it has,
the ServiceCIDR objects which Service networks there are, and where those are not served the Service ``kubernetes``
gives one address that must stay free.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import NoReturn

import trio

from multinic_core.errors import ApiError
from multinic_core.model import SERVICE_CIDRS, SERVICES, HostInterface, Node
from multinic_core.plan import IPNetwork
from multinic_core.ports import Key
from multinic_core.rows import nic_network
from multinic_operator.world import World

logger = logging.getLogger(__name__)

SERVICES_SECONDS = 600.0
"""Service networks hardly ever change, so they are read and not watched."""


@dataclass(frozen=True, slots=True)
class NicNetwork:
    """One network that NICs are in."""

    nics: int
    """How many."""
    node: str
    ifname: str
    """One of them."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A network of the cluster that no pod subnet may share an address with."""

    network: IPNetwork
    owner: str
    """Such as ``the pod network of node 'node-1'``."""
    first: int
    last: int
    """The addresses as numbers, since thousands of these are compared for each network."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """One moment of the cluster."""

    nics: Mapping[IPNetwork, NicNetwork] = field(default_factory=dict)
    services: tuple[Taken, ...] = ()
    nodes: Mapping[str, tuple[Taken, ...]] = field(default_factory=dict)
    """Node to its pod networks and its addresses."""

    def networks(self) -> list[IPNetwork]:
        """NIC networks, sorted."""
        return sorted(self.nics, key=lambda network: (network.version, network))

    def taken(self, subnet: IPNetwork) -> Iterator[Taken]:
        """What this subnet would run into, of Services first."""
        first, last = int(subnet.network_address), int(subnet.broadcast_address)
        for found in (self.services, *self.nodes.values()):
            for one in found:
                if one.first <= last and first <= one.last and one.network.version == subnet.version:
                    yield one


def _parsed(texts: Iterable[str], owner: str) -> Iterator[Taken]:
    for text in texts:
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            continue  # not ours to judge
        yield Taken(network, owner, int(network.network_address), int(network.broadcast_address))


def taken_by(node: Node) -> tuple[Taken, ...]:
    """The pod networks and the addresses of one node."""
    addresses = [address.address for address in node.status.addresses if address.type == "InternalIP"]
    pods = list(dict.fromkeys([*(node.spec.pod_cidrs or []), *([node.spec.pod_cidr] if node.spec.pod_cidr else [])]))
    return (
        *_parsed(pods, f"the pod network of node {node.name!r}"),
        *_parsed(addresses, f"the address of node {node.name!r}"),
    )


def _nics(host: HostInterface) -> dict[str, str]:
    """Ifname to network, as a CIDR writes it, for the NICs that have one."""
    found: dict[str, str] = {}
    for nic in host.spec.interfaces:
        if network := nic_network(nic.net_address or ""):
            found.setdefault(nic.interface_name, network)
    return found


def nic_networks(nodes: Iterable[HostInterface]) -> dict[IPNetwork, NicNetwork]:
    """The NIC networks of these nodes."""
    found: dict[str, NicNetwork] = {}
    for node in nodes:
        for ifname, network in _nics(node).items():
            known = found.get(network)
            found[network] = replace(known, nics=known.nics + 1) if known else NicNetwork(1, node.name, ifname)
    return {ip_network(network): one for network, one in found.items()}


class Watch:
    """Keeps a snapshot of the surroundings; an event of a node costs only what that node has."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._nics: dict[str, dict[str, str]] = {}
        """Node to its NICs and their networks."""
        self._by_network: dict[str, dict[str, str]] = {}
        """NIC network to the nodes on it, each with one of its NICs there."""
        self._count: Counter[str] = Counter()
        self._nodes: dict[str, tuple[Taken, ...]] = {}
        self._services: tuple[Taken, ...] = ()
        world.hosts.subscribe(self._host_changed)
        world.nodes.subscribe(self._node_changed)

    def now(self) -> Surroundings:
        """The surroundings as the stores show them; nodes are shared, not copied."""
        nics = {
            ip_network(network): NicNetwork(self._count[network], *next(iter(hosts.items())))
            for network, hosts in self._by_network.items()
        }
        return Surroundings(nics, self._services, self._nodes)

    def _host_changed(self, key: Key) -> None:
        host = self._world.hosts.get(key.name)
        nics = _nics(host) if host is not None else {}
        if nics == self._nics.get(key.name, {}):
            return
        for network in self._nics.pop(key.name, {}).values():
            self._count[network] -= 1
            self._by_network[network].pop(key.name, None)
            if not self._count[network]:
                del self._by_network[network], self._count[network]
        for ifname, network in nics.items():
            self._count[network] += 1
            self._by_network.setdefault(network, {}).setdefault(key.name, ifname)
        if nics:
            self._nics[key.name] = nics

    def _node_changed(self, key: Key) -> None:
        node = self._world.nodes.get(key.name)
        if node is None:
            self._nodes.pop(key.name, None)
        else:
            self._nodes[key.name] = taken_by(node)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Read the Service networks again and again; started after the first time, whatever came of it."""
        while True:
            await self.read_services()
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            await trio.sleep(SERVICES_SECONDS)

    async def read_services(self) -> None:
        """Learn the Service networks; what cannot be read stays as it was known."""
        kube = self._world.kube
        found: list[Taken] = []
        try:
            for item in await kube.list(SERVICE_CIDRS):
                found += _parsed(item.spec.cidrs, "the Service network")
        except ApiError as error:
            logger.debug("service networks not served", extra={"error": str(error)})
        try:
            service = await kube.get(SERVICES, "kubernetes", "default")
            addresses = service.spec.cluster_ips or [service.spec.cluster_ip]
            found += _parsed(addresses, "the address of the Service 'kubernetes'")
        except ApiError as error:
            logger.debug("service address not read", extra={"error": str(error)})
        self._services = tuple(found) or self._services
