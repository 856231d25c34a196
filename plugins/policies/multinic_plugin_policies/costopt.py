"""costOpt: meet a bandwidth with as few and as slow NICs as will do, so that the fast ones stay free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heappush, heappushpop

from multinic_core import Nic, Selection, SelectionRequest
from multinic_plugin_policies.shares import Free, answer, read_wish, require_known, unmet


class CostOpt:
    """The strategy ``costOpt``."""

    name = "costOpt"

    def select(self, request: SelectionRequest, candidates: Sequence[Nic]) -> Selection:
        """Meet ``target`` with the fewest NICs, of these the slowest that suffice; ``nics`` is the most it may take.

        Without a target the slowest ``nics``, or all.

        Raises:
            SelectionError: the target cannot be met, with the figures; unless ``strict`` is ``"false"``.
        """
        wish = read_wish(request, candidates)
        target, nics, left, most = wish.target, wish.nics, wish.left, wish.most
        slowest = sorted(nics, key=_cheap)
        if target is None:
            require_known(request, nics, left)
            return answer(slowest[:most], slowest[most:], left, candidates, None)
        room = {nic.ifname: nic.unused if target.best_effort else nic.to_promise for nic in nics}
        roomiest = sorted(nics, key=lambda nic: (-room[nic.ifname], _cheap(nic)))
        count, warning = _fewest([room[nic.ifname] for nic in roomiest], target.rate, most), ""
        if not count:
            count = most
            if not target.best_effort:
                warning = unmet(request, wish, target)
            chosen = roomiest[:count]
        else:
            chosen = _cheapest(slowest, room, target.rate, count)
        names = {nic.ifname for nic in chosen}
        return answer(
            sorted(chosen, key=_cheap), [n for n in slowest if n.ifname not in names], left, candidates, target, warning
        )


def _cheap(nic: Free) -> tuple[int, int, float, str]:
    """Slow NICs first; among equals fewest attachments, then least load, then name."""
    return nic.speed, nic.attachments, nic.load, nic.ifname


def _fewest(rooms: Sequence[float], rate: int, most: int) -> int:
    """How many of the roomiest suffice; 0 when ``most`` do not."""
    total: float = 0
    for count, room in enumerate(rooms[:most], start=1):
        total += room
        if total >= rate:
            return count
    return 0


def _cheapest(slowest: Sequence[Free], room: Mapping[str, float], rate: int, count: int) -> list[Free]:
    """Of all sets of ``count`` NICs that suffice the one whose fastest NIC is slowest, then its second fastest, and on.

    The first NIC, going from the slowest up, with which the ``count`` roomiest so far suffice belongs to that set, as
    no set without it and without faster ones would do; the others are found in the same way among the slower ones.
    """
    chosen: list[Free] = []
    needed: float = rate
    end = len(slowest)
    for missing in range(count, 0, -1):
        best: list[float] = []
        total: float = 0
        for position in range(end):
            own = room[slowest[position].ifname]
            total += own
            if len(best) < missing:
                heappush(best, own)
            else:
                total -= heappushpop(best, own)
            if len(best) == missing and total >= needed:
                break
        chosen.append(slowest[position])
        needed -= own
        end = position
    return chosen
