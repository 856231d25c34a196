"""Where the addresses of an attachment come from, when not from this node's pools.

From somebody who has given them already: an earlier plugin of a chain, or the pod itself on a network without an IPAM.
Or from an IPAM executable, which is asked once for each link. An address that the pod asks for goes to the link whose
turn it is: the first of a family to the first link, the second to the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from multinic_core.cni import NetConf, parse_result
from multinic_core.errors import ConfigError, UnsupportedFieldError
from multinic_core.outside import RunIpam
from multinic_core.plan import IPInterface, LinkRequest
from multinic_core.registry import Registry
from multinic_core.singlenic import nic_block, nics_named
from multinic_daemon.engine.invocation import Invocation
from multinic_daemon.engine.podroutes import without_shared
from multinic_daemon.engine.select import Members

NEEDS_LINK = frozenset({"dhcp"})
"""IPAM executables that ask over the link itself, which so must be there before. Source: the reference ``dhcp``."""
IPAM_VERSION = "0.4.0"
"""``cniVersion`` for IPAM executables, whichever the network has: the first with CHECK, and old enough for all."""


@dataclass(frozen=True, slots=True)
class Given:
    """Somebody has given the addresses."""

    addresses: tuple[tuple[IPInterface, int | None], ...]
    """Each with the position of its link, None: the next one that has none of its family."""
    who: str
    """For messages."""

    def share_out(self, links: Sequence[LinkRequest]) -> tuple[LinkRequest, ...]:
        """The links with their addresses.

        Raises:
            ConfigError: there are more addresses than links, or a link that is meant is not there.
        """
        own: list[list[IPInterface]] = [list(link.addresses) for link in links]
        for address, position in self.addresses:
            if position is None:
                has = (all(other.version != address.version for other in each) for each in own)
                position = next((number for number, free in enumerate(has) if free), len(links))
            if position >= len(links):
                raise ConfigError(f"{self.who}: found {address}, but there are {len(links)} links, expected fewer")
            own[position].append(address)
        return tuple(replace(link, addresses=tuple(addresses)) for link, addresses in zip(links, own, strict=True))


@dataclass(frozen=True, slots=True)
class Asked:
    """IPAM executables are asked, one call for each link."""

    netconf: NetConf
    static: tuple[IPInterface, ...]

    def members(self, members: Members) -> Members:
        """Those NICs of a network that the block is for."""
        if (named := nics_named(self.netconf.ipam)) is None:
            return members
        left = {nic.ifname: "ipam.args has no entry for it" for nic in members.nics if nic.ifname not in named}
        return replace(
            members, nics=tuple(nic for nic in members.nics if nic.ifname in named), left={**members.left, **left}
        )

    def steps(self, links: Sequence[LinkRequest]) -> tuple[RunIpam, ...]:
        """What to run.

        Raises:
            ConfigError: a NIC without a block, or more static addresses than links.
        """
        wanted = Given(tuple((address, None) for address in self.static), "CNI_ARGS: IP").share_out(links)
        return tuple(
            RunIpam(link.ifname, link.parent, self._config(link.parent, [str(each) for each in own.addresses]))
            for link, own in zip(links, wanted, strict=True)
        )

    def _config(self, parent: str, asked: list[str]) -> dict[str, Any]:
        netconf = self.netconf
        config: dict[str, Any] = {
            "cniVersion": IPAM_VERSION,
            "name": netconf.name,
            "type": netconf.plugin.get("type"),
            "master": parent,
            "ipam": without_shared(nic_block(netconf.ipam, parent)),
        }
        return config | ({"runtimeConfig": {"ips": asked}} if asked else {})

    def need_links(self, steps: Sequence[RunIpam]) -> bool:
        """Whether these are to be run when the links are there."""
        return any(step.config["ipam"].get("type") in NEEDS_LINK for step in steps)


def read_source(registry: Registry, call: Invocation) -> Given | Asked | None:
    """None: an IPAM that is installed gives addresses of this node's pools, or there are none.

    Raises:
        DecodeError: ``prevResult`` is no result.
        UnsupportedFieldError: the network has neither an IPAM nor addresses with a prefix length.
    """
    netconf = call.netconf
    if netconf.prev_result is not None and (given := _earlier(netconf.prev_result)).addresses:
        if call.static:
            raise UnsupportedFieldError(
                f"CNI_ARGS: IP: found {[str(each) for each in call.static]!r}, but {given.who} has given addresses"
            )
        return given
    name = netconf.ipam.get("type") or ""
    if name in registry.ipams:
        return None
    if name:
        return Asked(netconf, call.static)
    return Given(tuple((each, None) for each in call.static), "CNI_ARGS: IP") if call.static else None


def _earlier(document: dict[str, Any]) -> Given:
    """The addresses of an earlier plugin's result that are on no interface of it."""
    result = parse_result(document)
    free = [ip for ip in result.ips if ip.interface is None or ip.interface >= len(result.interfaces)]
    return Given(
        tuple((ip.address, None if ip.interface is None else ip.interface - len(result.interfaces)) for ip in free),
        "prevResult",
    )
