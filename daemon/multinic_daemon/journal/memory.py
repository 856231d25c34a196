"""What of the journal every ADD asks, in memory: read once, then changed whenever a transaction has committed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from multinic_core.plan import Allocation, Plan
from multinic_core.pools import HeldIndexes
from multinic_daemon.journal.codec import decode_plan
from multinic_daemon.journal.decisions import decode_decision
from multinic_daemon.journal.file import decision_rows
from multinic_daemon.journal.held import HeldDevices
from multinic_daemon.journal.records import NewAttachment, Record
from multinic_daemon.journal.sharing import Sharing
from multinic_daemon.journal.uses import Uses, parents


class Memory:
    """Beside the file, and never ahead of it. Used from one thread."""

    def __init__(self, database: sqlite3.Connection) -> None:
        ranges: dict[str, list[tuple[int, int]]] = {}
        for pool, index in database.execute("SELECT pool, pool_index FROM address"):
            number = int.from_bytes(index, "big")
            ranges.setdefault(pool, []).append((number, number))
        self._held = {pool: HeldIndexes(each) for pool, each in ranges.items()}
        self.cursors = {
            name: int.from_bytes(cursor, "big") for name, cursor in database.execute("SELECT name, cursor FROM pool")
        }
        """Pool to the index given last."""
        row = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'attachment'").fetchone()
        self.last_id: int = row[0] if row else 0
        self._interfaces: dict[tuple[str, str], set[int]] = {}
        """(container id, ifname) to the ids of its rows: nearly every ADD is for one that has none."""
        self.marks: set[str] = {name for (name,) in database.execute("SELECT name FROM mark")}
        self.uses, self.sharing, self.devices = Uses(), Sharing(), HeldDevices()
        promised = {number: decode_decision(text).promised for number, text in decision_rows(database)}
        rows = database.execute("SELECT id, container_id, ifname, network, plan FROM attachment")
        for number, container_id, ifname, network, text in rows:
            self._interfaces.setdefault((container_id, ifname), set()).add(number)
            plan = decode_plan(text)
            self.uses.set(number, parents(plan), promised.get(number, {}))
            self.sharing.set(number, network, plan.links)
            self.devices.set(number, plan.devices)

    def held(self, pool: str) -> HeldIndexes:
        """The indexes held in a pool; the one object there is for it, to read only."""
        if (held := self._held.get(pool)) is None:  # asked for each pool at each ADD, so none is made in vain
            held = self._held[pool] = HeldIndexes()
        return held

    def knows(self, container_id: str, ifname: str) -> bool:
        """Whether any row is for this interface."""
        return (container_id, ifname) in self._interfaces

    def add(self, record: Record, new: NewAttachment) -> None:
        """A row has been written with all that hangs on it."""
        self.last_id = max(self.last_id, record.id)
        self._interfaces.setdefault((new.key.container_id, new.key.ifname), set()).add(record.id)
        self.add_addresses(new)
        self.uses.set(record.id, parents(new.plan), new.decision.promised if new.decision else {})
        self.set_plan(record, new.plan)

    def add_addresses(self, new: NewAttachment) -> None:
        """Addresses have been written, of a row that was there before."""
        for allocation in new.allocations:
            self.held(allocation.pool).add(allocation.index)
        self.cursors.update(new.cursors)

    def set_plan(self, record: Record, plan: Plan) -> None:
        """A row's plan has been written."""
        self.sharing.set(record.id, record.key.network, plan.links)
        self.devices.set(record.id, plan.devices)

    def remove(self, record: Record, allocations: Iterable[Allocation]) -> None:
        """A row and its addresses are gone."""
        interface = (record.key.container_id, record.key.ifname)
        if rows := self._interfaces.pop(interface, set()) - {record.id}:
            self._interfaces[interface] = rows
        for allocation in allocations:
            self._held[allocation.pool].remove(allocation.index)
        self.uses.remove(record.id)
        self.sharing.remove(record.id)
        self.devices.remove(record.id)
