"""All nodes as numbering sees them, kept up to date one HostInterface at a time.

An event costs as much as the node has NICs, never a loop over other nodes. What the operator has decided about a node
(its index, its claims) counts from the moment of the decision, before the API has it, so that two nodes that come
together are never given the same index; the decision is kept until the object says it too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from sortedcontainers import SortedDict

from multinic_core.model import HostInterface, IndexClaim
from multinic_core.pools import HeldIndexes
from multinic_operator.numbering.departed import Departure
from multinic_operator.numbering.layout import HostNic, host_nics


@dataclass(frozen=True, slots=True)
class Member:
    """One node that has a HostInterface."""

    name: str
    uid: str | None
    version: str | None
    """resourceVersion of the HostInterface that this was read from."""
    nets: dict[str, tuple[HostNic, ...]]
    """NIC network, as a CIDR writes it, to the NICs there, sorted by ifname."""
    index: int | None
    claims: tuple[IndexClaim, ...] = ()
    written: bool = True
    """Whether the object says index and claims as they are here."""

    def claims_in(self, network: str) -> list[IndexClaim]:
        return [claim for claim in self.claims if claim.network == network]


def read_member(host: HostInterface) -> Member:
    """A node as its HostInterface shows it."""
    nets: dict[str, tuple[HostNic, ...]] = {}
    for nic in host_nics([host]):
        nets[nic.net_address] = (*nets.get(nic.net_address, ()), nic)
    index, claims = (host.status.host_index, host.status.exceptions or []) if host.status else (None, [])
    return Member(host.name, host.metadata.uid, host.metadata.resource_version, nets, index, tuple(claims))


@dataclass(slots=True)
class Fleet:
    """The nodes and the indexes that they and those that left hold."""

    members: dict[str, Member] = field(default_factory=dict)
    on: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    """NIC network to the nodes on it, each with its count of NICs there."""
    nics: Counter[str] = field(default_factory=Counter)
    """NIC network to the count of NICs on it."""
    by_index: SortedDict[int, str] = field(default_factory=SortedDict)
    """Index to the node whose own it is."""
    clashing: set[str] = field(default_factory=set)
    """Nodes whose object names an index that another node has."""
    held: HeldIndexes = field(default_factory=HeldIndexes)
    """Indexes of nodes, of claims and of those that left."""
    departed: dict[str, Departure] = field(default_factory=dict)
    """Those that left, by name, oldest first."""
    claimed: dict[str, dict[tuple[str, int], set[str]]] = field(default_factory=lambda: defaultdict(dict))
    """Network to (NIC network, index) to the nodes that claim it."""
    claimants: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Network to the nodes that have claims or a bar in it."""
    doubles: set[str] = field(default_factory=set)
    """Nodes with more than one NIC in some NIC network."""
    pools: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Node to the names of its IPPools."""
    on_leave: Callable[[], None] = lambda: None
    """To be called by who has a node leave that no record speaks of yet."""
    with_nics: int = 0
    """Nodes whose HostInterface names a NIC."""
    _uses: Counter[int] = field(default_factory=Counter)

    def observe(self, name: str, host: HostInterface | None) -> tuple[Member | None, Member | None]:
        """Take in a HostInterface as it is now, None when it is gone; gives the node before and after.

        The two are the same object when nothing has changed that numbering looks at.
        """
        before = self.members.get(name)
        if host is None:
            self._replace(name, None)
            return before, None
        if before is not None and before.version == host.metadata.resource_version:
            return before, before
        after = read_member(host)
        if before is not None and before.index is not None and (not before.written or after.index is None):
            # Decided and on its way, or taken away by hand: what was given stays given.
            same = (after.index, after.claims) == (before.index, before.claims)
            after = replace(after, index=before.index, claims=before.claims, written=same)
        if before is not None and replace(after, version=before.version) == before:
            self.members[name] = replace(before, version=after.version)
            return self.members[name], self.members[name]
        self._replace(name, after)
        return before, self.members[name]

    def decide(self, name: str, index: int | None, claims: Iterable[IndexClaim]) -> Member:
        """Give a node this index and these claims; what it held and is not named any more is free."""
        member = self.members[name]
        decided = replace(member, index=index, claims=tuple(claims))
        if decided != member:
            self._replace(name, replace(decided, written=False))
        return self.members[name]

    def confirm(self, name: str, written: Member, version: str | None) -> None:
        """The API has this index and these claims of the node, in this version of its object."""
        now = self.members.get(name)
        if now is not None and now.version == written.version:
            same = (now.index, now.claims) == (written.index, written.claims)
            self.members[name] = replace(now, version=version, written=same)

    def leave(self, departure: Departure) -> None:
        """Remember what a node that left held."""
        self.forget(departure.node)
        self.departed[departure.node] = departure
        self._use(departure.indexes, 1)

    def forget(self, node: str) -> None:
        """Free what a node that left held."""
        if (departure := self.departed.pop(node, None)) is not None:
            self._use(departure.indexes, -1)

    def barred(self, name: str, network: str) -> bool:
        """Whether the node's own index serves none of its NICs in this network."""
        member = self.members.get(name)
        return member is not None and any(claim.host_index is None for claim in member.claims_in(network))

    def claim_holders(self, network: str, net_address: str, index: int) -> set[str]:
        """Nodes that claim this index there; an empty set for most."""
        return self.claimed[network].get((net_address, index), set())

    def holders(self, index: int) -> int:
        """How many nodes, there or gone, hold this index as their own or by claim."""
        return self._uses[index]

    def above(self) -> int:
        """One more than the highest index that anybody holds."""
        return self.held.highest() + 1

    def present(self) -> list[str]:
        """NIC networks that some NIC has, in no order."""
        return [net for net, count in self.nics.items() if count]

    def sample(self) -> list[HostNic]:
        """One NIC for each NIC network: that of the node whose name comes first."""
        first = {net: min(hosts) for net, hosts in self.on.items() if hosts}
        return [self.members[host].nets[net][0] for net, host in first.items()]

    def nics_on(self, nets: Iterable[str]) -> Sequence[HostNic]:
        """NICs of nodes that have an index, on these NIC networks; sorted by node and name."""
        found = [
            nic
            for net in nets
            for host in self.on.get(net, ())
            if (member := self.members[host]).index is not None
            for nic in member.nets[net]
        ]
        return sorted(found, key=lambda nic: (nic.host, nic.ifname))

    # Inside

    def _replace(self, name: str, after: Member | None) -> None:
        if (before := self.members.pop(name, None)) is not None:
            self._take(before, -1)
        if after is not None:
            if after.index is not None and self.by_index.get(after.index, name) != name:
                self.clashing.add(name)
            self.members[name] = after
            self._take(after, 1)

    def _take(self, member: Member, sign: int) -> None:
        """Enter a node into every index, or with sign -1 take it out."""
        name = member.name
        self.with_nics += sign * bool(member.nets)
        for net, nics in member.nets.items():
            self.nics[net] += sign * len(nics)
            if sign > 0:
                self.on[net][name] = len(nics)
            else:
                self.on[net].pop(name, None)
                if not self.on[net]:
                    del self.on[net], self.nics[net]
        if sign > 0 and any(len(nics) > 1 for nics in member.nets.values()):
            self.doubles.add(name)
        elif sign < 0:
            self.doubles.discard(name)
        if sign > 0:
            if member.index is not None:
                self.by_index.setdefault(member.index, name)
        else:
            self.clashing.discard(name)
            if member.index is not None and self.by_index.get(member.index) == name:
                del self.by_index[member.index]
        self._use(({member.index} - {None}) | {c.host_index for c in member.claims if c.host_index is not None}, sign)
        for claim in member.claims:
            if sign > 0:
                self.claimants[claim.network].add(name)
            else:
                self.claimants[claim.network].discard(name)
                if not self.claimants[claim.network]:
                    del self.claimants[claim.network]
            if claim.host_index is not None:
                holders = self.claimed[claim.network].setdefault((claim.net_address, claim.host_index), set())
                (holders.add if sign > 0 else holders.discard)(name)
                if not holders:
                    del self.claimed[claim.network][claim.net_address, claim.host_index]

    def _use(self, indexes: Iterable[int | None], sign: int) -> None:
        for index in indexes:
            if index is None:
                continue
            before = self._uses[index]
            self._uses[index] = before + sign
            if before + sign == 0:
                del self._uses[index]
                self.held.remove(index)
            elif before == 0:
                self.held.add(index)
