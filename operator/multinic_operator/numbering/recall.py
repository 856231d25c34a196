"""Indexes of a CIDR that was deleted, read back from its pools. Pure.

A person may delete a CIDR; the pools and the pods stay. Numbering from the start would give a block to another node
while pods hold its addresses, so the new CIDR begins with what the pools remember.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_network

from multinic_core.model import CIDRConfig, CIDREntry, CIDRHost, CIDRSpec, IPPool
from multinic_core.plan import IPNetwork
from multinic_operator.numbering.layout import BlockRequest, HostNic


def recall_blocks(request: BlockRequest, pools: Iterable[IPPool], nics: Sequence[HostNic]) -> CIDRSpec | None:
    """A CIDR with the rows of these pools, for :func:`compute_blocks` to go on from; None when they tell nothing.

    A pool that is cut otherwise, or whose NIC network cannot be told, is left out.
    """
    networks = {(nic.host, nic.ifname): nic.network for nic in nics}
    found: list[tuple[IPNetwork, IPNetwork, IPPool]] = []
    for pool in pools:
        try:
            found.append((ip_network(pool.spec.vlan_cidr), ip_network(pool.spec.pod_cidr), pool))
        except ValueError:
            continue
    found.sort(key=lambda item: item[2].name)
    places: dict[IPNetwork, IPNetwork] = {}
    """Interface block to NIC network: the block itself without a subnet, else where the first NIC that is there is."""
    for interface_block, _, pool in found:
        nic_network = networks.get((pool.spec.host_name, pool.spec.interface_name))
        network = interface_block if request.subnet is None else nic_network
        if network is not None and network not in places.values():
            places.setdefault(interface_block, network)
    entries: dict[IPNetwork, CIDREntry] = {}
    for interface_block, pod_block, pool in found:
        network = places.get(interface_block)
        if network is None:
            continue
        index = (
            len(entries)
            if request.subnet is None
            else index_within(request.subnet, interface_block, request.interface_bits)
        )
        host_index = index_within(interface_block, pod_block, request.host_bits)
        if index is None or host_index is None:
            continue
        entry = entries.setdefault(
            network,
            CIDREntry(net_address=str(network), interface_index=index, vlan_cidr=str(interface_block), hosts=[]),
        )
        entry.hosts.append(
            CIDRHost(
                host_index=host_index,
                host_name=pool.spec.host_name,
                interface_name=pool.spec.interface_name,
                host_ip="",
                pod_cidr=str(pod_block),
            )
        )
    if not entries:
        return None
    config = CIDRConfig(
        name=request.name, type=request.plugin, subnet="", master_nets=[], host_block=0, interface_block=0
    )
    return CIDRSpec(config=config, cidr=sorted(entries.values(), key=lambda entry: entry.interface_index))


def index_within(container: IPNetwork, inner: IPNetwork, bits: int) -> int | None:
    """Which of the 2^bits blocks of ``container`` this one is, or None."""
    if container.version != inner.version or inner.prefixlen != container.prefixlen + bits:
        return None
    index = (int(inner.network_address) - int(container.network_address)) >> (inner.max_prefixlen - inner.prefixlen)
    return index if 0 <= index < 1 << bits else None
