"""Claims: where in a compact network a NIC cannot have its node's own index. Pure but for the fleet handed in.

Most nodes have none. A claim is needed for a second NIC in the same NIC network, for an index that is outside the
blocks or whose block is excluded, and for whatever a list recorded otherwise before the network became compact. Claims
are to compact networks what rows are to lists: they stay while the node exists, and a NIC that comes (back) takes one
over.

An index that is another node's own is given only when nothing else is left, and that node is *barred* first: a claim
without an index keeps its own from serving in this network, now and for NICs it may get.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from multinic_core.model import CIDRSpec, IndexClaim
from multinic_core.pools import HeldIndexes, free_in_all
from multinic_core.rows import Rows, nic_network
from multinic_operator.numbering.fleet import Fleet, Member
from multinic_operator.numbering.indexes import recycle_index
from multinic_operator.numbering.layout import HostNic
from multinic_operator.numbering.rows import pair


@dataclass(slots=True)
class Settled:
    """What one node is to have in one network."""

    claims: list[IndexClaim]
    left: list[HostNic] = field(default_factory=list)
    """NICs for which no index was left."""
    bars: set[str] = field(default_factory=set)
    """Other nodes that must be barred in the network before these claims are written."""


def bar(network: str) -> IndexClaim:
    return IndexClaim(network=network)


def claim_of(network: str, nic: HostNic, index: int) -> IndexClaim:
    return IndexClaim(
        network=network,
        net_address=nic.net_address,
        interface_name=nic.ifname,
        host_ip=nic.address or None,
        host_index=index,
    )


def irregular(fleet: Fleet, rows: Rows, before: Rows | None = None) -> list[str]:
    """Nodes that may need claims in this network or have some, sorted; costs as much as there are.

    Args:
        before: the network as it was, when its excludes have just changed.
    """
    found = set(fleet.claimants.get(rows.network, ()))
    found |= {host for host in fleet.doubles if any(len(fleet.members[host].nets.get(n, ())) > 1 for n in rows.places)}
    found |= {fleet.by_index[index] for index in fleet.by_index.irange(rows.limit)}
    for places in (rows.places, before.places if before else {}):
        for place in places.values():
            for first, last in place.excluded:
                found |= {fleet.by_index[index] for index in fleet.by_index.irange(first, last)}
    return sorted(host for host in found if concerns(fleet, fleet.members[host], rows))


def concerns(fleet: Fleet, member: Member, rows: Rows) -> bool:
    """Whether this node has NICs or claims in this network, or an index that somebody else claims there."""
    if any(net in rows.places for net in member.nets) or member.claims_in(rows.network):
        return True
    return must_be_barred(fleet, rows, member)


def must_be_barred(fleet: Fleet, rows: Rows, member: Member) -> bool:
    """Whether the node's own index serves none of its NICs in this network, as others claim it there."""
    if fleet.barred(member.name, rows.network):
        return True
    own = member.index
    return own is not None and any(fleet.claim_holders(rows.network, net, own) - {member.name} for net in rows.places)


def settle(
    fleet: Fleet, rows: Rows, member: Member, before: Rows | None = None, first: Mapping[str, str] | None = None
) -> Settled:
    """The claims that this node is to have in this network; those that it has stay as they are.

    Args:
        before: the network as it was: an index that served there goes on, by claim where it would not by itself.
        first: NIC network to the NIC there that has had the node's own index so far, where several have no claim.
    """
    network, own = rows.network, member.index
    claims = [claim for claim in member.claims_in(network) if claim.host_index is not None]
    barred = must_be_barred(fleet, rows, member)
    settled = Settled([bar(network)] if barred else [])
    placed = {nic.ifname: net for net, nics in member.nets.items() if net in rows.places for nic in nics}
    ours = sorted({c.host_index for c in claims if c.host_index is not None})
    others = sorted({c.host_index for c in member.claims if c.network != network and c.host_index is not None})
    for net in sorted({*(n for n in member.nets if n in rows.places), *(c.net_address for c in claims)}):
        nics = list(member.nets.get(net, ()))
        there = [claim for claim in claims if claim.net_address == net]
        serves = own is not None and not barred and rows.serves(net, own)
        if not there and len(nics) <= 1 and (serves or not nics):
            continue
        kept = [claim_of(network, nic, c.host_index) for c, nic in pair(there, nics) if c.host_index is not None]
        kept += [claim for claim in there if placed.get(claim.interface_name, net) == net]
        settled.claims += kept
        served = not there and before is not None and own is not None and before.serves(net, own) and not barred
        had = (first or {}).get(net)
        for nic in sorted(nics, key=lambda nic: (nic.ifname != had, nic.ifname)):
            taken = {claim.host_index for claim in settled.claims if claim.net_address == net}
            wishes = [own, *ours, *others] if served or serves else [*ours, *others]
            index = next(
                (
                    i
                    for i in wishes
                    if i is not None
                    and i not in taken
                    and ((i == own and served) or _usable(fleet, rows, net, i, member.name))
                ),
                None,
            )
            if index is None:
                index, other = _fresh(fleet, rows, net, member.name, [i for i in taken if i is not None])
                settled.bars |= {other} - {""}
            if index is None:
                settled.left.append(nic)
                continue
            ours.append(index)
            settled.claims.append(claim_of(network, nic, index))
    return settled


def _usable(fleet: Fleet, rows: Rows, net: str, index: int, name: str) -> bool:
    """Whether this node may claim an index that is its own, or that it claims elsewhere, on this NIC network."""
    owner = fleet.by_index.get(index, name)
    free = owner == name or fleet.barred(owner, rows.network)
    return free and rows.serves(net, index) and not fleet.claim_holders(rows.network, net, index) - {name}


def _fresh(fleet: Fleet, rows: Rows, net: str, name: str, taken: Iterable[int]) -> tuple[int | None, str]:
    """An index that this node may claim there, and the node to bar for it or "".

    Args:
        taken: what this node is about to claim there already.
    """
    mine = HeldIndexes([(index, index) for index in taken])
    excluded = [mine, *(place.excluded for place in rows.places.values())]
    for start in (fleet.above(), 0):
        if (index := free_in_all([fleet.held, *excluded], start, rows.limit)) is not None:
            return index, ""
    for index in range(min(rows.limit, fleet.above())):
        if index in mine or not rows.serves(net, index) or fleet.claim_holders(rows.network, net, index):
            continue
        owner = fleet.by_index.get(index)
        if owner is not None and owner != name and not fleet.barred(owner, rows.network):
            if not any(n in rows.places for n in fleet.members[owner].nets):
                return index, owner
        elif owner is not None or index not in fleet.held:
            return index, ""
    return recycle_index(fleet, lambda index: index not in mine and rows.serves(net, index)), ""


def from_list(fleet: Fleet, spec: CIDRSpec, rows: Rows, *, keep: bool = False) -> dict[str, list[IndexClaim]]:
    """The claims that keep every block of a list where it is once the list is gone.

    Args:
        spec: the CIDR with its list.
        rows: the same CIDR, compact.
        keep: the list may lack rows; claims that nodes have already stay.

    Returns:
        Node to its claims in this network, [] for none; for every node that must be written and those in the list.
    """
    network = rows.network
    barred: set[str] = set()
    for entry in spec.cidr:
        for row in entry.hosts:
            owner = fleet.by_index.get(row.host_index)
            if owner is not None and owner != row.host_name:
                barred.add(owner)
    claimants = fleet.claimants.get(network, ())
    kept = {name: fleet.members[name].claims_in(network) if keep else [] for name in claimants}
    barred |= {name for name in claimants if keep and fleet.barred(name, network)}
    found = {name: [claim for claim in claims if claim.host_index is not None] for name, claims in kept.items()}
    found |= {name: [bar(network), *found.get(name, [])] for name in barred}
    for entry in spec.cidr:
        net = nic_network(entry.net_address)
        counted: dict[str, int] = {}
        for row in entry.hosts:
            counted[row.host_name] = counted.get(row.host_name, 0) + 1
        for row in entry.hosts:
            member = fleet.members.get(row.host_name)
            if member is None:
                continue
            claims = found.setdefault(member.name, [])
            nics = member.nets.get(net, ())
            regular = (
                row.host_index == member.index
                and member.name not in barred
                and counted[row.host_name] == 1
                and len(nics) <= 1
                and rows.serves(net, row.host_index)
            )
            if not regular and all((c.net_address, c.host_index) != (net, row.host_index) for c in claims):
                claims.append(
                    IndexClaim(
                        network=network,
                        net_address=net,
                        interface_name=row.interface_name,
                        host_ip=row.host_ip or None,
                        host_index=row.host_index,
                    )
                )
    return found


def with_claims(member: Member, network: str, claims: Iterable[IndexClaim]) -> Sequence[IndexClaim]:
    """All claims of a node, with these in place of those it had in this network."""
    others = [claim for claim in member.claims if claim.network != network]
    return sorted(
        [*others, *claims],
        key=lambda c: (c.network, c.net_address, -1 if c.host_index is None else c.host_index, c.interface_name),
    )
