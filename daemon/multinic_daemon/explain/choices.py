"""One choice of NICs as it is shown: a line for every NIC, with reason and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from multinic_core.selection import Figure
from multinic_daemon.journal.decisions import Decision
from multinic_daemon.journal.file import Snapshot
from multinic_daemon.journal.uses import parents


@dataclass(frozen=True, slots=True)
class NicLine:
    """One NIC of the node."""

    ifname: str
    link: str
    """The pod's link on it, such as ``net1-0``; "" when it was left."""
    reason: str
    promised: int | None
    """bit/s, of a NIC that was taken with a promise."""
    figures: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class Choice:
    """Why one attachment has its NICs."""

    network: str
    ifname: str
    """``CNI_IFNAME``."""
    state: str
    """Of the journal's row, or ``planned``."""
    decision: Decision | None
    """None: made by a daemon that kept none, or taken over."""
    lines: tuple[NicLine, ...]
    """The NICs taken in the order of the links, then the others by name."""


def nic_lines(decision: Decision, ifname: str) -> tuple[NicLine, ...]:
    """A line for every NIC that a decision speaks of."""
    links = {nic: f"{ifname}-{position}" for position, nic in enumerate(decision.chosen)}
    others = sorted(set(decision.reasons) - set(links))
    return tuple(
        NicLine(
            nic,
            links.get(nic, ""),
            decision.reasons.get(nic, ""),
            decision.promised.get(nic),
            decision.figures.get(nic, {}),
        )
        for nic in (*links, *others)
    )


def choices_of(snapshot: Snapshot, namespace: str, name: str) -> list[Choice]:
    """The choices made for a pod that is attached now, in the order of its attachments."""
    found = []
    for record in snapshot.records:
        if (record.pod.namespace, record.pod.name) != (namespace, name):
            continue
        decision = snapshot.decisions.get(record.id)
        if decision is not None:
            lines = nic_lines(decision, record.key.ifname)
        else:
            nics = parents(record.plan)
            lines = tuple(
                NicLine(nic, f"{record.key.ifname}-{position}", "no reason was written down", None, {})
                for position, nic in enumerate(nics)
            )
        found.append(Choice(record.key.network, record.key.ifname, record.state, decision, lines))
    return found
