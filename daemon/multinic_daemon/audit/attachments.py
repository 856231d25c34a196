"""Rows of the journal against links, sandboxes and pods. Pure.

A row is proven dead when it carries another boot's id; or when its sandbox is gone, nothing of it lives in any other
namespace of the node, and the API, asked for the pod by name, does not know that UID any more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from multinic_core.devices import TakeDevice, VfSettings
from multinic_core.plan import AddAddress, AddRule, CreateLink, IPAddress, IPInterface, Plan
from multinic_daemon.audit.findings import Finding, Kind, Verdict
from multinic_daemon.audit.mirror import Entries, mirror_text, mirrored
from multinic_daemon.audit.residence import Residence, ours
from multinic_daemon.audit.world import NamespaceSeen, NotCompared, Row, Sandbox, World
from multinic_daemon.netlink import Link
from multinic_daemon.podlinks.compare import compare
from multinic_daemon.podlinks.vfs import setting_differences

CALL_SECONDS = 90.0
"""An ADD or DEL that a running daemon has worked on for longer is stuck. Above its own limit and that of undoing."""
IFA_F_PERMANENT = 0x80
"""Source: linux/if_addr.h. Addresses with a lifetime come from router advertisements, not from people."""
VfsSeen = Mapping[int, Mapping[int, VfSettings]]
NO_SANDBOX = Sandbox(None, "not looked for")


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the sources say of one row."""

    sandbox: Sandbox
    namespace: NamespaceSeen | None
    """That of the sandbox."""
    elsewhere: tuple[NamespaceSeen, ...]
    """Other namespaces in which something of it lives."""
    pod: str
    mirror: str


def judge_rows(world: World) -> Iterator[Finding]:
    """For each row one finding that it agrees, or one for each kind of difference."""
    residence, entries = Residence(world), mirrored(world)
    for row in world.rows:
        yield from _judge_row(row, world, _see(row, world, residence, entries))


def _judge_row(row: Row, world: World, seen: _Seen) -> Iterator[Finding]:
    record = row.record

    def finding(kind: Kind, verdict: Verdict = Verdict.DIFFERENCE, kernel: str = "") -> Finding:
        return Finding(
            kind,
            row.subject,
            verdict,
            journal=_row_text(row, world.time),
            kernel=kernel or _kernel_text(row, seen),
            sandbox=_sandbox_text(row, seen.sandbox),
            pod=seen.pod,
            mirror=seen.mirror,
            row=record.id,
        )

    if record.boot_id != world.boot_id:
        yield finding(Kind.OTHER_BOOT, Verdict.DEAD)
        return
    if seen.sandbox.gone and not seen.elsewhere and seen.pod == "gone":
        yield finding(Kind.SANDBOX_GONE, Verdict.DEAD)
        return
    if not row.finished:
        busy = world.daemon and world.time - record.updated < CALL_SECONDS
        yield finding(Kind.AGREED, Verdict.FINE) if busy else finding(Kind.UNFINISHED)
        return
    found = [
        *([finding(Kind.SANDBOX_GONE)] if seen.sandbox.gone else ()),
        *([finding(Kind.POD_GONE)] if seen.pod == "gone" and not seen.sandbox.gone else ()),
        *(
            finding(kind, kernel="; ".join(sentences))
            for kind, sentences in _kernel_differences(
                record.plan, seen.namespace, world.kernel.routing.links.values(), world.kernel.vfs
            ).items()
            if sentences
        ),
    ]
    yield from found or [finding(Kind.AGREED, Verdict.FINE)]


def judge_addresses(world: World) -> Iterator[Finding]:
    """Addresses that more than one attachment, or one attachment twice, holds."""
    holders: dict[IPAddress, list[str]] = defaultdict(list)
    for row in world.rows:
        for allocation in row.allocations:
            holders[allocation.address.ip].append(f"{row.subject} from {allocation.pool}")
    for address, subjects in sorted(holders.items(), key=lambda item: (item[0].version, item[0])):
        if len(subjects) > 1:
            yield Finding(Kind.ADDRESS_TWICE, str(address), Verdict.DIFFERENCE, journal="; ".join(subjects))


def judge_strangers(world: World) -> Iterator[Finding]:
    """Links of ours that no row accounts for, one finding for each attachment that they look like."""
    rows = {row.record.group: row for row in world.rows}
    for inode, namespace in sorted(world.kernel.namespaces.items()):
        groups: dict[int, list[Link]] = defaultdict(list)
        for link in ours(namespace):
            row = rows.get(link.group)
            sandbox = world.kernel.sandboxes.get(row.record.netns, NO_SANDBOX) if row else None
            # where the row's path is gone, its links are told of with the row
            if sandbox is None or sandbox.inode not in (None, inode):
                groups[link.group].append(link)
        for group, links in sorted(groups.items()):
            addresses = [str(each.address) for link in links for each in namespace.observed.addresses_of(link)]
            names = ", ".join(link.ifname for link in links)
            yield Finding(
                Kind.LINK_WITHOUT_ROW,
                f"{names} in {namespace.where}, group {group:#x}",
                Verdict.DIFFERENCE,
                journal="its row is of another sandbox" if group in rows else "no row",
                kernel=", ".join(addresses) or "no address",
                sandbox=namespace.where,
            )


def _see(row: Row, world: World, residence: Residence, entries: Entries | None) -> _Seen:
    sandbox = world.kernel.sandboxes.get(row.record.netns, NO_SANDBOX)
    namespaces = world.kernel.namespaces
    elsewhere = tuple(namespaces[inode] for inode in sorted(residence.of(row)) if inode != sandbox.inode)
    namespace = None if sandbox.inode is None else namespaces.get(sandbox.inode)
    return _Seen(sandbox, namespace, elsewhere, _pod_text(row, world), mirror_text(row, entries))


def _kernel_differences(
    plan: Plan, namespace: NamespaceSeen | None, node_links: Iterable[Link], vfs: VfsSeen
) -> Mapping[Kind, list[str]]:
    """Sentences by kind; nothing without a namespace to look into."""
    if namespace is None:
        return {}
    observed = namespace.observed
    links = {link.ifname: link for link in observed.links}
    # an address that is missing is told of below, together with those that are too many
    there = Plan(
        tuple(
            step
            for step in plan.steps
            if isinstance(step, AddRule) or (step.ifname in links and not isinstance(step, AddAddress))
        )
    )
    links_made: list[CreateLink | TakeDevice] = [*plan.links, *(step for step in plan.devices if step.device)]
    wanted: dict[str, set[IPInterface]] = {step.ifname: set() for step in links_made if step.ifname in links}
    for step in plan.addresses:
        if step.ifname in wanted:
            wanted[step.ifname].add(step.address)
    addresses: list[str] = []
    for ifname, planned in wanted.items():
        held = observed.addresses_of(links[ifname])
        lasting = {each.address for each in held if each.scope == 0 and each.flags & IFA_F_PERMANENT}
        addresses += [f"{ifname} lacks {address}" for address in _sorted(planned - {each.address for each in held})]
        addresses += [f"{ifname} has {address} beyond the row" for address in _sorted(lasting - planned)]
    return {
        Kind.LINKS_MISSING: [f"{step.ifname} is missing" for step in links_made if step.ifname not in links],
        Kind.LINK_DIFFERS: [
            *compare(there, observed, namespace.node_netns_id, node_links),
            *_vf_differences(plan, vfs),
        ],
        Kind.ADDRESS_DIFFERS: addresses,
    }


def _vf_differences(plan: Plan, vfs: VfsSeen) -> Iterator[str]:
    for step in plan.vfs:
        yield from setting_differences(step, vfs.get(step.parent_ifindex, {}).get(step.index))


def _sorted(addresses: Iterable[IPInterface]) -> list[IPInterface]:
    return sorted(addresses, key=lambda address: (address.version, address))


def _row_text(row: Row, time: float) -> str:
    state: str = row.record.state
    if not row.finished:
        state += f" for {max(0, time - row.record.updated):.0f} s"
    return ", ".join([state, *(str(allocation.address) for allocation in row.allocations)])


def _kernel_text(row: Row, seen: _Seen) -> str:
    if seen.elsewhere:
        return f"lives in {', '.join(each.where for each in seen.elsewhere)}"
    if not row.record.has_links:
        return ""
    if seen.namespace is None:
        return "no links" if seen.sandbox.gone else "not compared"
    there = {link.ifname for link in seen.namespace.observed.links}
    plan = row.record.plan
    made = [*(step.ifname for step in plan.links), *(step.ifname for step in plan.devices)]
    return ", ".join(ifname for ifname in made if ifname in there) or "no links"


def _sandbox_text(row: Row, sandbox: Sandbox) -> str:
    if sandbox.unsure:
        return f"not compared: {sandbox.unsure}"
    return f"{row.record.netns}: gone" if sandbox.gone else row.record.netns


def _pod_text(row: Row, world: World) -> str:
    pods, uid = world.pods, row.record.pod.uid
    if isinstance(pods, NotCompared):
        return "not compared"
    if not uid:
        return "no UID recorded"
    if uid in pods.here:
        return "here"
    return "gone" if uid in pods.gone else "not on this node's list"
