"""A node seen from elsewhere: an engine that can decide and touch nothing, made of what the API shows of the node.

What the node alone knows is missing: bandwidth promised, rates, VFs and what the kubelet gave. Addresses held are those
of the mirror, which follows the node within seconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_interface, ip_network
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

from multinic_core.errors import ConfigError, DaemonUnavailableError
from multinic_core.model import HOST_INTERFACES, HostInterface, HostInterfaceEntry, IPPool
from multinic_core.plan import Allocation, CreateLink, IPInterface, Nic, NodeView, Plan, PodReference
from multinic_core.ports import Kubernetes
from multinic_core.registry import Registry
from multinic_daemon.cluster import SYNC_SECONDS, Cluster
from multinic_daemon.engine import Engine
from multinic_daemon.journal.journal import AttachmentKey, Journal, NewAttachment
from multinic_daemon.journal.records import NAMELESS, TakenOver
from multinic_daemon.podlinks import apply
from multinic_daemon.pools.nodepools import NodePools

ANY_MTU = 65535
"""The API does not tell the MTU of a NIC."""
UNKNOWN = "promised bandwidth, rates, MTUs, VFs and the devices of pods are known on the node alone"


def node_view(found: HostInterface) -> NodeView:
    """The NICs of a node by its HostInterface."""
    nics = (_nic(entry, number) for number, entry in enumerate(found.spec.interfaces, start=1))
    return NodeView(found.name, {nic.ifname: nic for nic in sorted(nics, key=lambda nic: nic.ifname)})


def _nic(entry: HostInterfaceEntry, number: int) -> Nic:
    addresses: tuple[IPInterface, ...] = ()
    if entry.net_address and entry.host_ip:
        addresses = (ip_interface(f"{entry.host_ip}/{ip_network(entry.net_address).prefixlen}"),)
    return Nic(
        entry.interface_name,
        number,
        ANY_MTU,
        addresses=addresses,
        vendor=entry.vendor or "",
        product=entry.product or "",
        pci_address=entry.pci_address or "",
        speed=entry.speed or 0,
        numa_node=entry.numa_node,
        pci_path=tuple(entry.pci_path or ()),
        rdma_devices=tuple(entry.rdma_devices or ()),
    )


def held_by_mirror(pools: list[IPPool]) -> list[TakenOver]:
    """One row for each address that the mirror shows as held."""
    rows: list[TakenOver] = []
    for pool in pools:
        spec, length = pool.spec, ip_network(pool.spec.vlan_cidr).prefixlen
        for each in spec.allocations:
            address = ip_interface(f"{each.address}/{length}")
            key = AttachmentKey("multi-nic", spec.net_attach_def, f"{NAMELESS}{len(rows)}", "net1")
            plan = Plan((CreateLink("net1-0", "", spec.interface_name, 0, 0),))
            held = (Allocation(pool.name, spec.interface_name, each.index, address),)
            pod = PodReference(each.namespace, each.pod)
            rows.append(TakenOver(NewAttachment(key, "", pod, "", plan, held, {}), "adopted"))
    return rows


@asynccontextmanager
async def distant_engine(kubernetes: Kubernetes, registry: Registry, node: str) -> AsyncIterator[Engine]:
    """An engine that decides as the node's would; its journal is a file of its own that goes again.

    Raises:
        ApiError: the node has no HostInterface, or the API cannot be asked.
        ConfigError: the API does not show all that is needed in time.
    """
    view = node_view(await kubernetes.get(HOST_INTERFACES, node))
    pools = NodePools(kubernetes, node)
    cluster = Cluster(kubernetes, node, pools)
    late = False
    async with trio.open_nursery() as nursery:
        await nursery.start(kubernetes.serve)
        await nursery.start(pools.serve)
        try:
            with trio.fail_after(SYNC_SECONDS):
                await cluster.ready()
        except (trio.TooSlowError, DaemonUnavailableError):
            late = True  # raised behind the nursery, which would wrap it
        else:
            with TemporaryDirectory(prefix="multinic-plan-") as folder:
                journal = Journal.open(Path(folder))
                try:
                    journal.take_over(held_by_mirror(list(pools.list())), ())
                    yield Engine(registry, journal, apply, cluster, lambda: view)
                finally:
                    journal.close()
        nursery.cancel_scope.cancel()
    if late:
        raise ConfigError(f"node {node!r}: the API did not list its objects within {SYNC_SECONDS:g} seconds")
