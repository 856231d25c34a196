"""Who has the right to a subnet when two networks ask for the same addresses. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from multinic_core.addressing import parse_network
from multinic_core.errors import ConfigError
from multinic_core.model import CIDRSpec, MultiNicNetwork, multi_nic_ipam_config
from multinic_core.plan import IPNetwork


@dataclass(frozen=True, slots=True)
class Claim:
    """A subnet that another network has a better right to."""

    network: str
    subnet: IPNetwork
    whole: bool = True
    """False: a NIC network that the other network, without a subnet of its own, cuts for its pods."""


def claims_on(
    network: MultiNicNetwork,
    networks: Iterable[MultiNicNetwork],
    recorded: Mapping[str, CIDRSpec],
    ipams: Container[str] = (),
) -> list[Claim]:
    """Subnets that other networks have a better right to: in use beats wished for, then the older, then the name.

    Args:
        ipams: those that are installed.
    """

    def rank(of: MultiNicNetwork, in_use: bool) -> tuple[bool, str, str]:
        return (not in_use, of.metadata.creation_timestamp or "", of.name)

    mine = recorded.get(network.name)
    own = rank(network, mine is not None and mine.config.subnet == (network.spec.subnet or "").strip())
    claims: list[Claim] = []
    for other in networks:
        theirs = recorded.get(other.name)
        if other.name == network.name or rank(other, theirs is not None) > own:
            continue
        try:
            if theirs is None and multi_nic_ipam_config(other, ipams) is None:
                continue
            text = theirs.config.subnet if theirs is not None else other.spec.subnet or ""
            parts = [part for part in text.split(",") if part.strip()]
            claims += [Claim(other.name, parse_network(part, "spec.subnet")) for part in parts]
            if not parts:
                cut = [entry.net_address for entry in theirs.cidr] if theirs is not None else other.spec.master_nets
                claims += [Claim(other.name, parse_network(net, "spec.masterNets"), False) for net in cut or ()]
        except ConfigError:
            continue  # it cannot work as written, so it claims nothing
    return claims
