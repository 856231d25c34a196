"""The status of a network, derived from what is there. Pure.

The old words (``configStatus``, ``routeStatus``, ``message``) and the conditions say the same thing twice: once for
dashboards made for the original, once for programs that know Kubernetes' conventions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from multinic_core.model import (
    CIDR,
    Condition,
    DiscoveryStatus,
    MultiNicNetwork,
    MultiNicNetworkStatus,
    NetStatus,
)
from multinic_operator.status.census import Census
from multinic_operator.status.routes import NOT_NEEDED, RouteState, route_state

ConfigWord = Literal["WaitForConfig", "Success", "Failed"]
DELETING = "Deleting"
"""Condition of a network whose deletion waits for pods."""
NO_CONFIG = "there is no Config, so blocks and attachment definitions are not kept up; make one to go on"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the last reconcile made of a network."""

    generation: int | None
    """``metadata.generation`` of the network that it speaks of."""
    problems: tuple[str, ...] = ()
    reason: str = "Configured"
    """Condition reason: ``Incomplete`` when a part could not be done, else that of the error that stopped it all."""
    notes: tuple[str, ...] = ()
    """What a person should know and that stops nothing."""
    cidr: CIDR | None = None
    """The blocks; None when another IPAM gives the addresses, or when there are none."""
    needs_blocks: bool = False
    l3: bool = False
    low: tuple[str, ...] | None = None
    """Which blocks are nearly used up; None when that was not looked at."""
    paused: bool = False
    """There is no Config: nothing is kept up."""
    waits: tuple[str, ...] = ()
    """What must come about in the cluster before pods can have it."""


def timestamp(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def derive_status(
    network: MultiNicNetwork,
    outcome: Outcome,
    census: Census,
    now: datetime,
) -> MultiNicNetworkStatus:
    """The status that this network should have."""
    old = network.status or MultiNicNetworkStatus()
    counts, hosts = census.counts, census.hosts
    discovery = DiscoveryStatus(
        exist_daemon=census.alive, info_available=census.with_nics, cidr_processed=max(counts.values(), default=0)
    )
    routes = route_state(outcome.cidr, hosts, census.daemons) if outcome.l3 and outcome.cidr else NOT_NEEDED
    failure = f"Failed to create {network.name}: {'; '.join(outcome.problems)}" if outcome.problems else ""
    empty = outcome.needs_blocks and not hosts
    conditions = _conditions(outcome, routes, discovery, hosts, failure)
    return MultiNicNetworkStatus(
        compute_results=[NetStatus(net_address=address, num_of_hosts=count) for address, count in counts.items()],
        discovery=discovery,
        config_status=_config_word(outcome, routes, old, empty),
        route_status=routes.word,
        message=failure
        or (NO_CONFIG if outcome.paused else "")
        or "; ".join(outcome.waits)
        or routes.message
        or ("no node has a NIC in this network" if empty else ""),
        last_sync_time=timestamp(now),
        conditions=[dated(c, old.conditions, outcome.generation, now) for c in conditions],
    )


def _config_word(outcome: Outcome, routes: RouteState, old: MultiNicNetworkStatus, empty: bool) -> ConfigWord:
    if outcome.problems:
        return "Failed"
    if outcome.paused or outcome.waits:
        return "WaitForConfig"
    if empty or routes.word in ("Failed", "WaitForRoutes"):
        return "WaitForConfig"
    if routes.word == "Unknown":  # says nothing about the configuration, so the last word stands
        return "Success" if old.config_status == "Success" else "WaitForConfig"
    return "Success"


def _conditions(
    outcome: Outcome, routes: RouteState, discovery: DiscoveryStatus, hosts: Sequence[str], failure: str
) -> list[Condition]:
    """Ready first, then what it is made of; undated."""

    def condition(kind: str, status: str, reason: str, message: str) -> Condition:
        return Condition(type=kind, status=status, reason=reason, message=message, last_transition_time="")

    found = len(hosts) if outcome.needs_blocks else discovery.info_available
    known = found > 0
    where = "in this network" if outcome.needs_blocks else "known"
    parts = [
        condition(
            "Discovered",
            "True" if known else "False",
            "InterfacesFound" if known else "NoInterfaces",
            f"{found} nodes with NICs" if known else f"no node has a NIC {where}",
        ),
        condition(
            "Configured",
            "False" if outcome.problems or outcome.paused or outcome.waits else "True",
            outcome.reason,
            NO_CONFIG
            if outcome.paused
            else "; ".join([*([failure] if failure else []), *outcome.waits, *outcome.notes]),
        ),
        condition(
            "RoutesReady",
            {"Success": "True", "N/A": "True", "Unknown": "Unknown"}.get(routes.word, "False"),
            routes.reason,
            routes.message,
        ),
    ]
    if outcome.problems and outcome.cidr is None and outcome.reason != "Incomplete":
        parts[2] = condition("RoutesReady", "Unknown", "NotConfigured", "")
    worst = next((p for p in (parts[1], parts[0], parts[2]) if p.status == "False"), None)
    worst = worst or next((p for p in parts if p.status != "True"), None)
    ready = (
        condition("Ready", worst.status, worst.reason, worst.message)
        if worst
        else condition("Ready", "True", "Ready", "")
    )
    capacity = []
    if outcome.needs_blocks and outcome.low is not None:
        low = "; ".join(outcome.low)
        remedy = "; a larger block needs its pods removed first" if low else ""
        status, reason = ("True", "BlocksNearlyUsed") if low else ("False", "BlocksFree")
        capacity.append(condition("CapacityLow", status, reason, low + remedy))
    return [ready, *parts, *capacity]


def deleting_status(network: MultiNicNetwork, reason: str, message: str, now: datetime) -> MultiNicNetworkStatus:
    """The status of a network whose deletion waits, as ``message`` says and ``reason`` tells programs."""
    old = network.status or MultiNicNetworkStatus()
    undated = [
        Condition(type="Ready", status="False", reason=DELETING, message=message, last_transition_time=""),
        Condition(type=DELETING, status="True", reason=reason, message=message, last_transition_time=""),
    ]
    new = [dated(condition, old.conditions, network.metadata.generation, now) for condition in undated]
    kept = [condition for condition in old.conditions if condition.type not in ("Ready", DELETING)]
    return old.model_copy(
        update={"message": message, "last_sync_time": timestamp(now), "conditions": [new[0], *kept, new[1]]}
    )


def dated(new: Condition, old: list[Condition], generation: int | None, now: datetime) -> Condition:
    before = next((c for c in old if c.type == new.type), None)
    since = before.last_transition_time if before and before.status == new.status else timestamp(now)
    return new.model_copy(update={"last_transition_time": since, "observed_generation": generation})


def same_but_time(one: MultiNicNetworkStatus | None, other: MultiNicNetworkStatus) -> bool:
    """Whether the two differ in nothing but ``lastSyncTime``."""
    return one is not None and one.model_copy(update={"last_sync_time": other.last_sync_time}) == other
