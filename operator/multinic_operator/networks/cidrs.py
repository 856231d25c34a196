"""The CIDR object of a network: computed, written only when it differs, never from a stale memory.

Claims come before the CIDR that needs them and go after the CIDR that needs them no more, so that at no moment, a
crash included, two nodes have the same block or one has lost its own.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial

import trio

from multinic_core.errors import ApiError
from multinic_core.model import (
    CIDR,
    CIDRS,
    CIDRHost,
    CIDRSpec,
    IndexClaim,
    IPPool,
    MultiNicNetwork,
    ObjectMeta,
)
from multinic_core.rows import Rows
from multinic_operator.hosts import write_member
from multinic_operator.networks.pools import retire_unused
from multinic_operator.numbering.blocks import Computed, compute_blocks, compute_entries, no_index, sound_rows
from multinic_operator.numbering.departed import Departure
from multinic_operator.numbering.exceptions import bar, from_list, irregular, settle, with_claims
from multinic_operator.numbering.filled import filled_blocks
from multinic_operator.numbering.fleet import Fleet
from multinic_operator.numbering.layout import BlockRequest, HostNic
from multinic_operator.numbering.recall import recall_blocks
from multinic_operator.numbering.sizes import surely_too_long, too_long
from multinic_operator.ownership import owner_reference, with_owner
from multinic_operator.status.derive import timestamp
from multinic_operator.together import each
from multinic_operator.validation.validate import renumbering
from multinic_operator.world import World

logger = logging.getLogger(__name__)

AT_ONCE = 50
"""So many nodes are settled before others get their turn."""


class NotYetError(Exception):
    """The blocks wait for something that is on its way, such as the index of a node; look again shortly."""


def index_on_its_way(node: str) -> NotYetError:
    return NotYetError(f"the index of node {node!r} is on its way")


def addresses_in_use(pools: list[IPPool], network: str) -> int:
    """How many addresses of this network pods hold, as the pools show it."""
    return sum(len(pool.spec.allocations) for pool in pools if pool.spec.net_attach_def == network)


@dataclass(slots=True)
class Blocks:
    """One look at the blocks of one network."""

    world: World
    network: MultiNicNetwork
    request: BlockRequest
    base: CIDRSpec | None
    """What is gone on from: the CIDR as it is, or what its pools remember; None to begin anew."""
    recalled: bool = False
    """Whether the CIDR is gone and ``base`` is what pools remember of it."""

    @property
    def fleet(self) -> Fleet:
        return self.world.fleet

    @property
    def was_compact(self) -> bool:
        return self.base is not None and bool(self.base.compact)

    def nets(self) -> list[str]:
        """NIC networks that matter: those asked for, or all there are, and those that have an entry."""
        wanted = list(map(str, self.request.master_nets)) or self.fleet.present()
        return list(dict.fromkeys([*wanted, *(entry.net_address for entry in (self.base.cidr if self.base else ()))]))

    def alive(self, spec: CIDRSpec) -> set[str]:
        """Nodes in the list that exist."""
        listed = {row.host_name for entry in spec.cidr for row in entry.hosts}
        return {name for name in listed if self.world.knows_node(name)}

    def listed(self) -> Computed | None:
        """The CIDR with its list; None when that would be too long."""
        nets = self.nets()
        if surely_too_long(sum(self.fleet.nics.get(net, 0) for net in nets), self.was_compact):
            return None
        self._must_be_indexed({host for net in nets for host in self.fleet.on.get(net, ())})
        base = self._expanded() if self.was_compact else self.base
        nics = self.fleet.nics_on(nets)
        wishes = {
            name: [
                *(c.host_index for c in member.claims_in(self.network.name) if c.host_index is not None),
                *([member.index] if member.index is not None else []),
            ]
            for name in {nic.host for nic in nics}
            if (member := self.fleet.members[name])
        }
        hosts = self.alive(base) if base else set()
        computed = compute_blocks(self.request, nics, hosts, base, wishes, self.fleet.held)
        whole = CIDR(metadata=ObjectMeta(name=self.network.name), spec=computed.spec)
        return None if too_long(whole, self.was_compact) else computed

    def _expanded(self) -> CIDRSpec:
        """The compact CIDR with the list that it stands for.

        Raises:
            NotYetError: the index of some node is on its way.
        """
        assert self.base is not None
        rows = Rows(self.network.name, self.base)
        hosts: dict[int, list[CIDRHost]] = {entry.interface_index: [] for entry in self.base.cidr}
        for name in sorted({host for net in rows.places for host in self.fleet.on.get(net, ())}):
            member = self.fleet.members.get(name)
            if member is not None and (member.index is None or not member.written):
                raise index_on_its_way(name)
            host = self.world.hosts.get(name)
            for row in rows.of(host) if host is not None else ():
                hosts[row.entry.interface_index].append(
                    CIDRHost(
                        host_index=row.host_index,
                        host_name=name,
                        interface_name=row.interface_name,
                        host_ip=row.host_ip,
                        pod_cidr=row.pod_cidr,
                    )
                )
        for name in sorted(self.fleet.claimants.get(self.network.name, ())):
            for claim in self.fleet.members[name].claims_in(self.network.name):
                place = rows.places.get(claim.net_address)
                if claim.host_index is None or place is None:
                    continue
                there = hosts[place.entry.interface_index]
                if all((row.host_name, row.host_index) != (name, claim.host_index) for row in there):
                    there.append(_row(name, claim, claim.host_index))
        entries = [entry.model_copy(update={"hosts": hosts[entry.interface_index]}) for entry in self.base.cidr]
        return self.base.model_copy(update={"cidr": entries, "compact": None})

    async def compacted(self) -> Computed:
        """The CIDR without its list, once everything that must be said first stands in the nodes' own objects.

        Raises:
            ApiError: a claim could not be written.
            NotYetError: the index of some node is on its way.
        """
        computed = compute_entries(self.request, self.fleet.sample(), self.base)
        rows = Rows(self.network.name, computed.spec)
        if self.base is not None and not self.was_compact:
            await self._from_list(self.base, rows)
        before = None
        if self.base is not None and self.was_compact and self.base.config != computed.spec.config:
            before = Rows(self.network.name, self.base)
        problems = await self._settle(rows, before)
        problems += filled_blocks(self.request, rows, self.fleet, self.world.hosts.get)
        return Computed(computed.spec, (*computed.problems, *problems))

    async def _from_list(self, base: CIDRSpec, rows: Rows) -> None:
        """Have every node that the list has otherwise than arithmetic would say so in its own object."""
        fleet, world, name = self.fleet, self.world, self.network.name
        spec = sound_rows(self.request, self.alive(base), base)
        listed = {row.host_name: row.host_index for entry in reversed(spec.cidr) for row in entry.hosts}
        self._must_be_indexed(listed)
        for node, index in sorted(listed.items()):
            if node not in fleet.members and node not in fleet.departed:
                # A Node without HostInterface: it is to find this index when its daemon is back.
                fleet.leave(Departure(node=node, host_index=index, left=timestamp(world.now())))
                fleet.on_leave()
        plan = from_list(fleet, spec, rows, keep=self.recalled)
        for node, claims in plan.items():
            fleet.decide(node, fleet.members[node].index, with_claims(fleet.members[node], name, claims))
        barred = sorted(node for node, claims in plan.items() if bar(name) in claims)
        await self._write(barred)
        await self._write(sorted(plan.keys() - set(barred)))

    def _must_be_indexed(self, names: Collection[str]) -> None:
        for name in names:
            member = self.fleet.members.get(name)
            if member is not None and member.index is None:
                raise index_on_its_way(name)

    async def _settle(self, rows: Rows, before: Rows | None) -> list[str]:
        """Have the claims of the nodes that need some; gives a sentence for each NIC network that lacks indexes."""
        fleet = self.fleet
        left: dict[str, list[HostNic]] = {}
        for count, node in enumerate(irregular(fleet, rows, before), 1):
            if count % AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            member = fleet.members.get(node)
            if member is None or member.index is None:
                continue
            settled = settle(fleet, rows, member, before)
            for other in sorted(settled.bars):
                known = fleet.members[other]
                claims = [*known.claims_in(rows.network), bar(rows.network)]
                fleet.decide(other, known.index, with_claims(known, rows.network, claims))
                await write_member(self.world, other)
            if node in fleet.members:
                member = fleet.members[node]
                fleet.decide(node, member.index, with_claims(member, rows.network, settled.claims))
            for nic in settled.left:
                left.setdefault(nic.net_address, []).append(nic)
        await self._write(sorted(fleet.claimants.get(rows.network, ())))
        return [no_index(self.request, nics[0].network, nics) for _, nics in sorted(left.items())]

    async def _write(self, nodes: Iterable[str]) -> None:
        await each(partial(write_member, self.world, node) for node in nodes)


def _row(node: str, claim: IndexClaim, index: int) -> CIDRHost:
    """A row that remembers a claim whose NIC is away."""
    return CIDRHost(
        host_index=index,
        host_name=node,
        interface_name=claim.interface_name,
        host_ip=claim.host_ip or "",
        pod_cidr="",
    )


async def drop_claims(world: World, network: str) -> None:
    """Take the claims of a network away that is gone, or that lists its nodes.

    Raises:
        ApiError: a node's object could not be written.
    """
    fleet = world.fleet
    nodes = sorted(fleet.claimants.get(network, ()))
    for node in nodes:
        member = fleet.members[node]
        fleet.decide(node, member.index, with_claims(member, network, ()))
    await each(partial(write_member, world, node) for node in nodes)


async def write_cidr(
    world: World, network: MultiNicNetwork, request: BlockRequest, *, anew: bool
) -> tuple[CIDR, Computed]:
    """Have the network's CIDR hold the blocks that this request gives now.

    Args:
        anew: the recorded blocks are cut otherwise and none of their addresses is in use: number from the start.

    Returns:
        The object as the API has it now, and the computation that it agrees with.

    Raises:
        ApiError: a read or write failed.
        NotYetError: something is on its way, or the store is behind the API; look again shortly.
    """
    known = world.cidrs.get(network.name)
    if known is None:
        pools = [pool for pool in world.pools.list() if pool.spec.net_attach_def == network.name]
        nics = world.fleet.nics_on(world.fleet.present()) if pools else ()
        base = recall_blocks(request, pools, nics)
    else:
        base = None if anew and renumbering(known.spec, request) else known.spec
        if base is None:
            await drop_claims(world, network.name)  # of blocks that were cut otherwise
    blocks = Blocks(world, network, request, base, recalled=known is None)
    computed = blocks.listed()
    if computed is None:
        computed = await blocks.compacted()
    written = await _write(world, network, known, computed)
    if not computed.spec.compact:
        await drop_claims(world, network.name)
    elif known is not None and not known.spec.compact:
        await retire_unused(world, network.name)
    return written, computed


async def _write(world: World, network: MultiNicNetwork, known: CIDR | None, computed: Computed) -> CIDR:
    """Have this computation in the API, if what it goes on from is still what is there."""
    owner = owner_reference(network)
    extra = {"network": network.name, "interfaces": len(computed.spec.cidr), "compact": bool(computed.spec.compact)}
    if known is None:
        body = CIDR(metadata=ObjectMeta(name=network.name, owner_references=[owner]), spec=computed.spec)
        try:
            made = await world.kube.create(CIDRS, body)
        except ApiError as error:
            if error.api_reason != "AlreadyExists":
                raise
            raise NotYetError("the store has yet to show the CIDR") from error
        logger.info("blocks written", extra=extra)
        return made
    references = with_owner(known.metadata.owner_references, owner)
    if computed.spec == known.spec and references == known.metadata.owner_references:
        return known

    def change(item: CIDR) -> CIDR:
        if item.spec != known.spec:
            raise NotYetError("the store has yet to show what the CIDR says now")
        found = with_owner(item.metadata.owner_references, owner)
        metadata = item.metadata.model_copy(update={"owner_references": found})
        return item.model_copy(update={"spec": computed.spec, "metadata": metadata})

    written = await world.kube.modify(CIDRS, network.name, change)
    logger.info("blocks changed", extra=extra | {"generation": written.metadata.generation})
    return written
