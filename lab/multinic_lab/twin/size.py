"""How large a twin is, and the names and addresses that follow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from typing import Any

from multinic_core.errors import ConfigError
from multinic_core.plan import Nic

NETWORK = "twin"
INTERFACE_BITS, HOST_BITS = 4, 13
MOST_NODES = (1 << HOST_BITS) - 100
"""Some are left for those that join."""
MOST_NICS = 1 << INTERFACE_BITS
EXCLUDED = "100.127.255.252/30"
"""What the edit of the network excludes: the end of the last block of all, which is no node's."""


@dataclass(frozen=True, slots=True)
class Size:
    """One size of cluster."""

    nodes: int
    nics: int
    """Of each node."""

    def __post_init__(self) -> None:
        for name, found, most in (("nodes", self.nodes, MOST_NODES), ("nics", self.nics, MOST_NICS)):
            if not 2 <= found <= most:
                raise ConfigError(f"--{name}: found {found}, expected a number from 2 to {most}")


def node_name(number: int) -> str:
    return f"node-{number:05d}"


def node_nics(number: int, nics: int) -> dict[str, Nic]:
    """ifname to NIC of one node; NIC *i* of every node is on the same network."""
    found = {}
    for index in range(nics):
        address = ip_interface(f"{ip_address(f'172.{16 + index}.0.10') + number}/16")
        name = f"eth{index + 1:02d}"
        found[name] = Nic(name, index + 2, 9000, addresses=(address,), vendor="15b3", product="101e")
    return found


def node_object(number: int) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node_name(number)}}


def network_object() -> dict[str, Any]:
    """A network over all NICs of all nodes, with host routes."""
    ipam = {
        "type": "multi-nic-ipam",
        "hostBlock": HOST_BITS,
        "interfaceBlock": INTERFACE_BITS,
        "vlanMode": "l3",
    }
    spec = {
        "subnet": "100.64.0.0/10",
        "ipam": json.dumps(ipam),
        "multiNICIPAM": True,
        "plugin": {"cniVersion": "0.3.0", "type": "ipvlan", "args": {"mode": "l3"}},
        "attachPolicy": {"strategy": "none"},
        "namespaces": ["default"],
    }
    return {
        "apiVersion": "multinic.fms.io/v1",
        "kind": "MultiNicNetwork",
        "metadata": {"name": NETWORK},
        "spec": spec,
    }


def edited_ipam(ipam: str) -> str:
    """The network's IPAM with one more exclude, which every node has to hear of."""
    return json.dumps({**json.loads(ipam), "excludeCIDRs": [EXCLUDED]})
