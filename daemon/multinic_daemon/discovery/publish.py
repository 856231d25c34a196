"""The HostInterface of this node, kept equal to the view: written when a NIC changes and at no other time.

All daemons and the operator watch HostInterfaces, so each write costs as many deliveries as there are nodes. Rates,
heartbeats, route status and VFs, which go into pods, go elsewhere. A HostInterface labelled unmanaged is a person's: it
is read, its NICs are joined to the view, and it is never written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Protocol

import trio

from multinic_core.errors import ApiError
from multinic_core.model import (
    HOST_INTERFACES,
    NODES,
    HostInterface,
    HostInterfaceEntry,
    HostInterfaceSpec,
    Node,
    ObjectMeta,
    OwnerReference,
)
from multinic_core.plan import IPAddress, IPInterface, Nic, NodeView
from multinic_core.ports import Key, Kubernetes, Store

log = logging.getLogger(__name__)

SETTLE_SECONDS = 0.1
"""Changes within this time of the first cause one write."""
RETRY_SECONDS = 1.0
"""Pause after a write that the API refused, doubled up to ``RETRY_MOST_SECONDS`` while it goes on refusing."""
RETRY_MOST_SECONDS = 30.0


class NicSource(Protocol):
    """What knows the NICs of a node; :class:`multinic_daemon.discovery.discovery.Discovery` describes the methods."""

    def view(self) -> NodeView: ...

    def subscribe(self, changed: Callable[[], None]) -> None: ...

    async def settled(self) -> None: ...

    def set_declared(self, declared: Mapping[str, tuple[IPInterface, ...]]) -> None: ...

    def set_internal_addresses(self, addresses: frozenset[IPAddress]) -> None: ...


def entry(nic: Nic) -> HostInterfaceEntry:
    """How a NIC is published."""
    network = nic.network
    return HostInterfaceEntry(
        interface_name=nic.ifname,
        net_address=str(network) if network else None,
        host_ip=str(nic.addresses[0].ip) if nic.addresses else None,
        secondary_ips=[str(each.ip) for each in nic.addresses[1:] if network and each.ip in network] or None,
        vendor=nic.vendor or None,
        product=nic.product or None,
        pci_address=nic.pci_address or None,
        speed=nic.speed or None,
        numa_node=nic.numa_node,
        pci_path=list(nic.pci_path) or None,
        rdma_devices=list(nic.rdma_devices) or None,
    )


def spec(view: NodeView) -> HostInterfaceSpec:
    """What the HostInterface of the node shall say."""
    return HostInterfaceSpec(host_name=view.name, interfaces=[entry(nic) for nic in view.nics.values()])


def declared_nics(found: HostInterface | None) -> dict[str, tuple[IPInterface, ...]]:
    """NICs of a hand-written HostInterface, with the address written there; none of a managed one."""
    if found is None or not found.unmanaged:
        return {}
    return {interface.interface_name: _address(interface) for interface in found.spec.interfaces}


def internal_addresses(node: Node) -> frozenset[IPAddress]:
    found = set()
    for address in node.status.addresses:
        if address.type == "InternalIP":
            try:
                found.add(ip_address(address.address))
            except ValueError:
                continue  # a name, which some clouds put there
    return frozenset(found)


async def serve_publishing(
    node: str,
    kubernetes: Kubernetes,
    discovery: NicSource,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep the node's HostInterface equal to the view of ``discovery``, which must have started; never returns.

    ``started()`` is called at once: a daemon serves its pods while the API is away.
    """
    store = kubernetes.store(HOST_INTERFACES, field_selector=f"metadata.name={node}")
    publisher = _Publisher(node, kubernetes, discovery, store)
    discovery.subscribe(publisher.wake)
    store.subscribe(publisher.wake)
    task_status.started()
    await publisher.run()


class _Publisher:
    def __init__(self, node: str, kubernetes: Kubernetes, discovery: NicSource, store: Store[HostInterface]) -> None:
        self._node = node
        self._kubernetes = kubernetes
        self._discovery = discovery
        self._store = store
        self._owner: OwnerReference | None = None
        self._dirty = trio.Event()

    def wake(self, _key: Key | None = None) -> None:
        self._dirty.set()

    async def run(self) -> None:
        await self._store.wait_synced()
        pause = RETRY_SECONDS
        while True:
            self._dirty = trio.Event()
            try:
                await self._publish()
            except ApiError as error:
                log.warning("HostInterface not written, will retry", extra={"node": self._node, "error": str(error)})
                with trio.move_on_after(pause):
                    await self._dirty.wait()
                pause = min(2 * pause, RETRY_MOST_SECONDS)
            else:
                pause = RETRY_SECONDS
                await self._dirty.wait()
            await trio.sleep(SETTLE_SECONDS)

    async def _publish(self) -> None:
        found = self._store.get(self._node)
        self._discovery.set_declared(declared_nics(found))
        await self._find_node()
        await self._discovery.settled()
        wanted = spec(self._discovery.view())
        if self._store.invalid:
            reasons = list(self._store.invalid.values())
            log.error(
                "HostInterface does not fit its schema, left alone", extra={"node": self._node, "reasons": reasons}
            )
        elif found is None:
            metadata = ObjectMeta(name=self._node, owner_references=[self._owner] if self._owner else None)
            await self._kubernetes.create(HOST_INTERFACES, HostInterface(metadata=metadata, spec=wanted))
            log.info("HostInterface created", extra={"node": self._node})
        elif self._amended(found, wanted) is not None:
            await self._kubernetes.modify(HOST_INTERFACES, self._node, lambda read: self._amended(read, wanted))
            log.info("HostInterface written", extra={"node": self._node})

    def _amended(self, found: HostInterface, wanted: HostInterfaceSpec) -> HostInterface | None:
        """The object as it shall be; None when it is so already or is none of ours."""
        if found.unmanaged:
            return None
        owners = found.metadata.owner_references or []
        if self._owner and not any(owner.uid == self._owner.uid for owner in owners):
            # of a node that was deleted and came back, the old reference would have the object collected
            owners = [*(owner for owner in owners if owner.kind != "Node"), self._owner]
        if found.spec.to_json() == wanted.to_json() and owners == (found.metadata.owner_references or []):
            return None
        metadata = found.metadata.model_copy(update={"owner_references": owners or None})
        return found.model_copy(update={"spec": wanted, "metadata": metadata})

    async def _find_node(self) -> None:
        """Read the Node object once; a daemon that may not read it does without owner and InternalIP."""
        if self._owner is not None:
            return
        try:
            node = await self._kubernetes.get(NODES, self._node)
        except ApiError as error:
            if error.status not in (403, 404):
                raise
            log.debug("Node not readable", extra={"node": self._node, "error": str(error)})
            return
        self._owner = OwnerReference(api_version="v1", kind="Node", name=self._node, uid=node.metadata.uid or "")
        self._discovery.set_internal_addresses(internal_addresses(node))


def _address(interface: HostInterfaceEntry) -> tuple[IPInterface, ...]:
    """The address of an entry with the prefix of its network; () where it has none or they do not fit."""
    if not interface.host_ip:
        return ()
    try:
        length = ip_network(interface.net_address).prefixlen if interface.net_address else None
        return (ip_interface(interface.host_ip if length is None else f"{interface.host_ip}/{length}"),)
    except ValueError:
        return ()
