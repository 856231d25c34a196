"""Whether a network can work as written, and what it asks for when it can. Pure.

All problems are found at once, each a sentence that starts with its field path, says what was found and what would be
accepted. A network with problems changes nothing that exists. The webhook asks before the API server stores a network,
the operator before it acts on one: the same function, so the same words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from itertools import islice
from typing import Any

from multinic_core.addressing import overlaps, parse_blocks, parse_network
from multinic_core.args import read_ipam_block
from multinic_core.clusterfacts import NO_FACTS, ClusterFacts, configure
from multinic_core.errors import ConfigError
from multinic_core.hookspecs import NetworkConfig
from multinic_core.model import (
    HOST_DEVICE_IPAM,
    MULTI_NIC_IPAM,
    CIDRSpec,
    HostInterface,
    MultiNicIpamConfig,
    MultiNicNetwork,
    multi_nic_ipam_config,
    parse_ipam,
)
from multinic_core.plan import IPNetwork
from multinic_core.registry import Registry
from multinic_core.singlenic import MULTI_CONFIG, read_multi_config
from multinic_operator.numbering.layout import BlockRequest
from multinic_operator.validation.capacity import capacity
from multinic_operator.validation.claims import Claim
from multinic_operator.validation.ipamkeys import misspelt_keys, unknown_keys
from multinic_operator.validation.surroundings import Surroundings

LABEL_VALUE_LENGTH = 63
"""Most characters of a label value; pools carry the network's name in one. Source: Kubernetes, labels and selectors."""
NOT_FOR_PODS = tuple(
    ip_network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "::/8", "fe80::/10", "ff00::/8")
)
"""Unspecified, loopback, link-local, multicast. Source: RFC 6890, RFC 4291."""
CONFLICTS_IN_MESSAGE = 3
SLIP = 0.82
"""Likeness from which a name counts as misspelt: one letter of six, and not the ``vlan`` in ``ipvlan``."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What a valid network asks for."""

    ipam: Mapping[str, Any]
    """The parsed ipam block; {} for networks without addresses."""
    config: NetworkConfig
    blocks: BlockRequest | None
    """None when executables of the nodes give the addresses, or nobody does."""
    l3: bool
    """Whether the nodes keep host routes for it."""
    low: tuple[str, ...] = ()
    """Which blocks are nearly used up."""
    warnings: tuple[str, ...] = ()
    """What looks like a mistake and stops nothing."""


def validate(
    network: MultiNicNetwork,
    registry: Registry,
    nodes: Sequence[HostInterface],
    claims: Iterable[Claim] = (),
    recorded: CIDRSpec | None = None,
    around: Surroundings | None = None,
    facts: ClusterFacts = NO_FACTS,
) -> Intent:
    """What the network asks for.

    Args:
        nodes: for main plugins, which may look at NICs.
        claims: subnets of other networks, from :func:`multinic_operator.validation.claims.claims_on`.
        recorded: the CIDR that exists.
        around: the NICs and the cluster's own networks.
        facts: what the network's main plugin reads.

    Raises:
        ConfigError: all problems at once.
    """
    around = around or Surroundings()
    problems: list[str] = []
    warnings: list[str] = []
    if len(network.name) > LABEL_VALUE_LENGTH:
        problems.append(f"metadata.name: found {len(network.name)} characters, expected at most {LABEL_VALUE_LENGTH}")
    config = _plugin(network, registry, nodes, facts, problems)
    policy = network.spec.attach_policy
    if policy is not None and policy.strategy not in registry.strategies:
        known = sorted(registry.strategies.objects)
        problems.append(f"spec.attachPolicy.strategy: found {policy.strategy!r}, expected one of {known!r}")
    if network.spec.plugin.dns is not None:
        problems += _not_addresses(network.spec.plugin.dns.nameservers or (), "spec.plugin.dns.nameservers")
    ipam: Mapping[str, Any] = {}
    settings: MultiNicIpamConfig | None = None
    try:
        ipam = parse_ipam(network)
        settings = multi_nic_ipam_config(network, registry.ipams.objects)
    except ConfigError as error:
        problems.extend(error.problems)
    else:
        if network.spec.multi_nic_ipam and not ipam:
            problems.append(
                "spec.multiNICIPAM: found true with an empty spec.ipam, expected an IPAM that gives one address per NIC"
                " such as 'multi-nic-ipam', or false"
            )
    master_nets = _master_nets(network, around, problems, warnings)
    blocks: BlockRequest | None = None
    low: tuple[str, ...] = ()
    if settings is not None:
        if ipam.get("type") == MULTI_NIC_IPAM:  # of others the keys are theirs
            problems += misspelt_keys(ipam)
            warnings += unknown_keys(ipam)
        problems += _own_keys(registry, ipam)
        problems += _handed_on(settings)
        blocks = _blocks(network, settings, master_nets, config, problems)
        if blocks is not None:
            low = _judge(network, blocks, around, claims, recorded, problems)
    else:
        problems += _handed_on_subnet(network)
        problems += _handed_on_ipam(ipam)
        problems += _device_addresses(network, registry, ipam)
    if problems or config is None:
        raise ConfigError(*problems)
    l3 = settings is not None and settings.is_l3 and bool(network.spec.multi_nic_ipam)
    return Intent(ipam, config, blocks, l3, low, tuple(warnings))


def _judge(
    network: MultiNicNetwork,
    blocks: BlockRequest,
    around: Surroundings,
    claims: Iterable[Claim],
    recorded: CIDRSpec | None,
    problems: list[str],
) -> tuple[str, ...]:
    """Add what stands against these blocks in this cluster; gives which are nearly used up.

    A network that works is not stopped by what comes later, a node too many or a NIC in the wrong place: what is left
    without a block is told by the computation of the blocks.
    """
    as_recorded = recorded is not None and not renumbering(recorded, blocks)
    problems += _conflicts(blocks, around, claims, as_recorded)
    verdict = capacity(
        blocks, {net: found.nics for net, found in around.nics.items()}, recorded if as_recorded else None
    )
    lost = recorded is None and network.status is not None and bool(network.status.compute_results)
    if not (as_recorded or lost):  # lost: the CIDR of a network at work was deleted, and is to come back as it was
        problems += verdict.problems
        return verdict.low
    return verdict.problems + verdict.low


def _plugin(
    network: MultiNicNetwork,
    registry: Registry,
    nodes: Sequence[HostInterface],
    facts: ClusterFacts,
    problems: list[str],
) -> NetworkConfig | None:
    name = network.spec.plugin.type
    plugin = registry.main_plugin(name)
    if plugin is None or (name not in registry.main_plugins and _nearly(name, registry.main_plugins.objects)):
        known = sorted(registry.main_plugins.objects)
        otherwise = (
            f"; a CNI executable {name!r} is meant by {plugin.name!r} with spec.plugin.args.type" if plugin else ""
        )
        problems.append(f"spec.plugin.type: found {name!r}, expected one of {known!r}{otherwise}")
        return None
    try:
        return configure(plugin, network, nodes, facts)
    except ConfigError as error:
        problems.extend(error.problems)
    except Exception as error:  # a foreign plugin may raise anything, and stops only its own networks
        owner = registry.main_plugins.owners.get(plugin.name, "an unknown distribution")
        problems.append(
            f"spec.plugin.type: main plugin {plugin.name!r} of {owner} raised {type(error).__name__}: {error}"
        )
    return None


def _nearly(name: str, known: Iterable[str]) -> bool:
    """Whether a name is one of these but for a slip, so that nobody means anything else by it."""
    return bool(get_close_matches(name, list(known), n=1, cutoff=SLIP))


def _not_addresses(texts: Iterable[str], path: str) -> Iterable[str]:
    for position, text in enumerate(texts):
        try:
            ip_address(text)
        except ValueError:
            yield f"{path}[{position}]: found {text!r}, expected an address such as '10.96.0.10'"


def _handed_on(settings: MultiNicIpamConfig) -> Iterable[str]:
    """Problems of what pods get as it stands: routes and name servers."""
    for position, route in enumerate(settings.routes):
        path = f"spec.ipam.routes[{position}]"
        try:
            dst = parse_network(route.dst, f"{path}.dst")
        except ConfigError as error:
            yield from error.problems
            continue
        if route.gw is None:
            continue
        try:
            gateway = ip_address(route.gw)
        except ValueError:
            yield f"{path}.gw: found {route.gw!r}, expected an address such as '10.0.1.1'"
            continue
        if gateway.version != dst.version:
            yield f"{path}.gw: found {route.gw!r}, expected an address of the family of {route.dst!r}"
    if settings.dns is not None:
        yield from _not_addresses(settings.dns.nameservers or (), "spec.ipam.dns.nameservers")


def _master_nets(
    network: MultiNicNetwork, around: Surroundings, problems: list[str], warnings: list[str]
) -> tuple[IPNetwork, ...]:
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
        if around.nics and found not in around.nics:
            warnings.append(f"{path}: found {text!r}, which no NIC of any node is in now")
        parsed.append(found)
    return tuple(parsed)


def _blocks(
    network: MultiNicNetwork,
    settings: MultiNicIpamConfig,
    master_nets: tuple[IPNetwork, ...],
    config: NetworkConfig | None,
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
        reserved_indexes=config.reserved_indexes if config is not None else (),
    )


def _of_family(excludes: Sequence[str], one: str, subnet: str) -> Sequence[str]:
    """All excludes, or in host-subnet mode those that look like the family, so that each is parsed, and once."""
    return excludes if subnet else [text for text in excludes if (":" in text) == (":" in one)]


def _conflicts(blocks: BlockRequest, around: Surroundings, claims: Iterable[Claim], as_recorded: bool) -> Iterable[str]:
    subnet = blocks.subnet
    if subnet is None:
        if not as_recorded:
            yield from _cut_twice(blocks, around, claims)
        return
    for claim in claims:
        if overlaps(claim.subnet, subnet):
            what = f"of network {claim.network!r}" if claim.whole else f"which network {claim.network!r} cuts"
            yield f"spec.subnet: found '{subnet}', which overlaps '{claim.subnet}' {what}; choose another subnet"
    yield from _not_for_pods(subnet)
    if as_recorded:
        return  # a node that arrives later must not stop a network that works: it only gets no block
    for net in blocks.master_nets:
        if overlaps(net, subnet):
            yield (
                f"spec.subnet: found '{subnet}', which overlaps '{net}' of spec.masterNets, expected a subnet apart"
                " from the NICs' own, or none to cut those"
            )
    for found in around.networks():
        if overlaps(found, subnet):
            owner = around.nics[found]
            yield (
                f"spec.subnet: found '{subnet}', which overlaps the NIC network {found}"
                f" ({owner.ifname} of node {owner.node!r}); choose another subnet, or leave spec.subnet empty to cut"
                " the NICs' own networks"
            )
    taken = list(islice(around.taken(subnet), CONFLICTS_IN_MESSAGE + 1))
    for one in taken[:CONFLICTS_IN_MESSAGE]:
        yield f"spec.subnet: found '{subnet}', which overlaps {one.network}, {one.owner}; choose another subnet"
    if len(taken) > CONFLICTS_IN_MESSAGE:
        yield f"spec.subnet: found '{subnet}', which overlaps more of the cluster's own networks; choose another subnet"


def _not_for_pods(subnet: IPNetwork) -> Iterable[str]:
    if any(overlaps(subnet, other) for other in NOT_FOR_PODS):
        yield (
            f"spec.subnet: found '{subnet}', which has addresses that no pod may hold (unspecified, loopback,"
            " link-local or multicast), expected a unicast network such as '192.168.0.0/16'"
        )


def _handed_on_subnet(network: MultiNicNetwork) -> Iterable[str]:
    """Problems of a subnet that pods' CNI configuration only shows, as another IPAM gives the addresses."""
    for part in (network.spec.subnet or "").split(","):
        if not part.strip():
            continue
        try:
            yield from _not_for_pods(parse_network(part, "spec.subnet"))
        except ConfigError as error:
            yield from error.problems


def _handed_on_ipam(ipam: Mapping[str, Any]) -> Iterable[str]:
    """Problems of a block with a configuration for each NIC, which nodes could not read."""
    if ipam.get("type") == MULTI_CONFIG:
        try:
            read_multi_config(ipam, "spec.ipam")
        except ConfigError as error:
            yield from error.problems


def _device_addresses(network: MultiNicNetwork, registry: Registry, ipam: Mapping[str, Any]) -> Iterable[str]:
    """The problem of addresses that are to come with devices, where pods get links instead; daemons refuse it too."""
    plugin = registry.main_plugin(network.spec.plugin.type)
    if ipam.get("type") == HOST_DEVICE_IPAM and plugin is not None and getattr(plugin, "unavailable", None) is None:
        yield (
            f"spec.ipam.type: found {HOST_DEVICE_IPAM!r} with main plugin {plugin.name!r}, which leaves the NIC and its"
            " address to the node, expected another IPAM, or a main plugin that gives pods the NIC itself"
        )


def _own_keys(registry: Registry, ipam: Mapping[str, Any]) -> Iterable[str]:
    """Problems of the keys that are the IPAM's own, where it says which those are."""
    model = getattr(registry.ipams.objects.get(ipam["type"]), "args_model", None)
    try:
        if model is not None:
            read_ipam_block(model, ipam, "spec.ipam")
    except ConfigError as error:
        yield from error.problems


def _cut_twice(blocks: BlockRequest, around: Surroundings, claims: Iterable[Claim]) -> Iterable[str]:
    """NIC networks that another network gives addresses of."""
    wanted = blocks.master_nets or around.networks()
    for claim in claims:
        for network in wanted:
            if overlaps(claim.subnet, network):
                yield (
                    f"spec.subnet: found '', but NIC network {network} is given to pods by network {claim.network!r}"
                    " already; set a subnet of its own, or leave that NIC network out of spec.masterNets"
                )
                break


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


def unsafe_edits(recorded: CIDRSpec, network: MultiNicNetwork, blocks: BlockRequest | None) -> list[str]:
    """The edits that pods which hold addresses would not survive: one sentence each.

    A network switched to another IPAM is set aside: its blocks stay as they are, and are found again on the way back.
    """
    kind = network.spec.plugin.type
    found = []
    if recorded.config.type != kind:
        found.append(f"spec.plugin.type: found {kind!r}, expected {recorded.config.type!r}")
    return found if blocks is None else found + renumbering(recorded, blocks)


def refuse_edits(edits: Iterable[str], in_use: int) -> None:
    """Raise ConfigError for these edits when addresses are in use."""
    if problems := [f"{edit}, because {_held(in_use)}" for edit in edits if in_use]:
        raise ConfigError(*problems)


def _held(in_use: int) -> str:
    held = (
        "1 address is in use and would be lost" if in_use == 1 else f"{in_use} addresses are in use and would be lost"
    )
    return f"{held}; remove the pods first, or restore the value"
