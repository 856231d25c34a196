"""Whether a network can work as written, and what it asks for when it can. Pure.

All problems are found at once, each a sentence that starts with its field path, says what was found and what would be
accepted. A network with problems changes nothing that exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multinic_core.addressing import overlaps, parse_blocks, parse_network
from multinic_core.errors import ConfigError
from multinic_core.hookspecs import NetworkConfig
from multinic_core.model import (
    CIDRSpec,
    HostInterface,
    MultiNicIpamConfig,
    MultiNicNetwork,
    multi_nic_ipam_config,
    parse_ipam,
)
from multinic_core.plan import IPNetwork
from multinic_core.registry import Registry
from multinic_operator.claims import Claim
from multinic_operator.layout import BlockRequest, HostNic, host_nics

LABEL_VALUE_LENGTH = 63
"""Most characters of a label value; pools carry the network's name in one. Source: Kubernetes, labels and selectors."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What a valid network asks for."""

    ipam: Mapping[str, Any]
    """The parsed ipam block; {} for networks without addresses."""
    config: NetworkConfig
    blocks: BlockRequest | None
    """None when another IPAM gives the addresses."""
    l3: bool
    """Whether the nodes keep host routes for it."""


def validate(
    network: MultiNicNetwork,
    registry: Registry,
    nodes: Sequence[HostInterface],
    claims: Iterable[Claim] = (),
    recorded: CIDRSpec | None = None,
) -> Intent:
    """What the network asks for.

    Args:
        claims: subnets of other networks, from :func:`multinic_operator.claims.claims_on`.
        recorded: the CIDR that exists.

    Raises:
        ConfigError: all problems at once.
    """
    problems: list[str] = []
    if len(network.name) > LABEL_VALUE_LENGTH:
        problems.append(f"metadata.name: found {len(network.name)} characters, expected at most {LABEL_VALUE_LENGTH}")
    config = _plugin(network, registry, nodes, problems)
    policy = network.spec.attach_policy
    if policy is not None and policy.strategy not in registry.strategies:
        known = sorted(registry.strategies.objects)
        problems.append(f"spec.attachPolicy.strategy: found {policy.strategy!r}, expected one of {known!r}")
    ipam: Mapping[str, Any] = {}
    settings: MultiNicIpamConfig | None = None
    try:
        ipam = parse_ipam(network)
        settings = multi_nic_ipam_config(network)
    except ConfigError as error:
        problems.extend(error.problems)
    master_nets = _master_nets(network, problems)
    blocks = None
    if settings is not None:
        blocks = _blocks(network, settings, master_nets, problems)
        if blocks is not None and blocks.subnet is not None:
            problems += _conflicts(blocks.subnet, host_nics(nodes), claims, recorded)
    if problems or config is None:
        raise ConfigError(*problems)
    l3 = settings is not None and settings.is_l3 and bool(network.spec.multi_nic_ipam)
    return Intent(ipam, config, blocks, l3)


def _plugin(
    network: MultiNicNetwork, registry: Registry, nodes: Sequence[HostInterface], problems: list[str]
) -> NetworkConfig | None:
    name = network.spec.plugin.type
    if name not in registry.main_plugins:
        problems.append(f"spec.plugin.type: found {name!r}, expected one of {sorted(registry.main_plugins.objects)!r}")
        return None
    try:
        return registry.main_plugins[name].network_config(network, nodes)
    except ConfigError as error:
        problems.extend(error.problems)
    except Exception as error:  # a foreign plugin may raise anything, and stops only its own networks
        owner = registry.main_plugins.owners.get(name, "an unknown distribution")
        problems.append(f"spec.plugin.type: main plugin {name!r} of {owner} raised {type(error).__name__}: {error}")
    return None


def _master_nets(network: MultiNicNetwork, problems: list[str]) -> tuple[IPNetwork, ...]:
    parsed: list[IPNetwork] = []
    for position, text in enumerate(network.spec.master_nets or []):
        path = f"spec.masterNets[{position}]"
        try:
            found = parse_network(text, path)
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        if found in parsed:
            problems.append(f"{path}: found {text!r} a second time, expected each NIC network once")
        parsed.append(found)
    return tuple(parsed)


def _blocks(
    network: MultiNicNetwork,
    settings: MultiNicIpamConfig,
    master_nets: tuple[IPNetwork, ...],
    problems: list[str],
) -> BlockRequest | None:
    """The block request; None when its problems, added to the list, leave none."""
    subnet = (network.spec.subnet or "").strip()
    if "," in subnet:
        problems.append(
            f"spec.subnet: found {subnet!r}, expected one subnet: address blocks of two families"
            " in one network are not supported yet, make one network for each"
        )
        return None
    try:
        # Without a subnet the excludes are parts of NIC networks, which come and go: any place is accepted.
        families = (subnet,) if subnet else ("0.0.0.0/0", "::/0")
        bits = (settings.interface_block, settings.host_block) if subnet else (0, 0)
        cut = [parse_blocks(one, *bits, _of_family(settings.exclude_cidrs, one, subnet))[0] for one in families]
    except ConfigError as error:
        problems.extend(error.problems)
        return None
    if settings.is_l3 and not subnet:
        problems.append(
            f"spec.subnet: found '', expected a subnet, as host routes of spec.ipam.vlanMode {settings.vlan_mode!r}"
            " tell pods' traffic by it"
        )
    allowed = 1 << settings.interface_block
    if subnet and len(master_nets) > allowed:
        problems.append(
            f"spec.masterNets: found {len(master_nets)} networks, expected at most {allowed},"
            f" as spec.ipam.interfaceBlock is {settings.interface_block}"
        )
    return BlockRequest(
        name=network.name,
        plugin=network.spec.plugin.type,
        subnet=cut[0].subnet if subnet else None,
        interface_bits=settings.interface_block,
        host_bits=settings.host_block,
        excludes=tuple(exclude for blocks in cut for exclude in blocks.excludes),
        exclude_texts=tuple(settings.exclude_cidrs),
        vlan_mode=settings.vlan_mode,
        master_nets=master_nets,
    )


def _of_family(excludes: Sequence[str], one: str, subnet: str) -> Sequence[str]:
    """All excludes, or in host-subnet mode those that look like the family, so that each is parsed, and once."""
    return excludes if subnet else [text for text in excludes if (":" in text) == (":" in one)]


def _conflicts(
    subnet: IPNetwork, nics: Sequence[HostNic], claims: Iterable[Claim], recorded: CIDRSpec | None
) -> Iterable[str]:
    for claim in claims:
        if overlaps(claim.subnet, subnet):
            yield f"spec.subnet: found '{subnet}', which overlaps '{claim.subnet}' of network {claim.network!r}"
    if recorded is not None and recorded.config.subnet == str(subnet):
        return  # a NIC that arrives later must not stop a network that works: it only gets no block
    for host_network in sorted({str(nic.network) for nic in nics if overlaps(nic.network, subnet)}):
        owner = next(nic for nic in nics if str(nic.network) == host_network)
        yield (
            f"spec.subnet: found '{subnet}', which overlaps the NIC network {host_network}"
            f" ({owner.ifname} of node {owner.host!r}); leave spec.subnet empty to cut the NICs' own networks"
        )


def renumbering(recorded: CIDRSpec, blocks: BlockRequest) -> list[str]:
    """The edits that would move every block: one sentence each, [] when the blocks are cut as before."""
    old = recorded.config
    new_subnet = str(blocks.subnet) if blocks.subnet else ""
    found: list[str] = []
    if old.subnet != new_subnet:
        found.append(f"spec.subnet: found {new_subnet!r}, expected {old.subnet!r}")
    if old.host_block != blocks.host_bits:
        found.append(f"spec.ipam.hostBlock: found {blocks.host_bits}, expected {old.host_block}")
    if blocks.subnet is not None and old.interface_block != blocks.interface_bits:
        found.append(f"spec.ipam.interfaceBlock: found {blocks.interface_bits}, expected {old.interface_block}")
    return found
