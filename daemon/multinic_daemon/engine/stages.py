"""The stages of an attachment in which others have a part: executables, and actions of plugins. Pure.

An attachment of which this daemon does everything is decided and made in one go and has none. One with others goes: row
``pending`` with everything known → IPAM executables → planned anew with their addresses, row updated → actions → links
and devices → main plugin executables → routes over links that those made → row ``ready``. Where the IPAM needs the
links, it comes after them (:mod:`multinic_daemon.engine.making`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from multinic_core.cni import Result, parse_result
from multinic_core.errors import ExecutableError, UnsupportedFieldError
from multinic_core.outside import Act, RunIpam, RunPlugin
from multinic_core.plan import OUTSIDE, AddAddress, AddRoute, AddRule, IPAddress, LinkRequest, Plan, SetSysctl
from multinic_daemon.engine.invocation import Invocation
from multinic_daemon.engine.podroutes import Way, configured_ways, joined, ways_of
from multinic_daemon.engine.sources import Asked, Given

PlanFor = Callable[[Sequence[LinkRequest], Sequence[AddRoute]], Plan]
"""The main plugin's plan for links with their addresses, and the network's routes."""


@dataclass(frozen=True, slots=True)
class Stages:
    """What an attachment has beside the kernel's part."""

    plan_for: PlanFor
    ipams: tuple[RunIpam, ...] = ()
    after_links: bool = False
    """The IPAM executables need the links."""


def plan_stages(
    call: Invocation, source: Given | Asked | None, links: tuple[LinkRequest, ...], plan_for: PlanFor
) -> tuple[tuple[LinkRequest, ...], Plan, Stages | None]:
    """Links with the addresses that are known, the plan as far as that goes, and its stages; None: it has none.

    Raises:
        MultinicError: the main plugin, the routes or the addresses asked for do not allow it.
    """
    ipam = call.netconf.ipam
    if isinstance(source, Asked):
        plan = plan_for(links, ())
        steps = source.steps(links)
        if not source.need_links(steps):
            known = (step for step in plan.steps if not isinstance(step, Act))  # those wait for the addresses
            return links, Plan((*steps, *known)), Stages(plan_for, steps)
        if not plan.plugins:
            if plan.actions:
                raise UnsupportedFieldError(
                    f"ipam.type: found {ipam.get('type')!r}, which asks over links that are there, expected one that"
                    f" gives addresses before, as action {plan.actions[0].action!r} comes before the links"
                )
            return links, Plan((*steps, *plan.steps)), Stages(plan_for, steps, after_links=True)
        blocks = {step.ifname: step.config["ipam"] for step in steps}  # the main plugin's executable runs it itself
        links = tuple(replace(link, ipam=blocks[link.ifname]) for link in links)
        return links, plan_for(links, ()), Stages(plan_for)
    if isinstance(source, Given):
        links = source.share_out(links)
    if ipam.get("routes"):
        links, plan = plan_with(links, configured_ways(ipam, links), plan_for)
    else:
        plan = plan_for(links, ())
    if call.netconf.prev_result is None and not plan.outside:
        return links, plan, None
    return links, plan, Stages(plan_for)


def plan_with(
    links: tuple[LinkRequest, ...], ways: Sequence[Way], plan_for: PlanFor
) -> tuple[tuple[LinkRequest, ...], Plan]:
    """The plan with these routes: executables add those with one gateway themselves, to the links that they make."""
    routes = joined(ways)
    plan = plan_for(links, routes)
    if not plan.plugins or not routes:
        return links, plan
    made_by_others = {step.ifname for step in plan.plugins}
    single = [way for route in routes if not route.others for way in ways_of(route) if way[1] in made_by_others]
    links = tuple(
        replace(link, routes=tuple((dst, gateway) for dst, ifname, gateway in single if ifname == link.ifname))
        for link in links
    )
    rest = [route for route in routes if route.others or route.ifname not in made_by_others]
    return links, plan_for(links, rest)


def plan_addressed(
    call: Invocation, links: tuple[LinkRequest, ...], answered: Sequence[RunIpam], plan_for: PlanFor
) -> tuple[tuple[LinkRequest, ...], Plan]:
    """The links with what IPAM executables answered, and the whole plan.

    Raises:
        MultinicError: an answer is none, or the main plugin or the routes do not allow it.
    """
    results = [_require_addresses(step) for step in answered]
    links = tuple(_with_answer(link, result) for link, result in zip(links, results, strict=True))
    ipam = call.netconf.ipam
    ways = [*(configured_ways(ipam, links) if ipam.get("routes") else ())]
    for link, result in zip(links, results, strict=True):
        ways += [(route.dst, link.ifname, route.gw or _gateway(link, route.dst.version)) for route in result.routes]
    links, plan = plan_with(links, _reached(ways, links), plan_for)
    return links, Plan((*answered, *plan.steps))


def plan_plugged(call: Invocation, links: Sequence[LinkRequest], plan: Plan, plugged: Sequence[RunPlugin]) -> Plan:
    """The plan with what main plugin executables answered, and with routes over addresses that only they know.

    Raises:
        MultinicError: an answer is none, or a route's gateway lies on no link's network.
    """
    by_name: dict[str, Any] = {step.ifname: step for step in plugged}
    steps = [by_name[step.ifname] if isinstance(step, RunPlugin) else step for step in plan.steps]
    ipam = call.netconf.ipam
    if ipam.get("routes") and any(link.ipam for link in links):
        results = {step.ifname: parse_result(step.result or {}, f"link {step.ifname!r}") for step in plugged}
        known = [_with_answer(link, results[link.ifname]) for link in links]
        steps += [route for route in joined(configured_ways(ipam, known)) if route.others]
    return Plan(tuple(steps))


def _reached(ways: Sequence[Way], links: Sequence[LinkRequest]) -> list[Way]:
    """The ways, each through the link on whose network its gateway lies: the executable of one NIC may name another's
    gateway, as all have the same configuration."""
    networks = [(link.ifname, address.network) for link in links for address in link.addresses]
    return [
        (dst, next((name for name, network in networks if gateway is not None and gateway in network), ifname), gateway)
        for dst, ifname, gateway in ways
    ]


def _require_addresses(step: RunIpam) -> Result:
    """What it answered.

    Raises:
        DecodeError: it is no result.
        ExecutableError: it gives no address, or others than were asked for.
    """
    subject = f"NIC {step.parent!r}, link {step.ifname!r}: IPAM {step.config['ipam'].get('type')!r}"
    result = parse_result(step.result or {}, subject)
    if not result.ips:
        raise ExecutableError(f"{subject}: gave no address, expected at least one")
    asked = step.config.get("runtimeConfig", {}).get("ips", ())
    given = {str(ip.address) for ip in result.ips}
    if missing := [each for each in asked if each not in given]:
        raise ExecutableError(f"{subject}: gave {sorted(given)!r}, but the pod asks for {missing!r}")
    return result


def _with_answer(link: LinkRequest, result: Result) -> LinkRequest:
    gateways: tuple[IPAddress, ...] = tuple(dict.fromkeys(ip.gateway for ip in result.ips if ip.gateway is not None))
    return replace(link, addresses=tuple(dict.fromkeys(ip.address for ip in result.ips)), gateways=gateways)


def _gateway(link: LinkRequest, version: int) -> IPAddress | None:
    return next((gateway for gateway in link.gateways if gateway.version == version), None)


def kernel_part(plan: Plan) -> Plan:
    """What the kernel does at once: without what is on links that are still to be made by others."""
    late = frozenset(map(id, late_part(plan, everything=False).steps))
    return Plan(tuple(step for step in plan.steps if type(step) not in OUTSIDE and id(step) not in late))


def late_part(plan: Plan, *, everything: bool) -> Plan:
    """What is done to links that are there: those that others made; or all that needs addresses."""
    names = {step.ifname for step in plan.plugins}
    return Plan(
        tuple(
            step
            for step in plan.steps
            if (isinstance(step, AddRoute | AddRule | AddAddress) and (everything or names))
            or (isinstance(step, SetSysctl) and step.ifname in names)
        )
    )
