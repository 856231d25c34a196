"""CNI results out of what was applied, and the text that a runtime reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from multinic_core.cni import SUPPORTED_VERSIONS, Interface, IPConfig, Result, RouteConfig, parse_result
from multinic_core.devices import TakeDevice
from multinic_core.plan import Allocation, LinkRequest
from multinic_daemon.podlinks.kernel import MadeLink

NEWEST = SUPPORTED_VERSIONS[-1]
"""The version that results are kept in; every other is written from it."""
_DENSE = json.JSONEncoder(separators=(",", ":"))


def link_result(
    netns: str,
    links: Sequence[LinkRequest],
    made: Sequence[MadeLink],
    ipam: Mapping[str, Any],
    devices: Sequence[TakeDevice] = (),
) -> Result:
    """The answer to an ADD that made links: one interface per link, each address pointing at its own link."""
    by_name = {link.ifname: link for link in made}
    by_address = {step.ifname: step.pci_address for step in devices}
    return Result(
        interfaces=tuple(
            Interface(
                link.ifname,
                by_name[link.ifname].mac_address,
                by_name[link.ifname].mtu,
                netns,
                by_address.get(link.ifname, ""),
            )
            if link.ifname in by_name or link.ifname not in by_address
            else Interface(link.ifname, sandbox=netns, pci_id=by_address[link.ifname])  # bound to a user space driver
            for link in links
        ),
        ips=tuple(IPConfig(address, position) for position, link in enumerate(links) for address in link.addresses),
        routes=_routes(ipam),
        dns=ipam.get("dns"),
    )


def address_result(parents: Sequence[str], allocations: Sequence[Allocation], ipam: Mapping[str, Any]) -> Result:
    """The answer of ``multi-nic-ipam``: no interfaces, ``interface`` is the position of the NIC among ``masters``."""
    return Result(
        ips=tuple(IPConfig(each.address, list(parents).index(each.parent)) for each in allocations),
        routes=_routes(ipam),
        dns=ipam.get("dns"),
    )


def _routes(ipam: Mapping[str, Any]) -> tuple[RouteConfig, ...]:
    return tuple(
        RouteConfig(ip_network(entry["dst"], strict=False), ip_address(entry["gw"]) if entry.get("gw") else None)
        for entry in ipam.get("routes") or ()
    )


def encode_result(result: Result) -> str:
    """For the journal."""
    return _DENSE.encode(result.to_json(NEWEST))


def decode_result(text: str) -> Result:
    """What ``encode_result`` wrote."""
    return parse_result(json.loads(text))


def print_result(result: Result, version: str) -> bytes:
    """What the executable prints."""
    return json.dumps(result.to_json(version)).encode() + b"\n"
