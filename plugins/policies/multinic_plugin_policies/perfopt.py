"""perfOpt: meet a bandwidth with the most head-room, over the NICs that have most free."""

from __future__ import annotations

from collections.abc import Sequence

from multinic_core import Nic, Selection, SelectionRequest
from multinic_plugin_policies.shares import Free, answer, read_wish, require_known, unmet


class PerfOpt:
    """The strategy ``perfOpt``."""

    name = "perfOpt"

    def select(self, request: SelectionRequest, candidates: Sequence[Nic]) -> Selection:
        """Take the ``nics`` NICs, or all, that have most bandwidth free, and lay ``target`` evenly over them.

        Raises:
            SelectionError: the target cannot be met, with the figures; unless ``strict`` is ``"false"``.
        """
        wish = read_wish(request, candidates)
        target, nics, left, most = wish.target, wish.nics, wish.left, wish.most
        require_known(request, nics, left)
        freest = sorted(nics, key=_free_first)
        if target is None or target.best_effort:
            return answer(freest[:most], freest[most:], left, candidates, target)
        warning = ""
        if sum(nic.to_promise for nic in freest[:most]) < target.rate:
            # what is measured now may hide what could be promised
            freest.sort(key=lambda nic: (-nic.to_promise, _free_first(nic)))
            if sum(nic.to_promise for nic in freest[:most]) < target.rate:
                warning = unmet(request, wish, target)
        return answer(freest[:most], freest[most:], left, candidates, target, warning)


def _free_first(nic: Free) -> tuple[float, int, float, str]:
    """Most unused bandwidth first; among equals fewest attachments, then least load, then name."""
    return -nic.unused, nic.attachments, nic.load, nic.ifname
