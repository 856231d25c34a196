"""ADD in stages, for an attachment in which others have a part: executables, and actions of plugins.

An attachment of which this daemon does everything is decided and made in one go (:mod:`multinic_daemon.engine.attach`)
and never comes here. One with others goes: row ``pending`` with everything known → IPAM executables → planned anew with
their addresses, row updated → actions → links and devices → main plugin executables → routes over links that those made
→ row ``ready``. Where the IPAM needs the links, it comes after them. Nothing waits between deciding and the first row,
and what others will do is written down before they are asked, so whatever happens is undone from the row alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import trio

from multinic_core.cni import Result, parse_result
from multinic_core.errors import ExecutableError
from multinic_core.outside import Act, RunIpam, RunPlugin
from multinic_core.plan import AddAddress, AddRoute, AddRule, IPAddress, LinkRequest, Plan, SetSysctl, Step
from multinic_core.registry import Registry
from multinic_core.singlenic import MULTI_CONFIG
from multinic_daemon import crashpoints
from multinic_daemon.engine.answer import encode_result
from multinic_daemon.engine.context import Engine
from multinic_daemon.engine.invocation import Invocation
from multinic_daemon.engine.merging import merged_result
from multinic_daemon.engine.parents import vlans_kept
from multinic_daemon.engine.podroutes import Way, configured_ways, joined, ways_of
from multinic_daemon.engine.progress import Progress
from multinic_daemon.engine.shares import HOST_DEVICE_IPAM
from multinic_daemon.engine.sources import Asked, Given
from multinic_daemon.journal.journal import NewAttachment, Record
from multinic_daemon.outside.executables import find
from multinic_daemon.outside.work import require_actions
from multinic_daemon.podlinks.kernel import MadeLink

_OTHERS = frozenset((RunIpam, RunPlugin, Act))
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
            return links, Plan((*steps, *plan.steps)), Stages(plan_for, steps)
        if not plan.plugins:
            return links, Plan((*steps, *plan.steps)), Stages(plan_for, steps, after_links=True)
        blocks = {step.ifname: step.config["ipam"] for step in steps}  # the main plugin's executable runs it itself
        links = tuple(replace(link, ipam=blocks[link.ifname]) for link in links)
        return links, plan_for(links, ()), Stages(plan_for)
    if isinstance(source, Given):
        links = source.share_out(links)
    links, plan = _plan(links, configured_ways(ipam, links) if ipam.get("routes") else (), plan_for)
    if call.netconf.prev_result is None and _OTHERS.isdisjoint(map(type, plan.steps)):
        return links, plan, None
    return links, plan, Stages(plan_for)


def _plan(
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


async def make_in_stages(
    engine: Engine,
    call: Invocation,
    new: NewAttachment,
    links: tuple[LinkRequest, ...],
    stages: Stages | None,
    undo: Callable[[Engine, Record], Awaitable[None]],
) -> Result:
    """Write down what is decided, and have it done by everybody in turn.

    Raises:
        MultinicError: nothing is left of it, or what ``undo`` could not take back.
    """
    assert stages is not None
    plan = _found(engine, call, new.plan)
    crashpoints.reached("add.decided")
    record, progress = engine.journal.begin(replace(new, plan=plan)), Progress()
    crashpoints.reached("add.journaled")
    try:
        if plan.ipams and not stages.after_links:
            links, record = await _address(engine, call, record, links, stages, progress)
            plan = record.plan
        await engine.outside.act(record, engine.registry, plan.actions)
        made = await _make_links(engine, record, plan)
        if stages.after_links:
            links, record = await _address(engine, call, record, links, stages, progress)
            plan = record.plan
        plugged = [await progress.add(engine, record, step) for step in plan.plugins]
        if plugged:
            crashpoints.reached("outside.plugged")
        plan = _answered(plan, plugged)
        result = merged_result(call, links, made, plan)
        late = _late_part(plan, everything=stages.after_links)
        if late.steps:
            complete = partial(engine.kernel.complete, late, record.netns, record.group)
            await engine.in_thread(complete, record.key.network, engine.making)
        engine.journal.finish(record, encode_result(result), plan)
    except BaseException:
        await undo(engine, await progress.settle(engine, record))
        raise
    crashpoints.reached("add.ready")
    return result


def _found(engine: Engine, call: Invocation, plan: Plan) -> Plan:
    """The plan with the folders in which its executables are now.

    Raises:
        MultinicError: an executable is not there, or an action is not installed.
    """
    require_actions(engine.registry, plan.actions)
    path, registry, found = call.path, engine.registry, list[Step]()
    for step in plan.steps:
        if isinstance(step, RunIpam):
            found.append(engine.outside.found(step, path, installed_ipams(registry)))
        elif isinstance(step, RunPlugin):
            found.append(engine.outside.found(step, path, installed_main_plugins(registry)))
        else:
            found.append(step)
    return Plan(tuple(found))


def require_executables(engine: Engine, call: Invocation) -> None:
    """Raise MultinicError where the network names an executable that is not there, as STATUS asks."""
    netconf, registry = call.netconf, engine.registry
    path = engine.outside.search_path(call.path)
    if (name := netconf.plugin.get("type")) not in registry.main_plugins.objects:
        find(name, path, "plugin.type", installed_main_plugins(registry))
    ipam = netconf.ipam
    name = ipam.get("ipam_type") if ipam.get("type") == MULTI_CONFIG else ipam.get("type")
    if name and name != HOST_DEVICE_IPAM and name not in registry.ipams:
        find(name, path, "ipam.type", installed_ipams(registry))


def installed_ipams(registry: Registry) -> str:
    """For messages."""
    return f"installed IPAMs are {sorted(registry.ipams.objects)!r}"


def installed_main_plugins(registry: Registry) -> str:
    """For messages."""
    return f"installed main plugins are {sorted(registry.main_plugins.objects)!r}"


async def _address(
    engine: Engine,
    call: Invocation,
    record: Record,
    links: tuple[LinkRequest, ...],
    stages: Stages,
    progress: Progress,
) -> tuple[tuple[LinkRequest, ...], Record]:
    """Let IPAM executables give addresses, plan anew with them, and write that down."""
    answered = [await progress.add(engine, record, step) for step in record.plan.ipams]
    crashpoints.reached("outside.addressed")
    results = [_require_addresses(step) for step in answered]
    links = tuple(_with_answer(link, result) for link, result in zip(links, results, strict=True))
    ipam = call.netconf.ipam
    ways = [*(configured_ways(ipam, links) if ipam.get("routes") else ())]
    for link, result in zip(links, results, strict=True):
        ways += [(route.dst, link.ifname, route.gw or _gateway(link, route.dst.version)) for route in result.routes]
    links, plan = _plan(links, _reached(ways, links), stages.plan_for)
    record = engine.journal.replan(record, _found(engine, call, Plan((*answered, *plan.steps))))
    crashpoints.reached("outside.planned")
    return links, record


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


async def _make_links(engine: Engine, record: Record, plan: Plan) -> Sequence[MadeLink]:
    """The kernel's part, without what is on links that are still to be made by others."""
    late = frozenset(map(id, _late_part(plan, everything=False).steps))
    steps = tuple(step for step in plan.steps if type(step) not in _OTHERS and id(step) not in late)
    if not steps:
        return ()
    apply = partial(engine.kernel.apply_plan, Plan(steps), record.netns, record.group)
    with await engine.making.worker(record.key.network) as worker:
        async with vlans_kept(engine, plan.links):
            made = await worker.run(apply)
    crashpoints.reached("add.applied")
    await trio.lowlevel.checkpoint_if_cancelled()  # the kernel's work may have taken longer than the runtime waits
    return made


def _late_part(plan: Plan, *, everything: bool) -> Plan:
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


def _answered(plan: Plan, plugged: Sequence[RunPlugin]) -> Plan:
    by_name: dict[str, Any] = {step.ifname: step for step in plugged}
    return Plan(tuple(by_name[step.ifname] if isinstance(step, RunPlugin) else step for step in plan.steps))
