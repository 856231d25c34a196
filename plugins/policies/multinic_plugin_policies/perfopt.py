"""perfOpt: meet a bandwidth with the most head-room, over the NICs that have most free."""

from __future__ import annotations

from collections.abc import Sequence

from multinic_core import Nic, Selection, SelectionError, SelectionRequest
from multinic_plugin_policies.filters import check_args, eligible, how_many, read_flag, read_target
from multinic_plugin_policies.shares import Free, answer, known, refusal, require_known


class PerfOpt:
    """The strategy ``perfOpt``."""

    name = "perfOpt"

    def select(self, request: SelectionRequest, candidates: Sequence[Nic]) -> Selection:
        """Take the ``nics`` NICs, or all, that have most bandwidth free, and lay ``target`` evenly over them.

        Raises:
            SelectionError: the target cannot be met, with the figures; unless ``strict`` is ``"false"``.
        """
        check_args(request, ("strict",))
        strict = read_flag(request, "strict", default=True)
        target = read_target(request)
        filtered = eligible(request, candidates)
        most = how_many(request, filtered)
        nics, left = known(request, filtered)
        require_known(request, nics, left)
        most = min(most, len(nics))
        freest = sorted(nics, key=_free_first)
        if target is None or target.best_effort:
            return answer(freest[:most], freest[most:], left, candidates, target)
        warning = ""
        if sum(nic.to_promise for nic in freest[:most]) < target.rate:
            # what is measured now may hide what could be promised
            freest.sort(key=lambda nic: (-nic.to_promise, _free_first(nic)))
            if sum(nic.to_promise for nic in freest[:most]) < target.rate:
                warning = refusal(request, target.rate, nics, most, left)
                if strict:
                    raise SelectionError(warning)
        return answer(freest[:most], freest[most:], left, candidates, target, warning)


def _free_first(nic: Free) -> tuple[float, int, float, str]:
    """Most unused bandwidth first; among equals fewest attachments, then least load, then name."""
    return -nic.unused, nic.attachments, nic.load, nic.ifname
