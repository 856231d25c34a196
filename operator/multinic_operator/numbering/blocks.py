"""Which block of addresses each NIC of each node has: the CIDR of a network, computed from what is there.

Pure. The CIDR that exists is the memory: an index that stands in it never moves, and only new NIC networks and new
rows get indexes, in sorted order, so that equal input gives equal output.

**Interface index**: one per NIC network. At creation ``masterNets`` in the order written (else the NICs' networks,
sorted), later ones the lowest that is free. An entry stays when its last node has left.

**Host index**: one per node, the same on all interfaces: the node's index in the whole cluster where that is free, else
the one above the highest held anywhere, then a gap that is free everywhere, then one that is free on the interfaces it
has. An index counts as free only if no exclude takes its pod block on any interface. Where an adopted CIDR shows a node
under different indexes, they stay.

**Several NICs of one node in one network** each have a row in the entry, and so a block, an IPPool and addresses of
their own. The second NIC takes a host index like a further node would; it too holds on all interfaces, so a node
with two NICs in each of four networks holds two indexes, not five. First NICs of all nodes come before second ones.

**Rows are the memory of indexes**: a row stays while its node exists, also while its NIC is away, and the NIC that
comes (back) to that node and network takes it over, whatever its name now is. Only a row whose NIC has moved to
another network of the CIDR goes, because a NIC has one pool per network.

**Without a subnet** the NIC networks themselves are the interface blocks, cut by ``hostBlock``. Excluded are addresses
that nodes have there, and those that the main plugin reserves. ``hostBlock`` 0 makes the interface block the one pod
block, so it serves one NIC.

**Compact**: a CIDR that would be too long lists no nodes (:mod:`multinic_core.rows`); here only its entries are made.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface

from multinic_core.addressing import block, covers, excluded_blocks, merged, overlaps
from multinic_core.model import CIDRConfig, CIDREntry, CIDRHost, CIDRSpec, pool_name
from multinic_core.plan import IPNetwork
from multinic_core.pools import HeldIndexes
from multinic_operator.numbering.hostindexes import HostIndexes
from multinic_operator.numbering.layout import BlockRequest, Entry, HostNic
from multinic_operator.numbering.rows import match_rows

NAMES_IN_MESSAGE = 5
"""How many NICs a message names before it counts the rest."""


@dataclass(frozen=True, slots=True)
class Computed:
    """The blocks, and one sentence for each NIC network or node that could not get one."""

    spec: CIDRSpec
    problems: tuple[str, ...]


def compute_blocks(
    request: BlockRequest,
    nics: Sequence[HostNic],
    hosts: Collection[str],
    existing: CIDRSpec | None,
    wishes: Mapping[str, Sequence[int]] | None = None,
    avoid: HeldIndexes | None = None,
) -> Computed:
    """The CIDR that should be, with a list of nodes.

    Args:
        nics: the NICs there are, each once, in any order.
        hosts: nodes that exist; rows of others go.
        existing: the CIDR as it is, cut as ``request`` says; None to begin anew.
        wishes: node to the indexes that it should have where they are free, best first.
        avoid: indexes that others have in the whole cluster; given only when no other is left.
    """
    ordered = sorted(nics, key=lambda nic: (nic.host, nic.ifname))
    eligible = [nic for nic in ordered if not request.master_nets or nic.network in request.master_nets]
    entries = _recorded(request, hosts, existing)
    remembered: dict[str, Counter[int]] = defaultdict(Counter)
    for entry in entries.values():
        for row in entry.rows:
            remembered[row.host_name][row.host_index] += 1
    problems = _add_networks(request, entries, eligible)
    needs = match_rows(entries, eligible)
    left = HostIndexes(request, entries, ordered, remembered, wishes or {}, avoid or HeldIndexes()).number(needs)
    problems += [no_index(request, network, without) for network, without in left.items()]
    return Computed(_finished(request, entries), tuple(problems))


def compute_entries(request: BlockRequest, sample: Sequence[HostNic], existing: CIDRSpec | None) -> Computed:
    """The CIDR that should be when it is compact: its NIC networks and their interface indexes, and no nodes.

    Args:
        sample: at least one NIC of each NIC network that there is.
        existing: the CIDR as it is, cut as ``request`` says, compact or not; None to begin anew.
    """
    entries = _recorded(request, (), existing)
    eligible = [nic for nic in sample if not request.master_nets or nic.network in request.master_nets]
    problems = _add_networks(request, entries, eligible)
    return Computed(_finished(request, entries).model_copy(update={"compact": True}), tuple(problems))


def sound_rows(request: BlockRequest, hosts: Collection[str], existing: CIDRSpec) -> CIDRSpec:
    """A CIDR that was recorded, without what never worked, what is there twice, and nodes that are gone."""
    return _finished(request, _recorded(request, hosts, existing))


def _recorded(request: BlockRequest, hosts: Collection[str], existing: CIDRSpec | None) -> dict[IPNetwork, Entry]:
    """Entries and rows of the existing CIDR, without rows of nodes that are gone and repeated ones."""
    entries: dict[IPNetwork, Entry] = {}
    for old in sorted(existing.cidr if existing else [], key=lambda entry: entry.interface_index):
        try:
            network = ip_interface(old.net_address).network
            entry = Entry(network, old.interface_index, request.interface_block(network, old.interface_index))
        except ValueError:
            continue  # not an address, or an index outside the blocks: it never worked
        if network in entries or any(other.index == entry.index for other in entries.values()):
            continue
        entries[network] = entry
        seen: set[tuple[str, str]] = set()
        for row in sorted(old.hosts, key=lambda row: (row.host_index, row.host_name, row.interface_name)):
            key = (row.host_name, row.interface_name)
            fits = 0 <= row.host_index < 1 << request.host_bits
            if row.host_name in hosts and fits and key not in seen and row.host_index not in entry.taken:
                seen.add(key)
                entry.taken.add(row.host_index)
                entry.rows.append(row)
    return entries


def _add_networks(request: BlockRequest, entries: dict[IPNetwork, Entry], nics: Sequence[HostNic]) -> list[str]:
    """Give an interface index to each NIC network that has none; gives a sentence for each that cannot have one."""
    problems: list[str] = []
    excludes = merged(request.excludes)
    held = [(entry.index, entry.index) for entry in entries.values()]
    tabu, limit = [], None
    if request.subnet is not None:
        tabu, limit = excluded_blocks(request.subnet, request.interface_bits, excludes), 1 << request.interface_bits
    taken = HeldIndexes([*held, *tabu])
    present = sorted({nic.network for nic in nics}, key=lambda network: (network.version, network))
    for network in request.master_nets or present:
        if network in entries or (limit is None and any(covers(exclude, network) for exclude in excludes)):
            continue
        if (reason := _bar(request, entries, network)) is not None:
            problems.append(reason)
            continue
        index = taken.next_free(0)
        if limit is not None and index >= limit:
            problems.append(
                f"spec.ipam.interfaceBlock: found {request.interface_bits}, which allows {limit} NIC networks"
                f"{' less the excluded ones' if tabu else ''}; none is left for {network}"
            )
            continue
        taken.add(index)
        entries[network] = Entry(network, index, request.interface_block(network, index))
    return problems


def _bar(request: BlockRequest, entries: Mapping[IPNetwork, Entry], network: IPNetwork) -> str | None:
    """Why this network cannot have an entry, or None."""
    if request.subnet is not None:
        if overlaps(request.subnet, network):
            return f"spec.subnet: found '{request.subnet}', which overlaps the NIC network {network}; it has no block"
        return None
    if network.prefixlen + request.host_bits > network.max_prefixlen:
        left = network.max_prefixlen - network.prefixlen
        return f"spec.ipam.hostBlock: found {request.host_bits}, but the NIC network {network} has only {left} bits"
    if (other := next((n for n in entries if overlaps(n, network)), None)) is not None:
        return f"spec.subnet: found '', and the NIC network {network} overlaps {other}, so it is left without a block"
    return None


def no_index(request: BlockRequest, network: IPNetwork, nics: Sequence[HostNic]) -> str:
    """The sentence about NICs on this NIC network for which no block was left."""
    names = [f"{nic.host} ({nic.ifname})" for nic in nics[:NAMES_IN_MESSAGE]]
    more = f" and {len(nics) - len(names)} more" if len(nics) > len(names) else ""
    count = 1 << request.host_bits
    return (
        f"spec.ipam.hostBlock: found {request.host_bits}, which allows {count} block{'s'[: count > 1]}"
        f" on the NIC network {network}; none is left for {', '.join(names)}{more}"
    )


def _finished(request: BlockRequest, entries: Mapping[IPNetwork, Entry]) -> CIDRSpec:
    ordered = sorted(entries.values(), key=lambda entry: entry.index)

    def row_of(entry: Entry, row: CIDRHost) -> CIDRHost:
        pod_block = str(block(entry.interface_block, request.host_bits, row.host_index))
        return row.model_copy(update={"pod_cidr": pod_block, "ippool": pool_name(request.name, pod_block)})

    return CIDRSpec(
        config=CIDRConfig(
            name=request.name,
            type=request.plugin,
            subnet=str(request.subnet) if request.subnet else "",
            master_nets=[str(network) for network in request.master_nets or [entry.network for entry in ordered]],
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
                reserved=list(map(str, request.reserved(entry.network))) or None,
                hosts=[row_of(entry, row) for row in sorted(entry.rows, key=lambda row: row.host_index)],
            )
            for entry in ordered
        ],
    )
