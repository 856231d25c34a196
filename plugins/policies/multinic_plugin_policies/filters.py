"""Filtering and ordering that the strategies share: first who may be chosen at all, then who comes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from multinic_core import Nic, SelectionError, SelectionRequest
from multinic_core.bandwidth import Target, parse_target, show
from multinic_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Filtered:
    """The candidates, divided."""

    eligible: tuple[Nic, ...]
    """In the order of the candidates."""
    left: Mapping[str, str]
    """ifname of each other one to why it cannot be chosen."""

    def say(self) -> str:
        """Why each was left, for a refusal."""
        return "; ".join(f"{ifname}: {reason}" for ifname, reason in self.left.items())


def eligible(request: SelectionRequest, candidates: Sequence[Nic]) -> Filtered:
    """The candidates that are up, named where the pod names some, and of the class asked for.

    Raises:
        SelectionError: an unknown or repeated name in ``masters``, a class that does not exist, or nothing is left.
    """
    if not candidates:
        raise SelectionError(f"network {request.network!r}: this node has no NIC of it")
    check_masters(request, candidates)
    if request.device_class and request.class_ids is None:
        raise SelectionError(
            f"network {request.network!r}: class: found {request.device_class!r}, expected the name of a DeviceClass"
        )
    left = {nic.ifname: reason for nic in candidates if (reason := _reason_against(request, nic))}
    kept = tuple(nic for nic in candidates if nic.ifname not in left)
    filtered = Filtered(kept, left)
    if not kept:
        raise SelectionError(f"network {request.network!r}: no NIC can be chosen: {filtered.say()}")
    return filtered


def check_masters(request: SelectionRequest, candidates: Sequence[Nic]) -> None:
    """Raises SelectionError when ``masters`` names what is not a candidate, or one twice."""
    offered = [nic.ifname for nic in candidates]
    if unknown := [master for master in request.masters if master not in offered]:
        raise SelectionError(f"network {request.network!r}: masters {unknown!r} are not among its NICs {offered!r}")
    if len(set(request.masters)) < len(request.masters):
        raise SelectionError(f"network {request.network!r}: masters {list(request.masters)!r} name a NIC twice")


def _reason_against(request: SelectionRequest, nic: Nic) -> str:
    if request.masters and nic.ifname not in request.masters:
        return "not named in masters"
    if request.device_class and not in_class(request, nic):
        return f"vendor {nic.vendor or 'unknown'}, product {nic.product or 'unknown'}: not of {request.device_class!r}"
    return "" if nic.up else "down or without carrier"


def in_class(request: SelectionRequest, nic: Nic) -> bool:
    """Whether the NIC is of the class asked for; a vendor without products means all of them."""
    return any(
        nic.vendor == each.vendor and (not each.products or nic.product in each.products)
        for each in request.class_ids or ()
    )


def tie_break(request: SelectionRequest, nic: Nic) -> tuple[int, float, str]:
    """Among equals: fewest attachments, then least load, then name."""
    use = request.use_of(nic.ifname)
    return use.attachments, use.load, nic.ifname


def how_many(request: SelectionRequest, filtered: Filtered) -> int:
    """``nics``, or all that are eligible.

    Raises:
        SelectionError: more are asked for than there are.
    """
    there = len(filtered.eligible)
    if (wanted := request.nics or there) > there:
        left = f"; left {filtered.say()}" if filtered.left else ""
        found = [nic.ifname for nic in filtered.eligible]
        raise SelectionError(f"network {request.network!r}: {wanted} NICs asked for, found {there}: {found!r}{left}")
    return wanted


def read_target(request: SelectionRequest) -> Target | None:
    """The bandwidth asked for, or None.

    Raises:
        SelectionError: it cannot be read.
    """
    if not request.target:
        return None
    try:
        return parse_target(request.target)
    except ConfigError as error:
        raise SelectionError(f"network {request.network!r}: {error}") from error


def read_flag(request: SelectionRequest, name: str, default: bool) -> bool:
    """``"true"`` or ``"false"`` among the policy's arguments.

    Raises:
        SelectionError: anything else.
    """
    value = request.args.get(name)
    if value in (None, "true", "false"):
        return default if value is None else value == "true"
    raise SelectionError(
        f"network {request.network!r}: attachPolicy.args.{name}: found {value!r}, expected 'true' or 'false'"
    )


def check_args(request: SelectionRequest, known: Sequence[str]) -> None:
    """Raises SelectionError when the policy has arguments that nobody reads."""
    if unknown := sorted(set(request.args) - set(known)):
        raise SelectionError(
            f"network {request.network!r}: attachPolicy.args: found {unknown!r}, expected some of {sorted(known)!r}"
        )


def refuse_target(request: SelectionRequest, strategy: str) -> None:
    """Raises SelectionError when a bandwidth is asked of a strategy that does not count it."""
    if request.target:
        raise SelectionError(
            f"network {request.network!r}: strategy {strategy!r} cannot honour target {request.target!r};"
            " remove it or choose costOpt or perfOpt"
        )


def speed(nic: Nic) -> str:
    """For reasons."""
    return show(nic.speed * 1_000_000) if nic.speed else "unknown speed"
