"""The configuration that an executable gets for one link."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multinic_core.plan import IPInterface, LinkRequest

STATIC = "static"
"""IPAM executable of the reference plugins that gives the addresses it is told."""


def link_config(executable: str, block: Mapping[str, Any], link: LinkRequest) -> dict[str, Any]:
    """The ``plugin`` block, with what differs from link to link.

    Every executable is told its NIC as ``master``; one that has no use for it reads over it.
    """
    config = {
        "cniVersion": "0.3.0",
        **block,
        "type": executable,
        "name": link.ifname,
        "master": link.parent,
        "ipam": dict(link.ipam) or static_ipam(link),
    }
    return config | ({"runtimeConfig": {"mac": link.mac_address}} if link.mac_address else {})


def static_ipam(link: LinkRequest) -> dict[str, Any]:
    """An ipam block that gives these addresses, with their gateways and routes; {} for a link without addresses."""
    if not link.addresses:
        return {}
    routes = [{"dst": str(dst)} | ({"gw": str(gateway)} if gateway else {}) for dst, gateway in link.routes]
    return {
        "type": STATIC,
        "addresses": [{"address": str(address)} | _gateway(address, link) for address in link.addresses],
        **({"routes": routes} if routes else {}),
    }


def _gateway(address: IPInterface, link: LinkRequest) -> dict[str, str]:
    found = next((gateway for gateway in link.gateways if gateway in address.network), None)
    return {"gateway": str(found)} if found else {}
