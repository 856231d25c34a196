"""Cutting a subnet into blocks: one per NIC network, and within that one per node. Pure arithmetic on integers.

With base ``S/p``, ``interfaceBlock`` ib and ``hostBlock`` hb, for IPv4 (32 bits) and IPv6 (128 bits) alike::

    interface block i   = S + i * 2^(bits - p - ib)                    / p + ib        0 <= i < 2^ib
    pod block (i, h)    = interface block i + h * 2^(bits - p - ib - hb) / p + ib + hb   0 <= h < 2^hb

Source: the fields ``interfaceBlock`` and ``hostBlock`` of multi-nic-ipam. Who gets which index, the operator decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import collapse_addresses, ip_interface, ip_network

from multinic_core.errors import ConfigError
from multinic_core.plan import IPNetwork


def block(network: IPNetwork, bits: int, index: int) -> IPNetwork:
    """Block ``index`` of ``network`` cut into 2^bits equal blocks.

    Raises:
        ValueError: the index is not within the blocks, or there are no bits left to cut.
    """
    prefix_length = network.prefixlen + bits
    if prefix_length > network.max_prefixlen:
        raise ValueError(f"{network} has no {bits} bits to cut: /{prefix_length} is past /{network.max_prefixlen}")
    if not 0 <= index < 1 << bits:
        raise ValueError(f"index {index} is not within the {1 << bits} blocks of {network}")
    base = int(network.network_address) + (index << (network.max_prefixlen - prefix_length))
    return type(network)((base, prefix_length))


def covers(outer: IPNetwork, inner: IPNetwork) -> bool:
    """Whether ``outer`` contains all of ``inner``; False across address families."""
    return outer.version == inner.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # versions are equal


def overlaps(one: IPNetwork, other: IPNetwork) -> bool:
    """Whether the two share an address; False across address families."""
    return one.version == other.version and one.overlaps(other)


def usable_indexes(network: IPNetwork) -> range:
    """Indexes that may be given to pods.

    All but the network and broadcast address for two host bits and more, both of a point-to-point network (RFC 3021,
    RFC 6164), the one of a single address.
    """
    size = 1 << (network.max_prefixlen - network.prefixlen)
    return range(1, size - 1) if size > 2 else range(size)


def interface_block(
    subnet: IPNetwork | None, interface_bits: int, network: IPNetwork, interface_index: int
) -> IPNetwork:
    """The interface block of the NIC network ``network``, which has this index.

    Args:
        subnet: what is cut; None: the NIC network itself is the block.

    Raises:
        ValueError: the index is not within the blocks.
    """
    return network if subnet is None else block(subnet, interface_bits, interface_index)


@dataclass(frozen=True, slots=True)
class Blocks:
    """A network's subnet and how it is cut."""

    subnet: IPNetwork
    interface_bits: int
    host_bits: int
    excludes: tuple[IPNetwork, ...] = ()

    def interface_block(self, interface_index: int) -> IPNetwork:
        return interface_block(self.subnet, self.interface_bits, self.subnet, interface_index)

    def pod_block(self, interface_index: int, host_index: int) -> IPNetwork:
        return block(self.interface_block(interface_index), self.host_bits, host_index)


def excluded_blocks(container: IPNetwork, bits: int, excludes: Sequence[IPNetwork]) -> list[tuple[int, int]]:
    """Indexes of the 2^bits blocks of ``container`` that the excludes take whole, as inclusive ranges.

    Arithmetic, never a loop over indexes: an IPv6 container may have more blocks than a loop ever ends.
    """
    shift = container.max_prefixlen - container.prefixlen - bits
    ranges = []
    for exclude in excludes:
        if covers(exclude, container):
            ranges.append((0, (1 << bits) - 1))
        elif covers(container, exclude) and exclude.max_prefixlen - exclude.prefixlen >= shift:
            first = (int(exclude.network_address) - int(container.network_address)) >> shift
            ranges.append((first, first + (exclude.num_addresses >> shift) - 1))
    return ranges


def reserved_addresses(network: IPNetwork, indexes: Iterable[int]) -> tuple[IPNetwork, ...]:
    """The addresses at these indexes of a network, each once, ascending; negative ones count from its end."""
    size = network.num_addresses
    found = sorted({index % size for index in indexes if -size <= index < size})
    return tuple(type(network)((int(network.network_address) + index, network.max_prefixlen)) for index in found)


def merged(networks: Iterable[IPNetwork]) -> list[IPNetwork]:
    """The networks with neighbours joined, so that two halves of a block count as the block."""
    ordered = list(networks)
    joined: list[IPNetwork] = []
    for version in (4, 6):
        joined += collapse_addresses([n for n in ordered if n.version == version])  # type: ignore[type-var]
    return joined


def parse_network(text: str, path: str) -> IPNetwork:
    """A network in CIDR form; a bare address is a network of one.

    Raises:
        ConfigError: not a network, or one with host bits set; says which network would do.
    """
    try:
        interface = ip_interface(text.strip())
    except ValueError as error:
        raise ConfigError(f"{path}: found {text!r}, expected a network such as '192.168.0.0/16'") from error
    if interface.ip != interface.network.network_address:
        raise ConfigError(f"{path}: found {text!r} with host bits set, expected {str(interface.network)!r}")
    return interface.network


def parse_blocks(subnet: str, interface_bits: int, host_bits: int, excludes: Sequence[str]) -> tuple[Blocks, ...]:
    """The blocks of each subnet named: one, or two of different families separated by a comma.

    Raises:
        ConfigError: all problems at once, each with its field path.
    """
    problems: list[str] = []
    subnets: list[IPNetwork] = []
    for part in subnet.split(","):
        try:
            subnets.append(parse_network(part, "spec.subnet"))
        except ConfigError as error:
            problems.extend(error.problems)
    for network in subnets:
        prefix_length = network.prefixlen + interface_bits + host_bits
        if prefix_length > network.max_prefixlen:
            problems.append(
                f"spec.ipam.hostBlock: found {host_bits}, but {network} with interfaceBlock {interface_bits} leaves"
                f" {max(0, network.max_prefixlen - network.prefixlen - interface_bits)} bits"
            )
    if len({network.version for network in subnets}) < len(subnets):
        problems.append(f"spec.subnet: found {subnet!r}, expected at most one subnet of each address family")
    parsed: list[IPNetwork] = []
    for position, text in enumerate(excludes):
        path = f"spec.ipam.excludeCIDRs[{position}]"
        try:
            exclude = ip_network(ip_interface(text).network)
        except ValueError:
            problems.append(f"{path}: found {text!r}, expected a network or an address")
            continue
        if subnets and not any(overlaps(exclude, network) for network in subnets):
            problems.append(f"{path}: found {text!r}, expected a part of {subnet}")
        parsed.append(exclude)
    if problems:
        raise ConfigError(*problems)
    return tuple(
        Blocks(network, interface_bits, host_bits, tuple(e for e in parsed if overlaps(e, network)))
        for network in subnets
    )
