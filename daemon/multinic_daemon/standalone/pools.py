"""Which addresses each NIC of the one machine has. Pure.

Either the configuration says so NIC by NIC (``pools``), or one subnet is cut as the operator cuts it: NIC number *i* of
``masters`` or ``masterNets`` has interface block *i*, and in it this machine the pod block ``hostIndex``. So the order
of the list is what fixes a NIC's block, never what else is plugged in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from multinic_core.addressing import covers, merged, overlaps, parse_blocks, parse_network
from multinic_core.errors import ConfigError
from multinic_core.model import IPPool, MultiNicIpamConfig, ObjectMeta, pool_name
from multinic_core.model.addresses import IPPoolSpec
from multinic_core.plan import IPNetwork, Nic, NodeView
from multinic_daemon.standalone.fields import PoolFields


@dataclass(frozen=True, slots=True)
class NicPool:
    """Addresses for one NIC, which is known by its name or by its network."""

    path: str
    """Of the field that names the NIC, such as ``masters[0]``."""
    nic: str | IPNetwork
    network: IPNetwork
    """The addresses to give."""
    block: IPNetwork
    """Around it; its prefix length is that of the addresses."""
    excludes: tuple[IPNetwork, ...] = ()


def cut_pools(
    subnet: str, ipam: MultiNicIpamConfig, masters: Sequence[str], master_nets: Sequence[str], host_index: int
) -> tuple[NicPool, ...]:
    """One pool per NIC and address family, out of blocks of the subnet.

    Raises:
        ConfigError: all problems at once, each with its field path.
    """
    problems: list[str] = []
    nics: list[str | IPNetwork] = [*masters]
    for position, text in enumerate(master_nets):
        try:
            nics.append(parse_network(text, f"masterNets[{position}]"))
        except ConfigError as error:
            problems += error.problems
    key = "masters" if masters else "masterNets"
    if not masters and not master_nets:
        problems.append("masters: missing, expected the NICs in the order of their blocks; or masterNets, or pools")
    elif masters and master_nets:
        problems.append(f"masterNets: found {list(master_nets)!r} beside masters, expected one of the two")
    elif len(set(nics)) < len(nics):
        problems.append(f"{key}: found {[str(nic) for nic in nics]!r}, expected each NIC once")
    if len(nics) > 1 << ipam.interface_block:
        problems.append(
            f"ipam.interfaceBlock: found {ipam.interface_block}, which makes {1 << ipam.interface_block} blocks for"
            f" {len(nics)} NICs, expected {(len(nics) - 1).bit_length()} or more"
        )
    if not 0 <= host_index < 1 << ipam.host_block:
        last = (1 << ipam.host_block) - 1
        problems.append(f"hostIndex: found {host_index}, expected 0 to {last}, as ipam.hostBlock is {ipam.host_block}")
    try:
        cuts = parse_blocks(subnet, ipam.interface_block, ipam.host_block, ipam.exclude_cidrs)
    except ConfigError as error:
        raise ConfigError(*problems, *error.problems) from error
    if problems:
        raise ConfigError(*problems)
    pools = tuple(
        NicPool(
            f"{key}[{position}]",
            nic,
            cut.pod_block(position, host_index),
            cut.interface_block(position),
            tuple(each for each in cut.excludes if overlaps(each, cut.pod_block(position, host_index))),
        )
        for position, nic in enumerate(nics)
        for cut in cuts
    )
    _require_addresses(pools)
    return pools


def listed_pools(listed: Sequence[PoolFields], excludes: Sequence[str]) -> tuple[NicPool, ...]:
    """The pools that the configuration lists.

    Args:
        excludes: ``ipam.excludeCIDRs``, which hold for all of them.

    Raises:
        ConfigError: all problems at once, each with its field path.
    """
    problems: list[str] = []

    def read(text: str, path: str) -> IPNetwork | None:
        try:
            return parse_network(text, path)
        except ConfigError as error:
            problems.extend(error.problems)
            return None

    common = [read(text, f"ipam.excludeCIDRs[{position}]") for position, text in enumerate(excludes)]
    pools: list[NicPool] = []
    for position, each in enumerate(listed):
        path = f"pools[{position}]"
        network = read(each.pod_cidr, f"{path}.podCIDR")
        block = read(each.vlan_cidr, f"{path}.vlanCIDR") if each.vlan_cidr else network
        own = [read(text, f"{path}.excludes[{number}]") for number, text in enumerate(each.excludes)]
        if network is None or block is None:
            continue
        if not covers(block, network):
            problems.append(f"{path}.vlanCIDR: found {each.vlan_cidr!r}, expected a network around {network}")
        problems += [
            f"{path}.podCIDR: found {each.pod_cidr!r}, which overlaps that of {other.path}, expected other addresses"
            for other in pools
            if overlaps(network, other.network)
        ]
        excluded = tuple(e for e in (*common, *own) if e is not None and overlaps(e, network))
        pools.append(NicPool(path, each.interface_name, network, block, excluded))
    if problems:
        raise ConfigError(*problems)
    _require_addresses(pools)
    return tuple(pools)


def _require_addresses(pools: Iterable[NicPool]) -> None:
    full = [each for each in pools if any(covers(exclude, each.network) for exclude in merged(each.excludes))]
    if full:
        raise ConfigError(
            *(f"{each.path}: found no address in {each.network} that is not excluded, expected some" for each in full)
        )


def pool_objects(
    name: str, pools: Sequence[NicPool], view: NodeView, taken: Iterable[IPNetwork]
) -> tuple[tuple[IPPool, ...], tuple[str, ...]]:
    """The pools as the operator would write them for this machine, and what stands against using them.

    A network of ``masterNets`` that this machine is not on is passed over, as long as it is on one; a NIC that is
    named must be there.

    Args:
        name: of the network.
        taken: never to be given, beside what the pools exclude.
    """
    problems: list[str] = []
    objects: list[IPPool] = []
    own = {address.ip for nic in view.nics.values() for address in nic.addresses}
    for each in pools:
        found = _nics(each, view)
        if len(found) > 1:
            names = [nic.ifname for nic in found]
            problems.append(f"{each.path}: found NICs {names!r} on {each.nic}, expected one; name them in masters")
        elif not found and isinstance(each.nic, str):
            problems.append(f"{each.path}: found {each.nic!r}, expected a NIC of this machine: {sorted(view.nics)!r}")
        for nic in found:
            excludes = [*each.excludes, *(network for network in taken if overlaps(network, each.network))]
            spec = IPPoolSpec(
                pod_cidr=str(each.network),
                vlan_cidr=str(each.block),
                net_attach_def=name,
                host_name=view.name,
                interface_name=nic.ifname,
                excludes=[*map(str, excludes), *(str(ip) for ip in own if ip in each.network)],
                allocations=[],
            )
            objects.append(IPPool(metadata=ObjectMeta(name=pool_name(name, spec.pod_cidr)), spec=spec))
    if pools and not objects and not problems:
        wanted = [str(each.nic) for each in pools]
        there = {nic.ifname: str(nic.network) for nic in view.nics.values()}
        problems.append(f"masterNets: found {wanted!r}, expected one that a NIC of this machine is on: {there!r}")
    return tuple(objects), tuple(problems)


def _nics(pool: NicPool, view: NodeView) -> list[Nic]:
    if isinstance(pool.nic, str):
        return [view.nics[pool.nic]] if pool.nic in view.nics else []
    return [nic for nic in view.nics.values() if nic.network == pool.nic]
