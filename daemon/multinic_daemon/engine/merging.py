"""One answer out of many: what an earlier plugin answered, what the kernel made and what executables answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from multinic_core.cni import Interface, IPConfig, Result, parse_result
from multinic_core.devices import TakeDevice
from multinic_core.errors import ExecutableError
from multinic_core.outside import RunPlugin
from multinic_core.plan import LinkRequest, Plan
from multinic_daemon.engine.answer import link_result
from multinic_daemon.engine.invocation import Invocation
from multinic_daemon.podlinks.kernel import MadeLink


def merged_result(call: Invocation, links: Sequence[LinkRequest], made: Sequence[MadeLink], plan: Plan) -> Result:
    """The answer to an ADD in which others had a part.

    First an earlier plugin's interfaces, addresses and routes as they are, then ours: one interface for each link in
    order, then what executables have made on the node. Routes and name servers are given once each.

    Raises:
        DecodeError: an executable answered no result.
        ExecutableError: one answered without the interface that it was to make.
    """
    netconf = call.netconf
    plugged = {step.ifname: (step, _result_of(step)) for step in plan.plugins}
    own = _own(call.netns, links, made, plugged, netconf.ipam, plan.devices)
    given = [parse_result(step.result or {}, f"IPAM of link {step.ifname!r}") for step in plan.ipams]
    given += [result for _, result in plugged.values()]
    earlier = Result()
    if netconf.prev_result is not None:
        earlier = parse_result(netconf.prev_result)
        count = len(earlier.interfaces)  # addresses that were on none of them are on ours now
        kept = tuple(ip for ip in earlier.ips if ip.interface is not None and ip.interface < count)
        earlier = replace(earlier, ips=kept)
    shift = len(earlier.interfaces)
    routes = [*earlier.routes, *own.routes, *(route for result in given for route in result.routes)]
    return Result(
        (*earlier.interfaces, *own.interfaces),
        (*earlier.ips, *(replace(ip, interface=shift + (ip.interface or 0)) for ip in own.ips)),
        tuple(dict.fromkeys(routes)),
        merged_dns([earlier.dns, own.dns, *(result.dns for result in given)]),
    )


def _result_of(step: RunPlugin) -> Result:
    return parse_result(step.result or {}, f"executable {step.config.get('type')!r} of link {step.ifname!r}")


def _own(
    netns: str,
    links: Sequence[LinkRequest],
    made: Sequence[MadeLink],
    plugged: Mapping[str, tuple[RunPlugin, Result]],
    ipam: Mapping[str, Any],
    devices: Sequence[TakeDevice],
) -> Result:
    if not plugged:
        result = link_result(netns, links, made, ipam, devices)
        gateways = [link.gateways for link in links]
        return replace(result, ips=tuple(_with_gateway(ip, gateways) for ip in result.ips))
    interfaces: list[Interface] = []
    beside: dict[tuple[str, str], Interface] = {}  # what links share, as a bridge, is as the last executable saw it
    ips: list[IPConfig] = []
    for position, link in enumerate(links):
        step, result = plugged[link.ifname]
        inside = [each for each in result.interfaces if each.sandbox]
        if link.ifname not in [each.name for each in inside]:
            raise ExecutableError(
                f"NIC {link.parent!r}: executable {step.config.get('type')!r} answered interfaces"
                f" {[each.name for each in inside]!r} in the pod, expected {link.ifname!r}"
            )
        (own, *_) = (each for each in inside if each.name == link.ifname)
        if link.mac_address and own.mac.lower() != link.mac_address.lower():
            raise ExecutableError(
                f"NIC {link.parent!r}: executable {step.config.get('type')!r} gave {link.ifname!r} the MAC address"
                f" {own.mac!r}, but the pod asks for {link.mac_address!r}"
            )
        interfaces.append(own)
        others = (each for each in result.interfaces if each.name != link.ifname or not each.sandbox)
        beside |= {(each.name, each.sandbox): each for each in others}
        ips += [replace(ip, interface=position) for ip in result.ips]
    base = link_result(netns, (), (), ipam)
    return Result((*interfaces, *beside.values()), tuple(ips), base.routes, base.dns)


def _with_gateway(ip: IPConfig, gateways: Sequence[Sequence[Any]]) -> IPConfig:
    own = gateways[ip.interface or 0]
    return replace(ip, gateway=next((each for each in own if each in ip.address.network), None)) if own else ip


def merged_dns(parts: Iterable[Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
    """All name servers, search domains and options, each once and in order, and the first domain."""
    found: dict[str, Any] = {}
    for part in parts:
        for key, value in (part or {}).items():
            if isinstance(value, list):
                found[key] = list(dict.fromkeys([*found.get(key, ()), *value]))
            elif value:
                found.setdefault(key, value)
    return found or None
