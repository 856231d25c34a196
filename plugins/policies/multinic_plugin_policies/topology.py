"""topology: the NICs nearest to the pod's GPUs, or to its CPUs when it has no GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from multinic_core import Nic, PodDevice, Selection, SelectionRequest
from multinic_core.selection import DEVICES, Figure
from multinic_plugin_policies.distance import WORDS, Distance, Nearness, distances, place
from multinic_plugin_policies.filters import check_args, eligible, how_many, refuse_target, tie_break

LOCAL_CPU = Distance(Nearness.NUMA, 0)
FAR = Distance(Nearness.OTHER, 0)


@dataclass(frozen=True, slots=True)
class Ranked:
    """One NIC in the order of its nearness."""

    nic: Nic
    apart: Distance
    phrase: str


class Topology:
    """The strategy ``topology``."""

    name = "topology"
    needs = frozenset({DEVICES})

    def select(self, request: SelectionRequest, candidates: Sequence[Nic]) -> Selection:
        """Keep the NICs nearest to the pod's GPUs, each GPU having its part of them; else nearest to its CPUs.

        Without ``nics`` all of them, the nearest first.

        Raises:
            SelectionError: nothing can be chosen, or less than asked for.
        """
        check_args(request, ())
        refuse_target(request, self.name)
        filtered = eligible(request, candidates)
        wanted = how_many(request, filtered)
        nics = sorted(filtered.eligible, key=lambda nic: tie_break(request, nic))
        gpus = sorted(
            (device for device in request.devices if device.kind == "gpu"),
            key=lambda device: (device.pci_address, device.id),
        )
        ranked = list(_shared_out(nics, gpus, wanted)) if gpus else _by_cpu(request.cpu_numa_nodes, nics)
        reasons = dict(filtered.left)
        for position, each in enumerate(ranked):
            reasons[each.nic.ifname] = (
                each.phrase if position < wanted else f"{each.phrase}, beyond the {wanted} asked for"
            )
        figures: dict[str, dict[str, Figure]] = {
            each.nic.ifname: {
                "nearness": each.apart.nearness.name.lower(),
                "hops": each.apart.hops,
                "attachments": request.use_of(each.nic.ifname).attachments,
            }
            for each in ranked
        }
        return Selection(
            tuple(each.nic.ifname for each in ranked[:wanted]),
            {nic.ifname: reasons[nic.ifname] for nic in candidates},
            figures=figures,
        )


def _shared_out(nics: Sequence[Nic], gpus: Sequence[PodDevice], wanted: int) -> Iterator[Ranked]:
    """All NICs: first ``wanted`` of which each GPU has its part, then the others; the nearest pairs first.

    Args:
        nics: in the order in which equals are taken.
    """
    apart = distances(tuple(map(place, gpus)), tuple(map(place, nics)))
    # one number per pair, which sorts as (nearness, hops, order of NICs, order of GPUs)
    far = 1 + max(each.hops for row in apart for each in row)
    pairs = sorted(
        ((each.nearness * far + each.hops) * len(nics) + column) * len(gpus) + row
        for row, own in enumerate(apart)
        for column, each in enumerate(own)
    )
    part = wanted // len(gpus)
    taken: dict[int, int] = {}
    for most_each, most in ((part, part * len(gpus)), (1, wanted), (len(nics), len(nics))):
        own_parts = [most_each] * len(gpus)
        for pair in pairs:
            if len(taken) >= most:
                break
            rest, row = divmod(pair, len(gpus))
            column = rest % len(nics)
            if column not in taken and own_parts[row]:
                taken[column] = row
                own_parts[row] -= 1
    order = sorted(list(taken)[:wanted], key=lambda column: (apart[taken[column]][column], column))
    for column in (*order, *list(taken)[wanted:]):
        near, gpu = apart[taken[column]][column], gpus[taken[column]]
        yield Ranked(nics[column], near, f"{WORDS[near.nearness]} GPU {gpu.pci_address or gpu.id}")


def _by_cpu(nodes: Sequence[int], nics: Sequence[Nic]) -> list[Ranked]:
    """NICs on the pod's own NUMA nodes first."""
    found = []
    for nic in nics:
        local = nic.numa_node is not None and nic.numa_node in nodes
        if not nodes:
            phrase = "the pod has neither GPUs nor CPUs of its own"
        elif nic.numa_node is None:
            phrase = "its NUMA node is not known"
        else:
            phrase = f"on NUMA node {nic.numa_node}, the pod's CPUs on {', '.join(map(str, nodes))}"
        found.append(Ranked(nic, LOCAL_CPU if local else FAR, phrase))
    found.sort(key=lambda each: each.apart)  # stable: equals stay in order
    return found
