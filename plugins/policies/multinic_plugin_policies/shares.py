"""Bandwidth on a node's NICs: what is free, and how a target is laid over several of them. Whole bits per second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from multinic_core import Nic, Selection, SelectionError, SelectionRequest
from multinic_core.bandwidth import MEGABIT, Target, show
from multinic_core.selection import Figure
from multinic_plugin_policies.filters import Filtered, check_args, eligible, how_many, read_flag, read_target


class Free(NamedTuple):
    """One NIC of known speed."""

    ifname: str
    speed: int
    promised: int
    load: float
    attachments: int

    @property
    def to_promise(self) -> int:
        """What may still be promised."""
        return max(self.speed - self.promised, 0)

    @property
    def unused(self) -> float:
        """What neither a promise nor the traffic of now takes."""
        return max(self.speed - max(self.promised, self.load), 0)

    def say(self) -> str:
        """For reasons and refusals."""
        return (
            f"{show(self.to_promise)} of {show(self.speed)} free to promise, load {show(self.load)},"
            f" {self.attachments} attachments"
        )


class Wish(NamedTuple):
    """What a request asks of the NICs whose speed is known."""

    target: Target | None
    strict: bool
    """A target that cannot be promised is refused."""
    nics: tuple[Free, ...]
    left: Mapping[str, str]
    """ifname of each other candidate to why it is left."""
    most: int
    """How many NICs the pod may get."""


def read_wish(request: SelectionRequest, candidates: Sequence[Nic]) -> Wish:
    """What is asked, with the NICs that may be chosen for it.

    Raises:
        SelectionError: it cannot be read, or no NIC of known speed can be chosen.
    """
    check_args(request, ("strict",))
    strict = read_flag(request, "strict", default=True)
    target = read_target(request)
    filtered = eligible(request, candidates)
    most = how_many(request, filtered)
    nics, left = known(request, filtered)
    return Wish(target, strict, nics, left, min(most, len(nics)))


def unmet(request: SelectionRequest, wish: Wish, target: Target) -> str:
    """What a pod is warned of whose target cannot be promised.

    Raises:
        SelectionError: that says the same, where targets are strict.
    """
    warning = refusal(request, target.rate, wish.nics, wish.most, wish.left)
    if wish.strict:
        raise SelectionError(warning)
    return warning


def known(request: SelectionRequest, filtered: Filtered) -> tuple[tuple[Free, ...], dict[str, str]]:
    """The eligible NICs whose speed is known, and why each other candidate is left.

    Raises:
        SelectionError: no speed is known.
    """
    left = dict(filtered.left)
    found = []
    for nic in filtered.eligible:
        if nic.speed <= 0:
            left[nic.ifname] = "its speed is not known"
            continue
        use = request.use_of(nic.ifname)
        found.append(Free(nic.ifname, nic.speed * MEGABIT, use.promised, use.load, use.attachments))
    if not found:
        raise SelectionError(
            f"network {request.network!r}: no NIC with a known speed: {Filtered((), left).say()}; choose a strategy"
            " that does not count bandwidth"
        )
    return tuple(found), left


def require_known(request: SelectionRequest, nics: Sequence[Free], left: Mapping[str, str]) -> None:
    """Raises SelectionError when the pod asks for more NICs than have a known speed, where each asked for is taken."""
    if request.nics and request.nics > len(nics):
        raise SelectionError(
            f"network {request.network!r}: {request.nics} NICs asked for, found {len(nics)} of known speed:"
            f" {[nic.ifname for nic in nics]!r}; left {Filtered((), left).say()}"
        )


def lay(rate: int, over: Sequence[Free]) -> dict[str, int]:
    """Promise a rate over some NICs, evenly as far as what is free on each allows; together at most what is free."""
    shares: dict[str, int] = {}
    rest = min(rate, sum(nic.to_promise for nic in over))
    for done, nic in enumerate(sorted(over, key=lambda nic: (nic.to_promise, nic.ifname))):
        shares[nic.ifname] = min(-(-rest // (len(over) - done)), nic.to_promise)
        rest -= shares[nic.ifname]
    return {nic.ifname: shares[nic.ifname] for nic in over if shares[nic.ifname]}


def refusal(request: SelectionRequest, rate: int, over: Iterable[Free], most: int, left: Mapping[str, str]) -> str:
    """What is said when a target cannot be promised."""
    nics = list(over)
    free = sum(sorted((nic.to_promise for nic in nics), reverse=True)[:most])
    among = f"{most} of its {len(nics)} NICs" if most < len(nics) else f"its {len(nics)} NICs"
    told = "; ".join(
        [*(f"{nic.ifname}: {nic.say()}" for nic in nics), *(f"{name}: {why}" for name, why in left.items())]
    )
    return (
        f"network {request.network!r}: target {request.target!r} is {show(rate)}, found {show(free)} free to promise on"
        f" {among}: {told}"
    )


def answer(
    chosen: Sequence[Free],
    others: Sequence[Free],
    left: Mapping[str, str],
    candidates: Sequence[Nic],
    target: Target | None,
    warning: str = "",
) -> Selection:
    """The selection with its promises, reasons and figures."""
    promised = lay(target.rate, chosen) if target and not target.best_effort else {}
    reasons = dict(left)
    for nic in chosen:
        share = f", promised {show(promised[nic.ifname])}" if nic.ifname in promised else ""
        reasons[nic.ifname] = nic.say() + share
    for nic in others:
        reasons[nic.ifname] = f"{nic.say()}; not needed"
    figures: dict[str, dict[str, Figure]] = {
        nic.ifname: {
            "speed_bit_per_s": nic.speed,
            "promised_bit_per_s": nic.promised,
            "load_bit_per_s": round(nic.load),
            "attachments": nic.attachments,
        }
        for nic in (*chosen, *others)
    }
    return Selection(
        tuple(nic.ifname for nic in chosen),
        {nic.ifname: reasons[nic.ifname] for nic in candidates},
        promised,
        figures,
        warning,
    )
