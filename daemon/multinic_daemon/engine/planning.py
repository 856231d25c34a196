"""From chosen NICs and addresses to a plan: ask the main plugin, hold it to its contract, add the network's routes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any, get_args

from multinic_core.devices import TakeDevice
from multinic_core.errors import ConfigError, MultinicError, PluginError, UnsupportedFieldError
from multinic_core.hookspecs import MainPlugin
from multinic_core.outside import RunPlugin
from multinic_core.plan import (
    MAIN_TABLE,
    AddRoute,
    AttachmentRequest,
    IPInterface,
    LinkRequest,
    NodeView,
    Plan,
    Step,
)
from multinic_core.registry import Registry
from multinic_daemon.engine.limits import limited

_STEPS = get_args(Step)
"""The classes of steps, as a tuple: a union is looked through five times as slowly."""


def main_plugin(registry: Registry, block: Mapping[str, Any]) -> MainPlugin:
    """The main plugin that the netconf's ``plugin`` block names.

    Raises:
        ConfigError: it names none, or one that is not installed.
    """
    name = block.get("type")
    if not isinstance(name, str) or name not in registry.main_plugins:
        raise ConfigError(
            f"plugin.type: found {name!r}, expected a main plugin that is installed:"
            f" {sorted(registry.main_plugins.objects)!r}"
        )
    return registry.main_plugins[name]


def make_plan(
    registry: Registry, plugin: MainPlugin, request: AttachmentRequest, node: NodeView, routes: Sequence[AddRoute]
) -> Plan:
    """The main plugin's plan with the routes appended, also to the table that it gives the route's link.

    Raises:
        ConfigError: the configuration or a NIC does not allow it.
        PluginError: the plugin raised something else, or planned something else than it was asked.
    """
    owner = registry.main_plugins.owners.get(plugin.name, "an unknown distribution")
    subject = f"main plugin {plugin.name!r} of {owner}"
    try:
        plan = limited(subject, lambda: plugin.plan(request, node))
        problem = _contract_problem(plan, plugin, request.links)
    except MultinicError:
        raise
    except Exception as error:
        raise PluginError(f"{subject}: raised {error!r}") from error
    if problem:
        raise PluginError(f"{subject}: {problem}")
    tables = {step.ifname: step.table for step in plan.routes if step.table != MAIN_TABLE}
    own = (replace(route, table=tables[route.ifname]) for route in routes if route.ifname in tables)
    return Plan((*plan.steps, *routes, *own))


def _contract_problem(plan: Plan, plugin: MainPlugin, links: Sequence[LinkRequest]) -> str:
    created_links = plan.links
    # what comes in another way than by a link of the kernel's making is looked for only where there is some
    others: tuple[TakeDevice | RunPlugin, ...] = (
        (*plan.devices, *plan.plugins) if len(created_links) < len(links) else ()
    )
    order = {link.ifname: position for position, link in enumerate(links)}
    created = [(step.ifname, step.parent) for step in created_links]
    created += [(step.ifname, step.parent) for step in others]
    if others:
        created.sort(key=lambda each: order.get(each[0], len(order)))
    wanted = [(link.ifname, link.parent) for link in links]
    if created != wanted:
        return f"planned links {created!r}, expected {wanted!r}"
    if foreign := sorted({step.link_kind for step in created_links} - plugin.link_kinds):
        return f"planned links of kind {foreign!r}, expected {sorted(plugin.link_kinds)!r}"
    asked = {link.ifname: link.mac_address for link in links if link.mac_address}
    if asked and (other := [step for step in created_links if step.mac_address != asked.get(step.ifname, "")]):
        return (
            f"planned MAC address {other[0].mac_address!r} for {other[0].ifname!r}, expected"
            f" {asked.get(other[0].ifname, '')!r}, or a refusal"
        )
    given = [(step.ifname, step.address) for step in plan.addresses]
    by_others = {step.ifname for step in plan.plugins} if others else ()  # these give addresses themselves
    held = [(link.ifname, address) for link in links if link.ifname not in by_others for address in link.addresses]
    if given != held and Counter(given) != Counter(held):
        return f"planned addresses {_text(given)!r}, expected {_text(held)!r}"
    if odd := [step for step in plan.steps if not isinstance(step, _STEPS)]:
        return f"planned {odd[0]!r}, expected one of {sorted(kind.__name__ for kind in _STEPS)}"
    names = {link.ifname for link in links}
    if strange := [step for step in plan.sysctls if step.ifname not in names]:
        return f"planned setting {strange[0].key!r}, expected 'net/ipv4/conf/IFNAME/NAME' of one of {sorted(names)}"
    if rules := plan.rules:
        sources = {ip_network(address.ip) for link in links for address in link.addresses}
        if alien := [step for step in rules if step.src not in sources]:
            return f"planned a rule from {alien[0].src}, expected one of the pod's addresses"
    return ""


def _text(addresses: Iterable[tuple[str, IPInterface]]) -> list[str]:
    return [f"{address} on {ifname}" for ifname, address in addresses]


def pod_routes(ipam: Mapping[str, Any], links: Sequence[LinkRequest]) -> tuple[AddRoute, ...]:
    """``ipam.routes`` as routes inside the pod, each through the first link on whose network its gateway lies.

    Raises:
        ConfigError: an entry without network or gateway, or a gateway on no link's network; all at once.
        UnsupportedFieldError: several gateways for one destination.
    """
    entries = ipam.get("routes") or []
    if not isinstance(entries, list):
        raise ConfigError(f"ipam.routes: found {entries!r}, expected a list")
    routes: list[AddRoute] = []
    problems: list[str] = []
    for position, entry in enumerate(entries):
        path = f"ipam.routes[{position}]"
        try:
            dst = ip_network(entry["dst"], strict=False)
            gateway = ip_address(entry["gw"])
        except (KeyError, TypeError, ValueError):
            problems.append(f"{path}: found {entry!r}, expected 'dst', a network, and 'gw', an address")
            continue
        networks = [(link.ifname, address.network) for link in links for address in link.addresses]
        ifname = next((name for name, network in networks if gateway in network), None)
        if dst.version != gateway.version:
            problems.append(f"{path}: found {entry!r}, expected dst and gw of one address family")
        elif ifname is None:
            found = sorted({str(network) for _, network in networks})
            problems.append(f"{path}.gw: found {str(gateway)!r}, expected an address of {found!r}")
        else:
            routes.append(AddRoute(dst, ifname, gateway))
    if problems:
        raise ConfigError(*problems)
    unique = tuple(dict.fromkeys(routes))
    for route in unique:
        gateways = [str(other.gateway) for other in unique if other.dst == route.dst]
        if len(gateways) > 1:
            raise UnsupportedFieldError(
                f"ipam.routes: found gateways {gateways!r} for {route.dst}; several next hops are not supported,"
                " expected one"
            )
    return unique
