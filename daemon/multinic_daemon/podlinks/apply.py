"""Makes and removes pod links: the only module that does.

One conversation in the node's namespace makes all links of a plan straight inside the pod's, one in the pod's gives
them addresses, sets them up and adds routes. All links of an attachment carry the same link group, by which they are
known, counted and removed: a whole group costs the kernel one grace period, where link by link costs one each. Routes
go with their links; rules do not and are removed one by one, as the plan knows them.

All functions block and are called through ``trio.to_thread``. Namespaces are given by path.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache, partial

from multinic_core.devices import TakeDevice
from multinic_core.errors import ConfigError, ContainerGoneError, KernelError
from multinic_core.plan import AddAddress, AddRoute, AddRule, CreateLink, Plan, SetSysctl, ShapeLink, Step
from multinic_daemon import crashpoints
from multinic_daemon.hostroutes.desired import PROTOCOL
from multinic_daemon.netlink import Conversation, Link, NetnsFile, Request, Route, open_netns
from multinic_daemon.netlink import requests as rq
from multinic_daemon.netlink.observed import (
    read_addresses,
    read_links,
    read_netns_id,
    read_routes,
    read_rules,
    read_settings,
)
from multinic_daemon.netlink.shaping import read_shapes, shape
from multinic_daemon.podlinks.compare import Observed, compare
from multinic_daemon.podlinks.devices import take as take_devices
from multinic_daemon.podlinks.drivers import driver_differences
from multinic_daemon.podlinks.giveback import give_back
from multinic_daemon.podlinks.make import AppliedLink, Made, TakenError, check_free, explained, make_numbered, make_read
from multinic_daemon.podlinks.numvfs import make_vfs as make_vfs
from multinic_daemon.podlinks.obstacles import BY_OTHERS, in_the_way
from multinic_daemon.podlinks.sendhome import send_home
from multinic_daemon.podlinks.strays import free_devices as free_devices
from multinic_daemon.podlinks.strays import marked_groups as marked_groups
from multinic_daemon.podlinks.survey import remove_foreign as remove_foreign
from multinic_daemon.podlinks.survey import survey as survey
from multinic_daemon.podlinks.vfs import vf_differences
from multinic_daemon.podlinks.vlans import on_vlans
from multinic_daemon.podlinks.vlans import read_vlans as read_vlans
from multinic_daemon.podlinks.vlans import remove_vlan as remove_vlan

_NO_RULE = frozenset({errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP})
"""Deleting a rule says so when it is gone, or was never possible."""


def apply_plan(plan: Plan, netns: str, group: int, *, node_netns: str | None = None) -> tuple[AppliedLink, ...]:
    """Make every link of the plan and take its devices, with addresses, settings, routes and rules, or nothing.

    Args:
        netns: path of the pod's network namespace.
        group: link group of this attachment, above 0, used by no other link of the pod.
        node_netns: path of the namespace that holds the parents; None: that of the calling thread.

    Returns:
        The links that were made in the plan's order, then the devices that have a netdev.

    Raises:
        ContainerGoneError: the pod's namespace does not exist.
        ConfigError: an interface name is taken in the pod, a device is in use, or a link's attribute or setting is
            unknown.
        KernelError: the kernel refused a step; names link and NIC, and ``details`` the way out.
    """
    if group <= 0:
        raise ValueError(f"link group {group} is not above 0, the group of every other link")
    with open_netns(netns) as pod_file, Conversation(pod_file) as pod:
        attempt = partial(_attempt, plan, pod, pod_file, netns, group, node_netns)
        try:
            try:
                return attempt(make_numbered)
            except TakenError:
                check_free(plan.links, netns, group, read_links(pod))
            return attempt(make_read)
        except KernelError as error:
            if error.errno in BY_OTHERS and (found := in_the_way(plan.links, node_netns)):
                error.details = f"{found}; {error.details}"
            raise


def _attempt(
    plan: Plan,
    pod: Conversation,
    pod_file: NetnsFile,
    netns: str,
    group: int,
    node_netns: str | None,
    make: Callable[[Conversation, Conversation, Sequence[CreateLink], NetnsFile, int], Made],
) -> tuple[AppliedLink, ...]:
    try:
        with ExitStack() as stack:
            node_file = stack.enter_context(open_netns(node_netns)) if node_netns else None
            node = stack.enter_context(Conversation(node_file))
            made = make(node, pod, on_vlans(node, plan.links), pod_file, group)
            if taken := take_devices(plan, node, pod, pod_file, group):
                made = replace(made, links=(*made.links, *taken))
        crashpoints.reached("apply.created")
        _configure(pod, plan, made)
    except TakenError:
        raise  # of which nothing is left
    except BaseException as error:
        try:
            give_back(plan, netns, group, node_netns=node_netns)
            _remove_group(pod, group, plan.rules, node_netns)
        except KernelError as failed:
            error.add_note(f"links of group {group} may be left: {failed}")
        raise
    return made.links


def complete(plan: Plan, netns: str, group: int) -> None:
    """Give links that are in the pod already, whoever made them, these settings, addresses, routes and rules.

    Raises:
        ContainerGoneError: the pod's namespace does not exist.
        ConfigError: a link is not there.
        KernelError: the kernel refused a step; those before it are done.
    """
    with open_netns(netns) as pod_file, Conversation(pod_file) as pod:
        there = (AppliedLink(link.ifname, link.ifindex, link.mac_address, link.mtu) for link in read_links(pod))
        made = Made(tuple(there))
        _configure(pod, plan, made)
        indexes = {link.ifname: link.ifindex for link in made.links}
        settings = _settings(plan.sysctls).items()
        pod.do([rq.set_up(indexes[name], settings=own, subject=f"settings of link {name!r}") for name, own in settings])


def return_devices(plan: Plan, netns: str, group: int, *, node_netns: str | None = None) -> int:
    """Bring the devices of a plan back to the node as they were; may be repeated. How many were away.

    To be done before ``remove_links``, as the kernel deletes no group that holds a device.

    Raises:
        KernelError: the kernel refused, or a device that exists has not come back in time.
    """
    return give_back(plan, netns, group, node_netns=node_netns)


def remove_links(netns: str, group: int, rules: Sequence[AddRule] = (), *, node_netns: str | None = None) -> bool:
    """Remove every link of the group, and these rules, from the pod; may be repeated.

    Devices among them, which only a daemon that has lost its journal does not know of, go to the node under the name
    that they had there.

    Returns:
        Whether there were any; not when the namespace is gone.

    Raises:
        KernelError: the kernel refused.
    """
    try:
        with open_netns(netns) as pod_file, Conversation(pod_file) as pod:
            return _remove_group(pod, group, rules, node_netns)
    except ContainerGoneError:
        return False


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
            shapes=read_shapes(pod) if plan.shapes else {},
        )
        found = compare(plan, observed, node_id, _links_under(plan, observed, node_file))
        found += driver_differences(plan.devices)
        if plan.vfs:
            with Conversation(node_file if node_netns else None) as node:
                found += vf_differences(node, plan.vfs)
        return found


def _links_under(plan: Plan, observed: Observed, node_file: NetnsFile) -> Sequence[Link]:
    """The node's links where they are needed: for VLAN links, and to tell why an MTU is not as it was made."""
    mtus = {link.ifname: link.mtu for link in observed.links}
    if not any(step.vlan or mtus.get(step.ifname, step.mtu) != step.mtu for step in plan.links):
        return ()
    with Conversation(node_file) as node:
        return read_links(node)


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


def _configure(pod: Conversation, plan: Plan, made: Made) -> None:
    """Addresses, then up with settings, then routes and rules: a link announces its addresses when it comes up."""
    indexes = {link.ifname: link.ifindex for link in made.links}
    settings = _settings(plan.sysctls)
    one_link: list[CreateLink | AddAddress | ShapeLink] = [*plan.links, *plan.addresses, *plan.shapes]
    names = {step.ifname for step in one_link}.union(settings, *(step.ifnames for step in plan.routes))
    if missing := names - indexes.keys():
        raise ConfigError(
            f"plan: {min(missing)!r} has an address, a setting or a route, but no link of this attachment has that name"
        )
    taken = (step for step in plan.devices if step.ifname in indexes)
    steps: list[Step] = [*plan.addresses, *plan.links, *taken, *plan.shapes, *plan.routes, *plan.rules]
    asked = [_request(step, indexes, made.misnamed, settings) for step in steps]
    answers = pod.ask(asked)
    for step, refusal in zip(steps, answers, strict=True):
        # a rule that is there already is just the one wanted
        if refusal is not None and not (isinstance(step, AddRule) and refusal.errno == errno.EEXIST):
            raise explained(refusal, _subject(step, plan))


def _request(
    step: Step, indexes: Mapping[str, int], misnamed: Collection[str], settings: Mapping[str, Mapping[str, int]]
) -> Request:
    """What brings one step about, without a subject: nearly all are done without being named."""
    match step:
        case AddAddress():
            return rq.add_address(indexes[step.ifname], step.address, "")
        case CreateLink() | TakeDevice():
            ifname = step.ifname if step.ifname in misnamed else ""
            own = settings.get(step.ifname, {})
            return rq.set_up(indexes[step.ifname], ifname=ifname, settings=own, subject="")
        case AddRoute():
            # the protocol is what a daemon without a journal knows our routes by
            others = [(indexes[hop.ifname], hop.gateway) for hop in step.others]
            first = indexes[step.ifname]
            return rq.add_route(step.dst, first, step.gateway, "", table=step.table, protocol=PROTOCOL, others=others)
        case ShapeLink():
            return shape(indexes[step.ifname], step.rate, "")
        case AddRule():
            return rq.add_rule(step.src, step.table, step.priority, PROTOCOL, "")
    raise AssertionError(f"no step of its own: {step!r}")


def _subject(step: Step, plan: Plan) -> str:
    """What a refused step is about."""
    if isinstance(step, AddRule):
        return f"rule from {step.src} lookup {step.table}"
    links: list[CreateLink | TakeDevice] = [*plan.links, *plan.devices]
    parent = next((link.parent for link in links if link.ifname == step.ifname), "")
    on = f"link {step.ifname!r}" + (f" on NIC {parent!r}" if parent else "")
    match step:
        case AddAddress():
            return f"address {step.address} of {on}"
        case AddRoute():
            return f"route {step.dst} via {step.gateway} of {on}"
        case ShapeLink():
            return f"rate of {on}"
        case CreateLink(mac_address=mac_address) if mac_address:
            return f"setting up {on} with MAC address {mac_address}"
    return f"setting up {on}"


@lru_cache(maxsize=64)
def _settings(sysctls: tuple[SetSysctl, ...]) -> Mapping[str, Mapping[str, int]]:
    """ifname to name to value; kept, as pods with as many links have the same.

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


def _remove_group(pod: Conversation, group: int, rules: Sequence[AddRule], node_netns: str | None) -> bool:
    asked = [
        rq.delete_rule(rule.src, rule.table, rule.priority, PROTOCOL, f"removing rule from {rule.src}")
        for rule in rules
    ]
    # without looking first what there is: the answer says whether there was anything
    asked.append(rq.delete_group(group, "removing links"))
    *of_rules, of_group = pod.ask(asked)
    for request, refusal in zip(asked, of_rules, strict=False):
        if refusal is not None and refusal.errno not in _NO_RULE:
            raise refusal.error(request.subject)
    if of_group is not None and of_group.errno == errno.EOPNOTSUPP and send_home(pod, group, node_netns):
        (of_group,) = pod.ask(asked[-1:])  # a device was among them
        of_group = of_group if of_group and of_group.errno != errno.ENODEV else None
    if of_group is not None and of_group.errno != errno.ENODEV:
        raise of_group.error(f"removing links {sorted(link.ifname for link in read_links(pod) if link.group == group)}")
    return of_group is None
