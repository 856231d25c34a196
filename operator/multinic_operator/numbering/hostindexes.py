"""Host indexes for NICs that have none yet. Pure; what is held never moves.

An index is free only where no exclude takes its pod block whole.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from multinic_core.addressing import covers, excluded_blocks, merged, overlaps
from multinic_core.model import CIDRHost
from multinic_core.plan import IPNetwork
from multinic_core.pools import HeldIndexes, free_in_all
from multinic_operator.numbering.layout import BlockRequest, Entry, HostNic
from multinic_operator.numbering.rows import Needs


class HostIndexes:
    """Which host indexes are free, on each interface and on all of them."""

    def __init__(
        self,
        request: BlockRequest,
        entries: Mapping[IPNetwork, Entry],
        nics: Sequence[HostNic],
        remembered: Mapping[str, Counter[int]],
        wishes: Mapping[str, Sequence[int]],
        avoid: HeldIndexes,
    ) -> None:
        """Args as of :func:`~multinic_operator.numbering.blocks.compute_blocks`, and ``remembered``: node to the
        indexes it held before rows were matched, with on how many rows."""
        self._wishes = wishes
        self._avoid = avoid
        self._limit = 1 << request.host_bits
        self._entries = entries
        self._own: dict[str, Counter[int]] = defaultdict(
            Counter, {host: Counter(own) for host, own in remembered.items()}
        )
        addresses = [address for nic in nics for address in nic.held] if request.subnet is None else []
        for entry in entries.values():
            inside = [address for address in addresses if overlaps(address, entry.network)]
            kept = merged([*request.excludes, *inside, *request.reserved(entry.network)])
            ranges = excluded_blocks(entry.interface_block, request.host_bits, kept)
            entry.taken = HeldIndexes([*ranges, *((row.host_index, row.host_index) for row in entry.rows)])
        held = [(index, index) for own in remembered.values() for index in own]
        self._top = max((index for index, _ in held), default=-1)
        self._anywhere = HeldIndexes([*held, *_excluded_anywhere(request, entries)])

    def number(self, needs: Needs) -> dict[IPNetwork, list[HostNic]]:
        """Add a row for each NIC: the first of every node and network, then the second, …

        Returns:
            NIC network to the NICs for which no index was left.
        """
        left: dict[IPNetwork, list[HostNic]] = defaultdict(list)
        while needs:
            for host in sorted(needs):
                first = {network: nics[0] for network, nics in needs[host].items()}
                given = self._give(host, list(first))
                for network, nic in first.items():
                    if network in given:
                        self._add_row(nic, given[network])
                    else:
                        left[network].append(nic)
            rest = {host: {n: nics[1:] for n, nics in places.items() if nics[1:]} for host, places in needs.items()}
            needs = {host: places for host, places in rest.items() if places}
        return left

    def _give(self, host: str, networks: list[IPNetwork]) -> dict[IPNetwork, int]:
        """An index for this node on each of these networks; a network for which none is left is absent.

        One that the node holds elsewhere or wishes for, else one that is new to all of these, else, on an adopted
        CIDR, any.
        """
        preferred = [index for index, _ in sorted(self._own[host].items(), key=lambda item: (-item[1], item[0]))]
        preferred += [index for index in self._wishes.get(host, ()) if index < self._limit]
        given: dict[IPNetwork, int] = {}
        for network in networks:
            free = (index for index in preferred if index not in self._entries[network].taken)
            if (index := next(free, None)) is not None:
                given[network] = index
        rest = [network for network in networks if network not in given]
        if rest and (index := self._common(rest)) is not None:
            return given | dict.fromkeys(rest, index)
        for network in rest:
            if (index := self._entries[network].taken.next_free(0)) < self._limit:
                given[network] = index
        return given

    def _common(self, networks: list[IPNetwork]) -> int | None:
        """An index for all of these networks: above all held ones, else a gap everywhere, else free on these.

        One that is another node's in the whole cluster only when there is no other.
        """
        here = [self._entries[network].taken for network in networks]
        everywhere = [self._anywhere, *here]
        for start, sets in (
            (self._top + 1, [self._avoid, *everywhere]),
            (0, [self._avoid, *everywhere]),
            (0, everywhere),
            (0, here),
        ):
            if (index := free_in_all(sets, start, self._limit)) is not None:
                return index
        return None

    def _add_row(self, nic: HostNic, index: int) -> None:
        entry = self._entries[nic.network]
        entry.taken.add(index)
        entry.rows.append(
            CIDRHost(host_index=index, host_name=nic.host, interface_name=nic.ifname, host_ip=nic.address, pod_cidr="")
        )
        self._own[nic.host][index] += 1
        self._top = max(self._top, index)
        if index not in self._anywhere:
            self._anywhere.add(index)


def _excluded_anywhere(request: BlockRequest, entries: Mapping[IPNetwork, Entry]) -> list[tuple[int, int]]:
    """Host indexes whose pod block is excluded on any interface there is or, with a subnet, may come."""
    excludes = merged(request.excludes)
    if request.subnet is None:
        return [
            found
            for entry in entries.values()
            if not any(covers(exclude, entry.network) for exclude in excludes)
            for found in excluded_blocks(
                entry.interface_block, request.host_bits, merged([*excludes, *request.reserved(entry.network)])
            )
        ]
    # Ranges of pod blocks counted through the whole subnet; within one interface the low bits are the host index.
    # Excludes of whole interface blocks take no host index: those interfaces are never used.
    mask = (1 << request.host_bits) - 1
    ranges = excluded_blocks(request.subnet, request.interface_bits + request.host_bits, excludes)
    return [(first & mask, last & mask) for first, last in ranges if last - first < mask]
