"""Makes and removes pod links: the only module that does.

One conversation in the node's namespace makes all links of a plan straight inside the pod's, one in the pod's gives
them addresses, sets them up and adds routes. All links of an attachment carry the same link group, by which they are
known, counted and removed: a whole group costs the kernel one grace period, where link by link costs one each. Routes
go with their links; rules do not and are removed one by one, as the plan knows them.

All functions block and are called through ``trio.to_thread``. Namespaces are given by path.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from multinic_core.errors import ConfigError, ContainerGoneError, KernelError
from multinic_core.plan import MAIN_TABLE, AddRule, CreateLink, Plan, SetSysctl
from multinic_daemon import crashpoints
from multinic_daemon.compare import Observed, compare
from multinic_daemon.hostroutes import PROTOCOL
from multinic_daemon.netlink import Conversation, Link, NetnsFile, Refusal, Request, Route, open_netns
from multinic_daemon.netlink import requests as rq
from multinic_daemon.netlink.observed import (
    read_addresses,
    read_links,
    read_netns_id,
    read_routes,
    read_rules,
    read_settings,
)
from multinic_daemon.survey import remove_foreign as remove_foreign
from multinic_daemon.survey import survey as survey

_WAY_OUT: Mapping[int, str] = {
    errno.EBUSY: "ipvlan and macvlan links cannot share a NIC, and a passthru link shares it with nobody:"
    " use one kind per NIC or another NIC",
    errno.ENODEV: "the NIC is gone from the node: wait for it to return or choose another",
    errno.EOPNOTSUPP: "load the kernel module of this kind of link on the node, or use another main plugin",
    errno.EPERM: "run the daemon as root with CAP_NET_ADMIN",
    errno.EINVAL: "the kernel accepts no such combination of settings: check mode, flags and mtu of the network",
    errno.ERANGE: "check the mtu of the network against that of the NIC",
    errno.EADDRINUSE: "another link on the same NIC has this address: release it or choose another",
    errno.ENETUNREACH: "a route's gateway must lie in the network of one of the link's addresses",
    errno.EACCES: "enable IPv6 in the pod (net.ipv6.conf.all.disable_ipv6=0) or use IPv4 only",
}
_NO_RULE = frozenset({errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP})
"""Deleting a rule says so when it is gone, or was never possible."""


@dataclass(frozen=True, slots=True)
class AppliedLink:
    """One pod link as the kernel made it."""

    ifname: str
    ifindex: int
    """Inside the pod."""
    mac_address: str
    mtu: int
    """Bytes."""


def apply_plan(plan: Plan, netns: str, group: int, *, node_netns: str | None = None) -> tuple[AppliedLink, ...]:
    """Make every link of the plan with its addresses, settings, routes and rules, or nothing.

    Args:
        netns: path of the pod's network namespace.
        group: link group of this attachment, above 0, used by no other link of the pod.
        node_netns: path of the namespace that holds the parents; None: that of the calling thread.

    Returns:
        The links in the plan's order.

    Raises:
        ContainerGoneError: the pod's namespace does not exist.
        ConfigError: an interface name is taken in the pod, or a link's attribute or setting is unknown.
        KernelError: the kernel refused a step; names link and NIC, and ``details`` the way out.
    """
    if group <= 0:
        raise ValueError(f"link group {group} is not above 0, the group of every other link")
    with ExitStack() as stack:
        pod_file = stack.enter_context(open_netns(netns))
        pod = stack.enter_context(Conversation(pod_file))
        _check_free(plan, netns, group, read_links(pod))
        try:
            with open_netns(node_netns) as node_file, Conversation(node_file if node_netns else None) as node:
                renames = _create_links(node, plan, pod_file, group)
            crashpoints.reached("apply.created")
            made = {renames.get(link.ifname, link.ifname): link for link in read_links(pod) if link.group == group}
            _configure(pod, plan, made, renames)
        except BaseException as error:
            try:
                _remove_group(pod, group, plan.rules)
            except KernelError as failed:
                error.add_note(f"links of group {group} may be left in {netns!r}: {failed}")
            raise
    return tuple(
        AppliedLink(step.ifname, made[step.ifname].ifindex, made[step.ifname].mac_address, made[step.ifname].mtu)
        for step in plan.links
    )


def remove_links(netns: str, group: int, rules: Sequence[AddRule] = ()) -> int:
    """Remove every link of the group, and these rules, from the pod; may be repeated.

    Returns:
        How many links there were; 0 when none was left or the namespace is gone.

    Raises:
        KernelError: the kernel refused.
    """
    try:
        with open_netns(netns) as pod_file, Conversation(pod_file) as pod:
            return _remove_group(pod, group, rules)
    except ContainerGoneError:
        return 0


def differences(plan: Plan, netns: str, *, node_netns: str | None = None) -> list[str]:
    """How the pod differs from the plan: one sentence per difference, in the plan's order, [] when it does not.

    What the pod has beyond the plan is no difference.

    Raises:
        ContainerGoneError: the pod's namespace does not exist.
        KernelError: the kernel cannot be asked.
    """
    with open_netns(netns) as pod_file, Conversation(pod_file) as pod, open_netns(node_netns) as node_file:
        node_id = read_netns_id(pod, node_file)
        observed = Observed(
            links=tuple(read_links(pod)),
            addresses=tuple(read_addresses(pod)),
            routes=_read_routes_of(pod, plan),
            rules=tuple(read_rules(pod)) if plan.rules else (),
            settings=read_settings(pod) if plan.sysctls else {},
        )
    return compare(plan, observed, node_id)


def _read_routes_of(pod: Conversation, plan: Plan) -> tuple[Route, ...]:
    tables = {route.table for route in plan.routes}
    return tuple(route for table in sorted(tables) for route in read_routes(pod, table=table))


def observe(netns: str) -> Observed:
    """All links, addresses and main routes of a namespace, for audit and adoption.

    Raises:
        ContainerGoneError: the namespace does not exist.
        KernelError: the kernel cannot be asked.
    """
    with open_netns(netns) as pod_file, Conversation(pod_file) as pod:
        return Observed(
            tuple(read_links(pod)), tuple(read_addresses(pod)), tuple(read_routes(pod, table=rq.RT_TABLE_MAIN))
        )


def _check_free(plan: Plan, netns: str, group: int, links: Sequence[Link]) -> None:
    """Refuse before anything is made; the kernel's own refusal would name no interface."""
    taken = {link.ifname for link in links}
    problems = [
        f"interface {step.ifname!r} exists in the pod already, expected a free name"
        for step in plan.links
        if step.ifname in taken
    ]
    if problems:
        raise ConfigError(*problems)
    if grouped := [link.ifname for link in links if link.group == group]:
        raise KernelError(f"link group {group} is in use in {netns!r} by {grouped}", errno.EEXIST)


def _create_links(node: Conversation, plan: Plan, pod: NetnsFile, group: int) -> dict[str, str]:
    """Make the links, down and without addresses.

    Returns:
        Temporary name to the name wanted, for links that are still to be renamed.
    """
    steps = plan.links
    asked = [_create(step, step.ifname, pod, group) for step in steps]
    answers = node.ask(asked)
    # before Linux 6.15 the name must be free on the node as well, though the link is made elsewhere
    renames = {
        f"mn{group:x}.{position}": step.ifname
        for position, (step, refusal) in enumerate(zip(steps, answers, strict=True))
        if refusal is not None and refusal.errno == errno.EEXIST
    }
    if renames:
        by_name = {step.ifname: step for step in steps}
        again = [_create(by_name[wanted], temporary, pod, group) for temporary, wanted in renames.items()]
        second = iter(node.ask(again))
        answers = [next(second) if a is not None and a.errno == errno.EEXIST else a for a in answers]
    _raise_first(asked, answers)
    return renames


def _create(step: CreateLink, ifname: str, pod: NetnsFile, group: int) -> Request:
    return rq.create_link(
        ifname,
        step.link_kind,
        step.parent_ifindex,
        pod,
        group,
        mtu=step.mtu,
        mac_address=step.mac_address,
        attributes=step.attributes,
        subject=f"{step.link_kind} link {step.ifname!r} on NIC {step.parent!r}",
    )


def _configure(pod: Conversation, plan: Plan, made: Mapping[str, Link], renames: Mapping[str, str]) -> None:
    """Addresses, then up with settings, then routes and rules: a link announces its addresses when it comes up."""
    parents = {step.ifname: step.parent for step in plan.links}
    missing = [step.ifname for step in plan.steps if not isinstance(step, AddRule) and step.ifname not in made]
    if missing:
        raise ConfigError(
            f"plan: {missing[0]!r} has an address, a setting or a route, but no link of this attachment has that name"
        )
    settings = _settings(plan.sysctls)

    def on(ifname: str) -> str:
        return f"link {ifname!r} on NIC {parents[ifname]!r}"

    asked = [
        rq.add_address(made[step.ifname].ifindex, step.address, f"address {step.address} of {on(step.ifname)}")
        for step in plan.addresses
    ]
    renamed = set(renames.values())
    asked += [
        rq.set_up(
            made[step.ifname].ifindex,
            ifname=step.ifname if step.ifname in renamed else "",
            settings=settings.get(step.ifname, {}),
            subject=f"setting up {on(step.ifname)}",
        )
        for step in plan.links
    ]
    asked += [
        rq.add_route(
            step.dst,
            made[step.ifname].ifindex,
            step.gateway,
            f"route {step.dst} via {step.gateway} of {on(step.ifname)}",
            table=step.table,
            protocol=rq.RTPROT_BOOT if step.table == MAIN_TABLE else PROTOCOL,
        )
        for step in plan.routes
    ]
    asked += [
        rq.add_rule(step.src, step.table, step.priority, PROTOCOL, f"rule from {step.src} lookup {step.table}")
        for step in plan.rules
    ]
    answers = pod.ask(asked)
    # a rule that is there already is just the one wanted
    fine = [
        request.type == rq.RTM_NEWRULE and a is not None and a.errno == errno.EEXIST
        for request, a in zip(asked, answers, strict=True)
    ]
    _raise_first(asked, [None if ok else a for ok, a in zip(fine, answers, strict=True)])


def _raise_first(asked: Sequence[Request], answers: Sequence[Refusal | None]) -> None:
    for request, refusal in zip(asked, answers, strict=True):
        if refusal is not None:
            raise refusal.error(request.subject, _WAY_OUT.get(refusal.errno, ""))


def _settings(sysctls: Sequence[SetSysctl]) -> dict[str, dict[str, int]]:
    """ifname to name to value.

    Raises:
        ConfigError: one that links do not have, or that is no whole number; all at once.
    """
    found: dict[str, dict[str, int]] = {}
    problems: list[str] = []
    for step in sysctls:
        try:
            value = int(step.value)
        except ValueError:
            problems.append(f"setting {step.key!r}: found {step.value!r}, expected a whole number")
            continue
        if step.name in rq.IPV4_CONF:
            found.setdefault(step.ifname, {})[step.name] = value
        else:
            problems.append(f"setting {step.key!r} is unknown, expected one of {sorted(rq.IPV4_CONF)!r}")
    if problems:
        raise ConfigError(*problems)
    return found


def _remove_group(pod: Conversation, group: int, rules: Sequence[AddRule]) -> int:
    links = [link for link in read_links(pod) if link.group == group]
    asked = [
        rq.delete_rule(rule.src, rule.table, rule.priority, PROTOCOL, f"removing rule from {rule.src}")
        for rule in rules
    ]
    gone = [_NO_RULE] * len(rules)
    if links:
        asked.append(rq.delete_group(group, f"removing links {sorted(link.ifname for link in links)}"))
        gone.append(frozenset({errno.ENODEV}))  # between the two
    for request, refusal, fine in zip(asked, pod.ask(asked), gone, strict=True):
        if refusal is not None and refusal.errno not in fine:
            raise refusal.error(request.subject)
    return len(links)
