"""Plans as JSON text, for the journal: what ADD meant to make is what CHECK compares and DEL removes."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from multinic_core.plan import MAIN_TABLE, AddAddress, AddRoute, AddRule, CreateLink, Plan, SetSysctl, Step

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
            route = {"step": "route", "dst": str(step.dst), "ifname": step.ifname, "gateway": gateway}
            return route if step.table == MAIN_TABLE else {**route, "table": step.table}
        case AddRule():
            return {"step": "rule", "src": str(step.src), "table": step.table, "priority": step.priority}
        case SetSysctl():
            return {"step": "sysctl", "key": step.key, "value": step.value}


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
            hop = None if gateway is None else ip_address(gateway)
            return AddRoute(ip_network(step["dst"]), step["ifname"], hop, step.get("table", MAIN_TABLE))
        case "rule":
            return AddRule(ip_network(step["src"]), step["table"], step["priority"])
        case "sysctl":
            return SetSysctl(step["key"], step["value"])
        case other:
            raise ValueError(f"plan: found step {other!r}, expected link, address, route, rule or sysctl")
