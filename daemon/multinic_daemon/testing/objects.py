"""What operator and user have written for a network, as JSON, before a pod of one node starts."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]


def network_objects(
    name: str, nics: int, *, node: str, prefix: str = "192.168", **spec: Any
) -> tuple[Json, Json, list[Json]]:
    """MultiNicNetwork, CIDR and this node's IPPools over NICs ``eth1`` up to ``eth<nics>`` (four at most).

    NIC ``eth<n>`` has the interface block ``<prefix>.<64(n-1)>.0/18`` and the pool ``<prefix>.<64(n-1)>.0/24``.

    Args:
        spec: fields of the MultiNicNetwork's spec that replace the usual ones.
    """
    ipam = {"type": "multi-nic-ipam", "interfaceBlock": 2, "hostBlock": 6, "vlanMode": "l3"}
    fields: Json = {
        "subnet": f"{prefix}.0.0/16",
        "ipam": json.dumps(ipam),
        "multiNICIPAM": True,
        "plugin": {"cniVersion": "0.3.0", "type": "macvlan"},
    }
    config = {
        "name": name,
        "type": "macvlan",
        "subnet": fields["subnet"],
        "masterNets": [],
        "hostBlock": 6,
        "interfaceBlock": 2,
    }
    bases = [f"{prefix}.{64 * number}.0" for number in range(nics)]
    entries = [
        {"netAddress": f"10.0.{number + 1}.0/24", "interfaceIndex": number, "vlanCIDR": f"{base}/18", "hosts": []}
        for number, base in enumerate(bases)
    ]
    pools = [
        pool_object(name, f"eth{number + 1}", f"{base}/24", f"{base}/18", node=node)
        for number, base in enumerate(bases)
    ]
    network = {"metadata": {"name": name}, "spec": fields | spec}
    return network, {"metadata": {"name": name}, "spec": {"config": config, "cidr": entries}}, pools


def pool_object(network: str, ifname: str, cidr: str, block: str, *, node: str, **spec: Any) -> Json:
    """The IPPool of one NIC; ``spec`` replaces fields."""
    fields: Json = {
        "podCIDR": cidr,
        "vlanCIDR": block,
        "netAttachDef": network,
        "hostName": node,
        "interfaceName": ifname,
        "excludes": [],
        "allocations": [],
    }
    labels = {"hostname": node, "netname": network}
    name = f"{network}-{cidr}".replace("/", "-").replace(":", "-")
    return {"metadata": {"name": name, "labels": labels}, "spec": fields | spec}
