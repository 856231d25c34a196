"""Plans as JSON text, for the journal: what ADD meant to make is what CHECK compares and DEL removes."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from multinic_core.plan import AddAddress, AddRoute, CreateLink, Plan, Step

_DENSE = json.JSONEncoder(separators=(",", ":"))


def encode_plan(plan: Plan) -> str:
    """The plan as one line of JSON."""
    return _DENSE.encode([_encode_step(step) for step in plan.steps])


def decode_plan(text: str) -> Plan:
    """The plan that ``encode_plan`` wrote."""
    return Plan(tuple(_decode_step(step) for step in json.loads(text)))


def _encode_step(step: Step) -> dict[str, Any]:
    match step:
        case CreateLink():
            return {
                "step": "link",
                "ifname": step.ifname,
                "link_kind": step.link_kind,
                "parent": step.parent,
                "parent_ifindex": step.parent_ifindex,
                "mtu": step.mtu,
                "attributes": dict(step.attributes),
                "mac_address": step.mac_address,
            }
        case AddAddress():
            return {"step": "address", "ifname": step.ifname, "address": str(step.address)}
        case AddRoute():
            gateway = None if step.gateway is None else str(step.gateway)
            return {"step": "route", "dst": str(step.dst), "ifname": step.ifname, "gateway": gateway}


def _decode_step(step: dict[str, Any]) -> Step:
    match step["step"]:
        case "link":
            return CreateLink(
                step["ifname"],
                step["link_kind"],
                step["parent"],
                step["parent_ifindex"],
                step["mtu"],
                step["attributes"],
                step["mac_address"],
            )
        case "address":
            return AddAddress(step["ifname"], ip_interface(step["address"]))
        case "route":
            gateway = step["gateway"]
            return AddRoute(ip_network(step["dst"]), step["ifname"], None if gateway is None else ip_address(gateway))
        case other:
            raise ValueError(f"plan: found step {other!r}, expected link, address or route")
