"""The IPPool object of one block, which operator and daemon write alike; the size of the network says who does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_network

from multinic_core.addressing import covers, overlaps
from multinic_core.model import (
    HOSTNAME_LABEL,
    NETNAME_LABEL,
    IPPool,
    IPPoolSpec,
    ObjectMeta,
    OwnerReference,
    pool_name,
)
from multinic_core.plan import IPNetwork


def pool_excludes(
    block: IPNetwork, excludes: Iterable[IPNetwork], addresses: Iterable[IPNetwork] = ()
) -> tuple[IPNetwork, ...]:
    """What the pool of a block must not give.

    Args:
        excludes: what the user excludes from the network, in his order.
        addresses: of NICs and of the cloud, where NIC networks themselves are cut into blocks.
    """
    found = [exclude for exclude in excludes if overlaps(exclude, block)]
    inside = {address for address in addresses if covers(block, address)}
    found += sorted(inside, key=lambda address: int(address.network_address))
    return tuple(dict.fromkeys(found))


def pool_object(
    network: str,
    node: str,
    interface_name: str,
    pod_cidr: str,
    vlan_cidr: str,
    *,
    owners: Sequence[OwnerReference],
    excludes: Iterable[IPNetwork],
    addresses: Iterable[IPNetwork] = (),
) -> IPPool:
    """The pool of one NIC of one node, without allocations; excludes and addresses as in ``pool_excludes``.

    Raises:
        ValueError: ``pod_cidr`` is no network.
    """
    return IPPool(
        metadata=ObjectMeta(
            name=pool_name(network, pod_cidr),
            labels={HOSTNAME_LABEL: node, NETNAME_LABEL: network},
            owner_references=list(owners) or None,
        ),
        spec=IPPoolSpec(
            pod_cidr=pod_cidr,
            vlan_cidr=vlan_cidr,
            net_attach_def=network,
            host_name=node,
            interface_name=interface_name,
            excludes=[str(each) for each in pool_excludes(ip_network(pod_cidr), excludes, addresses)],
            allocations=[],
        ),
    )
