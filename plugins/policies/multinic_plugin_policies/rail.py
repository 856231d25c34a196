"""rail: the same NIC indexes on every node for all pods of one job, as fabrics with a switch per index want it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from multinic_core import Nic, Selection, SelectionError, SelectionRequest
from multinic_core.selection import LABELS, Figure
from multinic_plugin_policies.filters import check_args, check_masters, in_class, refuse_target

JOB_LABELS = (
    "training.kubeflow.org/job-name",
    "jobset.sigs.k8s.io/jobset-name",
    "ray.io/cluster",
    "batch.kubernetes.io/job-name",
    "job-name",
)
"""Looked for in this order where ``attachPolicy.args.label`` names none."""


class Rail:
    """The strategy ``rail``."""

    name = "rail"
    needs = frozenset({LABELS})

    def select(self, request: SelectionRequest, candidates: Sequence[Nic]) -> Selection:
        """Take ``nics`` neighbouring interface indexes, the first by the job's name; without ``nics`` all, in order.

        The indexes are those of the network's blocks, so that a node that lacks a NIC does not shift the others: where
        a chosen one is missing or down, the pod is refused rather than given another rail.

        Raises:
            SelectionError: no label names the job, indexes are unknown or doubled, or a chosen NIC cannot be used.
        """
        check_args(request, ("label", "rails"))
        refuse_target(request, self.name)
        if not candidates:
            raise SelectionError(f"network {request.network!r}: this node has no NIC of it")
        check_masters(request, candidates)
        by_index = _by_index(request, candidates)
        count = _rails(request, by_index)
        wanted = request.nics or count
        if wanted > count:
            raise SelectionError(f"network {request.network!r}: {wanted} NICs asked for, found {count} rails")
        job = _job(request) if wanted < count else ""
        first = _start(job, count) if job else 0
        indexes = [(first + step) % count for step in range(wanted)]
        problems = [problem for index in indexes if (problem := _problem(request, by_index.get(index), index))]
        if problems:
            raise SelectionError(
                f"network {request.network!r}: rails {indexes!r} of job {job!r}: {'; '.join(problems)};"
                " another NIC would be off the rail"
            )
        chosen = tuple(by_index[index].ifname for index in indexes)
        whose = f"rail of job {job!r}" if job else "all rails"
        reasons = {
            nic.ifname: f"index {index}: {whose if nic.ifname in chosen else f'not a rail of job {job!r}'}"
            for index, nic in by_index.items()
        }
        figures: dict[str, dict[str, Figure]] = {nic.ifname: {"index": index} for index, nic in by_index.items()}
        return Selection(chosen, {nic.ifname: reasons[nic.ifname] for nic in candidates}, figures=figures)


def _by_index(request: SelectionRequest, candidates: Sequence[Nic]) -> dict[int, Nic]:
    """Interface index to NIC; where the network has no indexes, positions by name.

    Raises:
        SelectionError: some have one and others not, or two share one.
    """
    unknown = [nic.ifname for nic in candidates if nic.ifname not in request.indexes]
    if len(unknown) == len(candidates):
        return dict(enumerate(sorted(candidates, key=lambda nic: nic.ifname)))
    if unknown:
        raise SelectionError(f"network {request.network!r}: NICs {unknown!r} have no interface index yet")
    found: dict[int, Nic] = {}
    for nic in sorted(candidates, key=lambda nic: nic.ifname):
        index = request.indexes[nic.ifname]
        if index in found:
            raise SelectionError(
                f"network {request.network!r}: NICs {found[index].ifname!r} and {nic.ifname!r} share index {index},"
                " expected one NIC per rail"
            )
        found[index] = nic
    return dict(sorted(found.items()))


def _rails(request: SelectionRequest, by_index: dict[int, Nic]) -> int:
    """How many rails the fabric has: ``attachPolicy.args.rails``, else what the network has, else what this node has.

    Raises:
        SelectionError: ``rails`` is no number, or this node has an index beyond it.
    """
    highest = max(by_index)
    text = request.args.get("rails")
    if text is None:
        return max(request.index_count, highest + 1)
    if not text.isdecimal() or int(text) <= highest:
        raise SelectionError(
            f"network {request.network!r}: attachPolicy.args.rails: found {text!r}, expected a number above {highest}"
        )
    return int(text)


def _job(request: SelectionRequest) -> str:
    asked = request.args.get("label")
    names = (asked,) if asked else JOB_LABELS
    for name in names:
        if value := request.labels.get(name):
            return value
    raise SelectionError(
        f"network {request.network!r}: the pod has none of the labels {list(names)!r}, which name its job;"
        " strategy 'rail' needs one where a pod gets fewer than all NICs"
    )


def _start(job: str, count: int) -> int:
    """The first rail of a job: the same on every node and at every time."""
    return int.from_bytes(blake2b(job.encode(), digest_size=8).digest()) % count


def _problem(request: SelectionRequest, nic: Nic | None, index: int) -> str:
    if nic is None:
        return f"this node has no NIC with index {index}"
    if request.masters and nic.ifname not in request.masters:
        return f"{nic.ifname} is not named in masters"
    if request.device_class and not in_class(request, nic):
        return f"{nic.ifname} is not of class {request.device_class!r}"
    return "" if nic.up else f"{nic.ifname} is down or without carrier"
