"""From chosen NICs and addresses to a plan: ask the main plugin, hold it to its contract, add the network's routes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any, get_args

from multinic_core.devices import TakeDevice
from multinic_core.errors import ConfigError, MultinicError, PluginError
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
from multinic_daemon.engine.podroutes import in_tables

_STEPS = frozenset(get_args(Step))
"""The classes of steps, of which none may be derived: a plan sorts its steps by class."""


def main_plugin(registry: Registry, block: Mapping[str, Any]) -> MainPlugin:
    """The main plugin that the netconf's ``plugin`` block names.

    Raises:
        ConfigError: it names none, or one that is not installed, and none that is serves any type.
    """
    name = block.get("type")
    if (found := registry.main_plugin(name)) is None:
        raise ConfigError(
            f"plugin.type: found {name!r}, expected a main plugin that is installed:"
            f" {sorted(registry.main_plugins.objects)!r}"
        )
    return found


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
    if away := {step.ifname for step in plan.devices if not step.device}:
        routes = [route for route in routes if route.ifnames.isdisjoint(away)]
    if not routes:
        return plan
    tables = {step.ifname: step.table for step in plan.routes if step.table != MAIN_TABLE}
    return Plan((*plan.steps, *routes, *in_tables(routes, tables)))


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
    # executables give addresses themselves, and a device that a process drives has none in the kernel
    by_others = {s.ifname for s in others if isinstance(s, RunPlugin) or not s.device} if others else ()
    held = [(link.ifname, address) for link in links if link.ifname not in by_others for address in link.addresses]
    if given != held and Counter(given) != Counter(held):
        return f"planned addresses {_text(given)!r}, expected {_text(held)!r}"
    if odd := [step for step in plan.steps if type(step) not in _STEPS]:
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
