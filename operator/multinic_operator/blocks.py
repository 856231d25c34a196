"""Which block of addresses each NIC of each node has: the CIDR of a network, computed from what is there.

Pure. The CIDR that exists is the memory: an index that stands in it never moves, and only new NIC networks and new
rows get indexes, in sorted order, so that equal input gives equal output.

**Interface index**: one per NIC network. At creation ``masterNets`` in the order written (else the NICs' networks,
sorted), later ones the lowest that is free. An entry stays when its last node has left.

**Host index**: one per node, the same on all interfaces. A new node gets the one above the highest held anywhere, then
a gap that is free everywhere, then one that is free on the interfaces it has. An index counts as free only if no
exclude takes its pod block on any interface. Where an adopted CIDR shows a node under different indexes, they stay.

**Several NICs of one node in one network** each have a row in the entry, and so a block, an IPPool and addresses of
their own. The second NIC takes a host index like a further node would; it too holds on all interfaces, so a node
with two NICs in each of four networks holds two indexes, not five. First NICs of all nodes come before second ones.

**Rows are the memory of indexes**: a row stays while its node exists, also while its NIC is away, and the NIC that
comes (back) to that node and network takes it over, whatever its name now is. Only a row whose NIC has moved to
another network of the CIDR goes, because a NIC has one pool per network.

**Without a subnet** the NIC networks themselves are the interface blocks, cut by ``hostBlock``, and the addresses that
NICs hold are excluded. ``hostBlock`` 0 makes the interface block the one pod block, so it serves one NIC.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import collapse_addresses, ip_interface, ip_network

from multinic_core.addressing import block, covers, overlaps
from multinic_core.model import CIDRConfig, CIDREntry, CIDRHost, CIDRSpec, HostInterface, pool_name
from multinic_core.plan import IPNetwork
from multinic_core.pools import HeldIndexes

NAMES_IN_MESSAGE = 5
"""How many nodes a message names before it counts the rest."""


@dataclass(frozen=True, slots=True)
class HostNic:
    """One NIC that has an address, as a HostInterface shows it."""

    host: str
    ifname: str
    network: IPNetwork
    address: str
    """IP address of the node on that network, or ""."""


@dataclass(frozen=True, slots=True)
class BlockRequest:
    """What a network asks of its blocks, validated."""

    name: str
    plugin: str
    """Main plugin of the network."""
    subnet: IPNetwork | None
    """None: the NIC networks themselves are cut."""
    interface_bits: int
    host_bits: int
    excludes: tuple[IPNetwork, ...] = ()
    exclude_texts: tuple[str, ...] = ()
    """The excludes as the user wrote them."""
    vlan_mode: str = ""
    master_nets: tuple[IPNetwork, ...] = ()
    """In the user's order; empty: every network that a NIC has."""

    def interface_block(self, entry_network: IPNetwork, interface_index: int) -> IPNetwork:
        if self.subnet is None:
            return entry_network
        return block(self.subnet, self.interface_bits, interface_index)


@dataclass(frozen=True, slots=True)
class Computed:
    """The blocks, and one sentence for each NIC network or node that could not get one."""

    spec: CIDRSpec
    problems: tuple[str, ...]


@dataclass(slots=True)
class _Entry:
    network: IPNetwork
    index: int
    interface_block: IPNetwork
    rows: list[CIDRHost] = field(default_factory=list)
    """``pod_cidr`` and ``ippool`` are filled at the end."""
    taken: HeldIndexes = field(default_factory=HeldIndexes)
    """Host indexes that are held or excluded here."""


def host_nics(nodes: Iterable[HostInterface]) -> tuple[HostNic, ...]:
    """The NICs that have a network, sorted by node and name; a name that is repeated within a node counts once."""
    found: dict[tuple[str, str], HostNic] = {}
    for node in nodes:
        for interface in node.spec.interfaces:
            try:
                network = ip_interface(interface.net_address or "").network
            except ValueError:
                continue
            nic = HostNic(node.name, interface.interface_name, network, interface.host_ip or "")
            found.setdefault((nic.host, nic.ifname), nic)
    return tuple(found[key] for key in sorted(found))


def excluded_blocks(container: IPNetwork, bits: int, excludes: Sequence[IPNetwork]) -> list[tuple[int, int]]:
    """Indexes of the 2^bits blocks of ``container`` that the excludes take whole, as inclusive ranges."""
    shift = container.max_prefixlen - container.prefixlen - bits
    ranges = []
    for exclude in excludes:
        if covers(exclude, container):
            ranges.append((0, (1 << bits) - 1))
        elif covers(container, exclude) and exclude.max_prefixlen - exclude.prefixlen >= shift:
            first = (int(exclude.network_address) - int(container.network_address)) >> shift
            ranges.append((first, first + (exclude.num_addresses >> shift) - 1))
    return ranges


def _merged(excludes: Iterable[IPNetwork]) -> list[IPNetwork]:
    """The excludes with neighbours joined, so that two halves of a block count as the block."""
    ordered = list(excludes)
    merged: list[IPNetwork] = []
    for version in (4, 6):
        merged += collapse_addresses([e for e in ordered if e.version == version])  # type: ignore[type-var]
    return merged


def compute_blocks(
    request: BlockRequest, nics: Sequence[HostNic], hosts: Collection[str], existing: CIDRSpec | None
) -> Computed:
    """The CIDR that should be.

    Args:
        nics: the NICs there are, from :func:`host_nics`.
        hosts: nodes that exist; rows of others go.
        existing: the CIDR as it is, cut as ``request`` says; None to begin anew.
    """
    work = _Work(request, nics, existing)
    work.recall(hosts)
    work.number_networks()
    work.match_rows()
    work.number_rows()
    return Computed(work.result(), tuple(work.problems))


class _Work:
    """One computation; the methods run once each, in the order of :func:`compute_blocks`."""

    def __init__(self, request: BlockRequest, nics: Sequence[HostNic], existing: CIDRSpec | None) -> None:
        self.request = request
        self.existing = existing
        self.problems: list[str] = []
        self.entries: dict[IPNetwork, _Entry] = {}
        wanted = set(request.master_nets)
        ordered = sorted(nics, key=lambda nic: (nic.host, nic.ifname))
        self.nics = [nic for nic in ordered if not wanted or nic.network in wanted]
        self.merged = _merged(request.excludes)
        self.nic_addresses = [ip_network(nic.address) for nic in nics if nic.address] if request.subnet is None else []
        self.remembered: dict[str, Counter[int]] = defaultdict(Counter)
        """Node to the host indexes it holds, with on how many rows."""
        self.needs: dict[str, dict[IPNetwork, list[HostNic]]] = {}

    def recall(self, hosts: Collection[str]) -> None:
        """Take over entries and rows of the existing CIDR, without rows of nodes that are gone and repeated ones."""
        for old in sorted(self.existing.cidr if self.existing else [], key=lambda e: e.interface_index):
            try:
                network = ip_interface(old.net_address).network
                entry = self._entry(network, old.interface_index)
            except ValueError:
                continue  # not an address, or an index outside the blocks: it never worked
            if network in self.entries or any(e.index == entry.index for e in self.entries.values()):
                continue
            self.entries[network] = entry
            seen = set()
            for row in sorted(old.hosts, key=lambda r: (r.host_index, r.host_name, r.interface_name)):
                key = (row.host_name, row.interface_name)
                fits = 0 <= row.host_index < 1 << self.request.host_bits
                if row.host_name in hosts and fits and key not in seen and row.host_index not in entry.taken:
                    seen.add(key)
                    entry.taken.add(row.host_index)
                    entry.rows.append(row)
                    self.remembered[row.host_name][row.host_index] += 1

    def number_networks(self) -> None:
        """Give an interface index to each NIC network that has none."""
        request = self.request
        present = sorted({nic.network for nic in self.nics}, key=lambda n: (n.version, n))
        taken = HeldIndexes((entry.index, entry.index) for entry in self.entries.values())
        limit = None
        if request.subnet is not None:
            limit = 1 << request.interface_bits
            tabu = excluded_blocks(request.subnet, request.interface_bits, self.merged)
            taken = HeldIndexes([*taken, *tabu])
        for network in request.master_nets or present:
            if network in self.entries or (limit is None and any(covers(e, network) for e in self.merged)):
                continue
            if (reason := self._bars(network)) is not None:
                self.problems.append(reason)
                continue
            index = taken.next_free(0)
            if limit is not None and index >= limit:
                self.problems.append(
                    f"spec.ipam.interfaceBlock: found {request.interface_bits}, which allows {limit} NIC networks"
                    f"{' less the excluded ones' if tabu else ''}; none is left for {network}"
                )
                continue
            taken.add(index)
            self.entries[network] = self._entry(network, index)

    def _bars(self, network: IPNetwork) -> str | None:
        """Why this network cannot have an entry, or None."""
        request = self.request
        if request.subnet is not None:
            if overlaps(request.subnet, network):
                return (
                    f"spec.subnet: found '{request.subnet}', which overlaps the NIC network {network}; it has no block"
                )
            return None
        if network.prefixlen + request.host_bits > network.max_prefixlen:
            left = network.max_prefixlen - network.prefixlen
            return f"spec.ipam.hostBlock: found {request.host_bits}, but the NIC network {network} has only {left} bits"
        if (other := next((n for n in self.entries if overlaps(n, network)), None)) is not None:
            return (
                f"spec.subnet: found '', and the NIC network {network} overlaps {other}, so it is left without a block"
            )
        return None

    def _entry(self, network: IPNetwork, index: int) -> _Entry:
        return _Entry(network, index, self.request.interface_block(network, index))

    def match_rows(self) -> None:
        """Hand existing rows to the NICs there are now; what is left over of either becomes a need or a memory."""
        there: dict[IPNetwork, dict[str, list[HostNic]]] = {network: defaultdict(list) for network in self.entries}
        placed: dict[tuple[str, str], IPNetwork] = {}
        for nic in self.nics:
            if nic.network in there:
                there[nic.network][nic.host].append(nic)
                placed[nic.host, nic.ifname] = nic.network
        for network, entry in self.entries.items():
            old: dict[str, list[CIDRHost]] = defaultdict(list)
            for row in entry.rows:
                old[row.host_name].append(row)
            entry.rows = []
            for host in sorted({*old, *there[network]}):
                rows, nics = old.get(host, []), there[network].get(host, [])
                entry.rows += self._take_over(rows, nics)
                # What no NIC took is the memory of an index, unless its NIC has a row elsewhere.
                entry.rows += [row for row in rows if placed.get((host, row.interface_name), network) == network]
                if nics:
                    self.needs.setdefault(host, {})[network] = nics

    @staticmethod
    def _take_over(rows: list[CIDRHost], nics: list[HostNic]) -> list[CIDRHost]:
        """Pair rows with NICs of the same name, else the same address, else in order; paired ones leave both lists."""
        taken = []
        for same in (
            lambda row, nic: row.interface_name == nic.ifname,
            lambda row, nic: bool(nic.address) and row.host_ip == nic.address,
            lambda row, nic: True,
        ):
            for nic in list(nics):
                row = next((row for row in rows if same(row, nic)), None)
                if row is not None:
                    rows.remove(row)
                    nics.remove(nic)
                    taken.append(row.model_copy(update={"interface_name": nic.ifname, "host_ip": nic.address}))
        return taken

    def number_rows(self) -> None:
        """Give a host index to each NIC without a row: the first of each node and network, then the second, …"""
        for entry in self.entries.values():
            excludes = _merged([*self.request.excludes, *(a for a in self.nic_addresses if overlaps(a, entry.network))])
            ranges = excluded_blocks(entry.interface_block, self.request.host_bits, excludes)
            held = [(row.host_index, row.host_index) for row in entry.rows]
            entry.taken = HeldIndexes([*ranges, *held])
        held = [(i, i) for counter in self.remembered.values() for i in counter]
        self._top = max((i for i, _ in held), default=-1)
        self._anywhere = HeldIndexes([*held, *self._excluded_anywhere()])
        left: dict[IPNetwork, list[HostNic]] = defaultdict(list)
        while self.needs:
            for host in sorted(self.needs):
                places = self.needs[host]
                first = {network: nics.pop(0) for network, nics in places.items()}
                for network, index in self._indexes(host, list(first)).items():
                    nic = first.pop(network)
                    self._add_row(nic, index)
                for network, nic in first.items():
                    left[network].append(nic)
                self.needs[host] = {network: nics for network, nics in places.items() if nics}
            self.needs = {host: places for host, places in self.needs.items() if places}
        self._report(left)

    def _excluded_anywhere(self) -> list[tuple[int, int]]:
        """Host indexes whose pod block is excluded on any interface there is or may come."""
        request, mask = self.request, (1 << self.request.host_bits) - 1
        if request.subnet is None:
            return [
                r
                for entry in self.entries.values()
                if not any(covers(exclude, entry.network) for exclude in self.merged)
                for r in excluded_blocks(entry.interface_block, request.host_bits, self.merged)
            ]
        bits = request.interface_bits + request.host_bits
        # Ranges of pod blocks counted through the whole subnet; within one interface the low bits are the host index.
        # Excludes of whole interface blocks take no host index: those interfaces are never used.
        return [
            (first & mask, last & mask)
            for first, last in excluded_blocks(request.subnet, bits, self.merged)
            if last - first < mask
        ]

    def _indexes(self, host: str, networks: list[IPNetwork]) -> dict[IPNetwork, int]:
        """A host index for this node on each of these networks; a network for which none is left is absent."""
        own = self.remembered[host]
        given: dict[IPNetwork, int] = {}
        for network in networks:
            taken = self.entries[network].taken
            held = (i for i, _ in sorted(own.items(), key=lambda item: (-item[1], item[0])) if i not in taken)
            if (index := next(held, None)) is not None:
                given[network] = index
        rest = [network for network in networks if network not in given]
        if rest and (index := self._common(rest)) is not None:
            given.update(dict.fromkeys(rest, index))
            rest = []
        for network in rest:
            index = self.entries[network].taken.next_free(0)
            if index < 1 << self.request.host_bits:
                given[network] = index
        return given

    def _common(self, networks: list[IPNetwork]) -> int | None:
        """An index that is new to all of these networks: above all, else a gap everywhere, else free on these."""
        limit = 1 << self.request.host_bits
        for start in (self._top + 1, 0):
            index = self._anywhere.next_free(start)
            while index < limit and (blocked := [n for n in networks if index in self.entries[n].taken]):
                index = self._anywhere.next_free(self.entries[blocked[0]].taken.next_free(index))
            if index < limit:
                return index
        index = 0
        while index < limit:
            free = index
            for network in networks:
                free = self.entries[network].taken.next_free(free)
            if free == index:
                return index
            index = free
        return None

    def _add_row(self, nic: HostNic, index: int) -> None:
        entry = self.entries[nic.network]
        entry.taken.add(index)
        entry.rows.append(
            CIDRHost(
                host_index=index,
                host_name=nic.host,
                interface_name=nic.ifname,
                host_ip=nic.address,
                pod_cidr="",
            )
        )
        self.remembered[nic.host][index] += 1
        self._top = max(self._top, index)
        if index not in self._anywhere:
            self._anywhere.add(index)

    def _report(self, left: dict[IPNetwork, list[HostNic]]) -> None:
        bits = self.request.host_bits
        for network, nics in left.items():
            names = [f"{nic.host} ({nic.ifname})" for nic in nics[:NAMES_IN_MESSAGE]]
            more = f" and {len(nics) - len(names)} more" if len(nics) > len(names) else ""
            self.problems.append(
                f"spec.ipam.hostBlock: found {bits}, which allows {1 << bits} blocks on the NIC network {network};"
                f" none is left for {', '.join(names)}{more}"
            )

    def result(self) -> CIDRSpec:
        request = self.request
        entries = sorted(self.entries.values(), key=lambda e: e.index)
        return CIDRSpec(
            config=CIDRConfig(
                name=request.name,
                type=request.plugin,
                subnet=str(request.subnet) if request.subnet else "",
                master_nets=[str(n) for n in request.master_nets or [e.network for e in entries]],
                host_block=request.host_bits,
                interface_block=request.interface_bits,
                exclude_cidrs=list(request.exclude_texts) or None,
                vlan_mode=request.vlan_mode or None,
            ),
            cidr=[
                CIDREntry(
                    net_address=str(entry.network),
                    interface_index=entry.index,
                    vlan_cidr=str(entry.interface_block),
                    hosts=[self._finished(entry, row) for row in sorted(entry.rows, key=lambda r: r.host_index)],
                )
                for entry in entries
            ],
        )

    def _finished(self, entry: _Entry, row: CIDRHost) -> CIDRHost:
        pod_block = str(block(entry.interface_block, self.request.host_bits, row.host_index))
        return row.model_copy(update={"pod_cidr": pod_block, "ippool": pool_name(self.request.name, pod_block)})
