"""What a journal that knows nothing has to answer for: a pure function of mirror and kernel.

In this order, so that the better evidence wins: what this generation wrote into the mirror in this boot, with the links
that the kernel shows for it; what another generation wrote; and what only the kernel shows, which is held though nobody
knows for whom. What this generation wrote in another boot is dead. Nothing here is ever guessed to be free.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network

from multinic_core.cni import Interface, IPConfig, Result
from multinic_core.links import LOOSE_FILTER, OWN_ARP
from multinic_core.model import IPPool, PoolAllocation
from multinic_core.plan import (
    AddAddress,
    Allocation,
    CreateLink,
    IPAddress,
    IPNetwork,
    Plan,
    PodReference,
    SetSysctl,
    Step,
)
from multinic_daemon.engine.answer import encode_result
from multinic_daemon.journal.journal import GROUP_BASE, GROUP_COUNT
from multinic_daemon.journal.records import NAMELESS, AttachmentKey, NewAttachment, State, TakenOver
from multinic_daemon.podlinks.kernel import Sandbox, SandboxLink
from multinic_daemon.pools.mirror import Entry, Holder, read_mirror

PLUGIN = "multi-nic"
_NUMBERED = re.compile(r"(.+)-\d+")


@dataclass(frozen=True, slots=True)
class Block:
    """A pool as far as addresses are put into it."""

    pool: IPPool
    network: IPNetwork
    prefix_length: int

    def allocation(self, address: IPAddress) -> Allocation:
        with_prefix = ip_interface(f"{address}/{self.prefix_length}")
        index = int(address) - int(self.network.network_address)
        return Allocation(self.pool.name, self.pool.spec.interface_name, index, with_prefix)


def nothing_held(pool: str, index: int) -> bool:
    """For a journal that knows nothing."""
    return False


@dataclass(slots=True)
class Stock:
    """What was found so far."""

    is_held: Callable[[str, int], bool] = nothing_held
    """Whether the journal holds an index of a pool already."""
    rows: list[TakenOver] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What was left out and why, one sentence each; nothing of it can be given to anybody."""
    held: set[tuple[str, int]] = field(default_factory=set)
    """(pool, index)"""
    seen: set[tuple[tuple[int, int], str]] = field(default_factory=set)
    """(inode of the namespace, ifname) of links that are accounted for."""

    def claim(self, allocations: Iterable[Allocation]) -> tuple[Allocation, ...]:
        """Those that nobody has yet, each once; from now on they are taken."""
        fresh = {
            (each.pool, each.index): each
            for each in allocations
            if (each.pool, each.index) not in self.held and not self.is_held(each.pool, each.index)
        }
        self.held |= fresh.keys()
        return tuple(fresh.values())


def read_blocks(pools: Iterable[IPPool]) -> tuple[list[Block], list[str]]:
    """The pools whose networks can be read, and what is wrong with the others. Addresses of those cannot be given."""
    blocks: list[Block] = []
    problems: list[str] = []
    for pool in pools:
        try:
            block = ip_network(pool.spec.vlan_cidr)
            blocks.append(Block(pool, ip_network(pool.spec.pod_cidr), block.prefixlen))
        except ValueError as error:
            problems.append(f"IPPool {pool.name!r}: {error}")
    return blocks, problems


def take_stock(pools: Iterable[IPPool], sandboxes: Sequence[Sandbox], boot_id: str) -> Stock:
    """Everything that is held on this node.

    Args:
        pools: this node's, of all networks.
        sandboxes: every namespace of the node; links on other nodes' NICs (as in a lab) are told apart.
    """
    blocks, problems = read_blocks(pools)
    stock = Stock(problems=problems)
    _take_own(stock, blocks, sandboxes, boot_id)
    _take_foreign(stock, blocks, sandboxes)
    _take_unknown(stock, blocks, sandboxes)
    return stock


def take_missing(
    pools: Iterable[IPPool],
    sandboxes: Sequence[Sandbox],
    boot_id: str,
    is_held: Callable[[str, int], bool],
    groups: Set[int],
) -> Stock:
    """What a journal that should know its node does not: a file that lost its end can look whole, the kernel tells.

    Args:
        is_held: whether the journal holds an index of a pool.
        groups: link groups of its rows.
    """
    blocks, problems = read_blocks(pools)
    stock = Stock(is_held, problems=problems)
    stock.seen |= {
        (sandbox.inode, link.ifname)
        for sandbox in sandboxes
        for link in sandbox.links
        if link.on_node and link.group in groups
    }
    _take_own(stock, blocks, sandboxes, boot_id, shown=True)
    _take_foreign(stock, blocks, sandboxes)
    _take_unknown(stock, blocks, sandboxes)
    return stock


def take_pool(pool: IPPool, is_held: Callable[[str, int], bool], boot_id: str, *, first: bool) -> Stock:
    """What a journal that knows its node has to take over from one pool: entries that it did not write.

    Args:
        is_held: whether the journal holds an index of a pool.
        first: the pool was never seen, so what this generation wrote in this boot is not known either.
    """
    blocks, problems = read_blocks([pool])
    stock = Stock(is_held, problems=problems)
    if first:
        _take_own(stock, blocks, (), boot_id)
    _take_foreign(stock, blocks, ())
    return stock


def _address(block: Block, held: PoolAllocation) -> IPAddress | None:
    """The address that an entry means, None when the pool cannot give it."""
    try:
        address = ip_address(held.address.partition("/")[0])
    except ValueError:
        return None
    return address if address in block.network else None


def _entries(
    stock: Stock, blocks: Sequence[Block], wanted: Callable[[Entry], bool]
) -> Iterator[tuple[Block, str, Entry, Allocation]]:
    for block in blocks:
        mirror = read_mirror(block.pool)
        # first: addresses are slow to read, and each write of a pool brings all its entries
        for entry in filter(wanted, mirror.entries):
            address = _address(block, entry.held)
            if address is None:
                problem = f"IPPool {block.pool.name!r}: entry {entry.held.address!r} is not in {block.network}"
                if problem not in stock.problems:
                    stock.problems.append(problem)
            else:
                yield block, mirror.boot_id, entry, block.allocation(address)


_Shown = list[tuple[Sandbox, SandboxLink]]
"""Links in which the kernel shows an attachment."""


def _take_own(
    stock: Stock, blocks: Sequence[Block], sandboxes: Sequence[Sandbox], boot_id: str, *, shown: bool = False
) -> None:
    """What this generation wrote in this boot, one row per attachment; ``shown``: only where the kernel shows it.

    The pools are not written in the same instant, so of an attachment some may not tell yet; its links do.
    """
    found: dict[AttachmentKey, tuple[Holder, PodReference, list[Allocation]]] = {}
    for _, boot, entry, allocation in _entries(stock, blocks, lambda entry: entry.holder is not None):
        if boot != boot_id or entry.holder is None:
            continue
        pod = PodReference(entry.held.namespace, entry.held.pod, entry.holder.uid)
        found.setdefault(entry.holder.key, (entry.holder, pod, []))[2].append(allocation)
    rows: list[tuple[AttachmentKey, Holder, PodReference, tuple[Allocation, ...], _Shown]] = []
    for key, (holder, pod, allocations) in found.items():
        links = [
            (sandbox, link)
            for sandbox in sandboxes
            for link in sandbox.holding({each.address.ip for each in allocations})
            if link.on_node and link.group == holder.group and (sandbox.inode, link.ifname) not in stock.seen
        ]
        if shown and not links:
            continue  # the mirror is a little late
        rows.append((key, holder, pod, stock.claim(allocations), links))
    for key, holder, pod, mine, links in rows:
        if mine and len({sandbox.inode for sandbox, _ in links}) == 1:
            sandbox = links[0][0]
            own = tuple(link for link in sandbox.links if link.on_node and link.group == holder.group)
            mine += stock.claim(each for link in own for each in _held_by(blocks, link))
            stock.seen |= {(sandbox.inode, link.ifname) for link in own}
            state = _state(key, pod)
            if not key.container_id.startswith(NAMELESS):
                state = "ready"
            plan = observed_plan(own, mine)
            result = encode_result(_observed_result(sandbox, own)) if state == "ready" else ""
            new = NewAttachment(key, sandbox.path, pod, "", plan, mine, {})
            stock.rows.append(TakenOver(new, state, holder.group, result, holder.created))
        elif mine and not shown:
            netns = _where(stock, sandboxes, mine)
            new = NewAttachment(key, netns, pod, "", Plan(()), mine, {})
            state = _state(key, pod)
            stock.rows.append(TakenOver(new, state, holder.group, "", holder.created))


def _state(key: AttachmentKey, pod: PodReference) -> State:
    """Of what is held without its links being known; nobody knows for whom where neither container nor pod is named."""
    return "unknown" if key.container_id.startswith(NAMELESS) and not pod.name else "adopted"


def _take_foreign(stock: Stock, blocks: Sequence[Block], sandboxes: Sequence[Sandbox]) -> None:
    """What another generation wrote, which knew the pod's name and no more: one row per pod and network, and a further
    one for each further address that the pod has in the same pool."""
    found: dict[tuple[str, PodReference, int], list[Allocation]] = {}
    for block, _, entry, allocation in _entries(stock, blocks, lambda entry: entry.holder is None):
        pod = PodReference(entry.held.namespace, entry.held.pod)
        for mine in stock.claim([allocation]):
            ordinal = 0
            while any(each.pool == mine.pool for each in found.get((block.pool.spec.net_attach_def, pod, ordinal), ())):
                ordinal += 1
            found.setdefault((block.pool.spec.net_attach_def, pod, ordinal), []).append(mine)
    for (network, pod, _), allocations in found.items():
        # The address makes it unique: the same pod may be met again, later and with another one.
        container_id = f"{NAMELESS}{pod.namespace}/{pod.name}@{allocations[0].address.ip}"
        key = AttachmentKey(PLUGIN, network, container_id, NAMELESS)
        netns = _where(stock, sandboxes, allocations)
        new = NewAttachment(key, netns, pod, "", Plan(()), tuple(allocations), {})
        stock.rows.append(TakenOver(new, "adopted"))


def _take_unknown(stock: Stock, blocks: Sequence[Block], sandboxes: Sequence[Sandbox]) -> None:
    """Links of ours, and addresses of our pools, that no entry accounts for; also on links that one accounts for."""
    for sandbox in sandboxes:
        rest: dict[tuple[int, str], list[SandboxLink]] = {}
        for link in sandbox.links:
            ours = link.on_node and GROUP_BASE <= link.group < GROUP_BASE + GROUP_COUNT
            ours = ours and (sandbox.inode, link.ifname) not in stock.seen
            if ours or any(True for _ in _held_by(blocks, link)):
                rest.setdefault((link.group if ours else 0, stem(link.ifname)), []).append(link)
        for (group, ifname), links in rest.items():
            allocations = stock.claim(each for link in links for each in _held_by(blocks, link))
            if not allocations and not group:
                continue
            pools = {each.pool for each in allocations}
            networks = {block.pool.spec.net_attach_def for block in blocks if block.pool.name in pools}
            network = networks.pop() if len(networks) == 1 else ""
            container_id = f"{NAMELESS}{sandbox.inode[0]}:{sandbox.inode[1]}:{group:x}"
            key = AttachmentKey(PLUGIN, network, container_id, ifname)
            plan = observed_plan(links, allocations) if group else Plan(())
            new = NewAttachment(key, sandbox.path, PodReference(), "", plan, allocations, {})
            stock.rows.append(TakenOver(new, "unknown", group or None))


def _held_by(blocks: Sequence[Block], link: SandboxLink) -> Iterator[Allocation]:
    return (
        block.allocation(address.ip)
        for address in (link.addresses if link.proven else ())
        for block in blocks
        if address.version == block.network.version and address.ip in block.network
    )


def _where(stock: Stock, sandboxes: Sequence[Sandbox], allocations: Iterable[Allocation]) -> str:
    """Path of the only namespace that has these addresses, else ""; its links are accounted for."""
    addresses = {each.address.ip for each in allocations}
    found = [(sandbox, link) for sandbox in sandboxes for link in sandbox.holding(addresses)]
    if len({sandbox.inode for sandbox, _ in found}) != 1:
        return ""
    stock.seen |= {(sandbox.inode, link.ifname) for sandbox, link in found}
    return found[0][0].path


def stem(ifname: str) -> str:
    """The CNI interface name that a link belongs to: ``net1`` of ``net1-0``."""
    match = _NUMBERED.fullmatch(ifname)
    return match[1] if match else ifname


def observed_plan(links: Iterable[SandboxLink], allocations: Iterable[Allocation]) -> Plan:
    """The plan that would make these links as they are, with the routes and rules that are certainly theirs.

    A setting is part of it where ADD gives it and the link has it. One that somebody else has changed already is left
    out, and a single link keeps those that it was born with.
    """
    parents = {each.address.ip: each.parent for each in allocations}
    links = tuple(links)
    given = {**LOOSE_FILTER, **OWN_ARP} if len(links) > 1 else {}
    steps: list[Step] = []
    for link in links:
        parent = next((parents[each.ip] for each in link.addresses if each.ip in parents), "")
        steps.append(
            CreateLink(
                link.ifname,
                link.link_kind,
                parent,
                link.parent_ifindex,
                link.mtu,
                dict(link.attributes),
                link.mac_address,
                link.vlan,
            )
        )
        steps += [AddAddress(link.ifname, address) for address in link.addresses]
        steps += [
            SetSysctl(f"net/ipv4/conf/{link.ifname}/{name}", value)
            for name, value in given.items()
            if str(link.settings.get(name)) == value
        ]
        steps += [*link.routes, *link.rules]
    return Plan(tuple(steps))


def _observed_result(sandbox: Sandbox, links: Sequence[SandboxLink]) -> Result:
    """The answer that ADD gave, as far as the kernel shows it."""
    return Result(
        tuple(Interface(link.ifname, link.mac_address, link.mtu, sandbox.path) for link in links),
        tuple(IPConfig(address, position) for position, link in enumerate(links) for address in link.addresses),
    )
