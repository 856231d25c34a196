"""Where the host routes of one network stand, from what the daemons report about themselves. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from multinic_core.model import CIDR, RouteReport
from multinic_operator.status.daemons import Daemon

NAMES_IN_MESSAGE = 5

WAITING = "waiting for route update"
UNREACHABLE = "some daemon cannot be connected"
FAILED = "some route cannot be applied, need attention"


@dataclass(frozen=True, slots=True)
class RouteState:
    """``status.routeStatus`` with its message, and the condition's reason."""

    word: Literal["N/A", "WaitForRoutes", "Unknown", "Success", "Failed"]
    message: str
    reason: str


NOT_NEEDED = RouteState("N/A", "", "NotNeeded")


def name_some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(names[:NAMES_IN_MESSAGE])
    return shown if len(names) <= NAMES_IN_MESSAGE else f"{shown} and {len(names) - NAMES_IN_MESSAGE} more"


def _is_current(report: RouteReport, cidr: CIDR) -> bool:
    if report.resource_version == cidr.metadata.resource_version:
        return True
    return report.generation is not None and report.generation == cidr.metadata.generation


def route_state(cidr: CIDR, hosts: Sequence[str], daemons: Mapping[str, Daemon]) -> RouteState:
    """The worst of what these nodes of the CIDR say, sorted: failed, silent, behind, done."""
    failed: list[str] = []
    silent: list[str] = []
    behind: list[str] = []
    for host in hosts:
        daemon = daemons.get(host)
        if daemon is None or not daemon.alive:
            silent.append(host)
            continue
        report = daemon.report.routes.get(cidr.name) if daemon.report else None
        if report is not None and report.status == "Failed":
            failed.append(f"{host}: {report.message}" if report.message else host)
        elif report is None or not _is_current(report, cidr):
            behind.append(host)
    if failed:
        return RouteState("Failed", f"{FAILED}: {name_some(failed)}", "RoutesFailed")
    if silent:
        return RouteState("Unknown", f"{UNREACHABLE}: {name_some(silent)}", "DaemonSilent")
    if behind or not hosts:
        return RouteState("WaitForRoutes", WAITING, "RoutesPending")
    return RouteState("Success", "", "RoutesApplied")
