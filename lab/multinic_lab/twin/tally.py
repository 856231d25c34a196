"""What the API server of a twin counts: requests by who asked, bytes to watchers, and the largest object.

A Lease that is written with the report that it carried before is a renewal: it comes with time, not because of what
happened, so it is counted apart.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field

from multinic_operator.leading.leader import LEASE_NAME

from multinic_core.model import CIDRS, HOST_INTERFACES, LEASES, NETWORKS, REPORT_ANNOTATION
from multinic_lab.apiserver import Change, Entry, Place, Request, read_entry

OPERATOR, DAEMON = "multinic-operator", "multinic-daemon"
"""User agents."""
RENEWALS = "renewals"
OF_ALL_NODES = frozenset({CIDRS.plural, HOST_INTERFACES.plural, NETWORKS.plural})
"""Kinds of which each daemon watches all objects."""
DEFINITIONS = "customresourcedefinitions"


@dataclass(slots=True)
class Counts:
    """Everything since the last ``Tally.start``."""

    writes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """User agent and resource (or ``renewals``) to requests that write, refused ones too."""
    reads: Counter[str] = field(default_factory=Counter)
    """User agent to gets, lists and watches."""
    largest: tuple[int, str] = (0, "")
    """Bytes of the largest object that was written, and which."""

    def writes_by(self, agent: str) -> int:
        """Without renewals."""
        return sum(count for (who, what), count in self.writes.items() if who == agent and what != RENEWALS)

    @property
    def renewals(self) -> int:
        return sum(count for (_, what), count in self.writes.items() if what == RENEWALS)


class Tally:
    """Hears of every request and of every change."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.last_write = 0.0
        """``time.monotonic`` of the last write that was no renewal."""
        self.last_of_operator = 0.0
        """The same of the operator's last request that was no renewal."""
        self._reports: dict[str, str | None] = {}
        """Lease to the report that it was written with last."""

    def start(self) -> Counts:
        """Begin anew; gives what was counted so far."""
        before, self.counts = self.counts, Counts()
        return before

    def note(self, request: Request, moment: float) -> None:
        """Take in one request."""
        entry = read_entry(request, moment)
        if entry is None:
            return
        if not entry.writes:
            self.counts.reads[entry.agent] += 1
            renewal = entry.name == LEASE_NAME
        else:
            renewal = self._renews(entry)
            self.counts.writes[entry.agent, RENEWALS if renewal else entry.resource] += 1
            if not renewal:
                self.last_write = time.monotonic()
        if entry.agent == OPERATOR and not renewal:
            self.last_of_operator = time.monotonic()

    def observe(self, place: Place, change: Change) -> None:
        """Take in one change of the store."""
        if place[1] == DEFINITIONS:
            return
        size = len(change.record.json(change.record.obj["apiVersion"]))
        if size > self.counts.largest[0]:
            self.counts.largest = size, "/".join(filter(None, place[1:]))

    def _renews(self, entry: Entry) -> bool:
        if entry.resource != LEASES.plural:
            return False
        if entry.name == LEASE_NAME or not entry.name:
            return True  # the operator's own, made with a POST
        report = json.loads(entry.body).get("metadata", {}).get("annotations", {}).get(REPORT_ANNOTATION)
        known = entry.name in self._reports and self._reports[entry.name] == report
        self._reports[entry.name] = report
        return known


def scaled(sent: Counter[tuple[str, str]], processes: int, nodes: int) -> int:
    """Bytes to daemons if each node had its own watches, from what so many processes were sent.

    Of kinds of which a daemon watches all objects, each node would be sent what a process was; of the others, and of
    its own HostInterface once more, each object goes to one node alone.
    """
    total = 0
    for (agent, plural), count in sent.items():
        if agent == DAEMON:
            each = count / processes
            total += int(each * nodes if plural in OF_ALL_NODES else each)
            total += int(each) if plural == HOST_INTERFACES.plural else 0
    return total
