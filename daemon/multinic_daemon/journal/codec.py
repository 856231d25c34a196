"""Plans as JSON text, for the journal: what ADD meant to make is what CHECK compares and DEL removes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import lru_cache
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from multinic_core.devices import ConfigureVf, TakeDevice, VfSettings
from multinic_core.outside import Act, RunIpam, RunPlugin
from multinic_core.plan import (
    MAIN_TABLE,
    AddAddress,
    AddRoute,
    AddRule,
    CreateLink,
    NextHop,
    Plan,
    SetSysctl,
    ShapeLink,
    Step,
)

_REST: Mapping[str, type[RunIpam | RunPlugin | Act]] = {"ipam": RunIpam, "plugin": RunPlugin, "act": Act}
_NAMES = {kind: name for name, kind in _REST.items()}
OUTSIDE_STEPS = tuple(_REST)
"""How the steps that others do are called."""

_KNOWN = {"link", "address", "route", "rule", "sysctl", "shape", "device", "vf", *_REST}
_LATER = frozenset({"addresses_shown", "alias_before", "group_before"})
"""Fields of devices that are written only where they tell something, as earlier daemons do not know them."""

_quoted = json.encoder.encode_basestring_ascii


def encode_plan(plan: Plan) -> str:
    """The plan as one line of JSON."""
    return f"[{','.join(map(_encode_step, plan.steps))}]"


def decode_plan(text: str) -> Plan:
    """The plan that ``encode_plan`` wrote."""
    return Plan(tuple(_decode_step(step) for step in json.loads(text)))


def _encode_step(step: Step) -> str:
    """As ``json.dumps`` would write it, in a third of the time: there are five steps for each NIC of a pod."""
    match step:
        case CreateLink():
            return (
                f'{{"step":"link","ifname":{_quoted(step.ifname)},"link_kind":{_quoted(step.link_kind)}'
                f',"parent":{_quoted(step.parent)},"parent_ifindex":{step.parent_ifindex},"mtu":{step.mtu}'
                f',"attributes":{_encode_attributes(tuple(step.attributes.items()))}'
                f',"mac_address":{_quoted(step.mac_address)}{_encode_vlan(step.vlan)}}}'
            )
        case AddAddress():
            return f'{{"step":"address","ifname":{_quoted(step.ifname)},"address":"{step.address}"}}'
        case SetSysctl():
            return _encode_setting(step.key, step.value)
        case AddRoute():
            gateway = "null" if step.gateway is None else f'"{step.gateway}"'
            table = "" if step.table == MAIN_TABLE else f',"table":{step.table}'
            others = f',"others":{_encode_hops(step.others)}' if step.others else ""
            route = f'"dst":"{step.dst}","ifname":{_quoted(step.ifname)},"gateway":{gateway}{table}{others}'
            return f'{{"step":"route",{route}}}'
        case AddRule():
            return f'{{"step":"rule","src":"{step.src}","table":{step.table},"priority":{step.priority}}}'
        case ShapeLink():
            return f'{{"step":"shape","ifname":{_quoted(step.ifname)},"rate":{step.rate}}}'
        case TakeDevice():
            fields = {name: value for name, value in asdict(step).items() if name not in _LATER or value}
            return json.dumps({"step": "device", **fields}, separators=(",", ":"), default=str)
        case ConfigureVf():
            return json.dumps({"step": "vf", **asdict(step)}, separators=(",", ":"))
        case RunIpam() | RunPlugin() | Act():
            return json.dumps({"step": _NAMES[type(step)], **asdict(step)}, separators=(",", ":"))


def _encode_vlan(vlan: int) -> str:
    return f',"vlan":{vlan}' if vlan else ""


@lru_cache(maxsize=1024)
def _encode_setting(key: str, value: str) -> str:
    """Kept, as links of all pods have the same names and settings."""
    return f'{{"step":"sysctl","key":{_quoted(key)},"value":{_quoted(value)}}}'


@lru_cache(maxsize=64)
def _encode_attributes(items: tuple[tuple[str, int], ...]) -> str:
    """Kept, as all links of a network have the same."""
    return json.dumps(dict(items), separators=(",", ":"))


def _encode_hops(hops: Iterable[NextHop]) -> str:
    pairs = [[hop.ifname, None if hop.gateway is None else str(hop.gateway)] for hop in hops]
    return json.dumps(pairs, separators=(",", ":"))


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
                step.get("vlan", 0),
            )
        case "address":
            return AddAddress(step["ifname"], ip_interface(step["address"]))
        case "route":
            gateway = step["gateway"]
            hop = None if gateway is None else ip_address(gateway)
            others = tuple(NextHop(ifname, via and ip_address(via)) for ifname, via in step.get("others", ()))
            return AddRoute(ip_network(step["dst"]), step["ifname"], hop, step.get("table", MAIN_TABLE), others)
        case "rule":
            return AddRule(ip_network(step["src"]), step["table"], step["priority"])
        case "sysctl":
            return SetSysctl(step["key"], step["value"])
        case "shape":
            return ShapeLink(step["ifname"], step["rate"])
        case "device":
            lists = {name: tuple(step[name]) for name in ("altnames_before", "rdma_devices")}
            held = {
                name: tuple(map(ip_interface, step.get(name, ()))) for name in ("addresses_before", "addresses_shown")
            }
            return TakeDevice(**_fields(step) | lists | held)
        case "vf":
            settings = {name: VfSettings(**step[name]) for name in ("settings", "before")}
            return ConfigureVf(**_fields(step) | settings)
        case other if other in _REST:
            return _REST[other](**_fields(step))
        case other:
            raise ValueError(f"plan: found step {other!r}, expected one of {sorted(_KNOWN)!r}")


def _fields(step: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in step.items() if name != "step"}
