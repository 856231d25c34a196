"""The journal: what this node has given to pods, in one SQLite file on the run directory.

One row per attachment, one per address held, one cursor per pool. Each change of state is one transaction, however many
NICs it concerns, and commits before the caller goes on, so the file is right at every instant at which the process may
die. What an IPAM needs to read fast (the indexes held in each pool) is kept in memory as well and changes only when a
transaction has committed. A row lives as long as what it describes: the run directory is a tmpfs, and rows that carry
another boot's id are known to be dead.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from multinic_core.plan import Allocation, Plan
from multinic_core.pools import HeldIndexes
from multinic_daemon import crashpoints
from multinic_daemon.journal.codec import encode_plan
from multinic_daemon.journal.decisions import encode_decision
from multinic_daemon.journal.file import (
    FILE_NAME,
    SCHEMA_VERSION,
    JournalError,
    RefusedJournalError,
    open_file,
    read_rows,
    set_aside,
)
from multinic_daemon.journal.memory import Memory
from multinic_daemon.journal.records import (
    COLUMNS,
    AttachmentKey,
    NewAttachment,
    Record,
    State,
    TakenOver,
    from_row,
    to_row,
)

__all__ = [
    "AttachmentKey",
    "Journal",
    "JournalError",
    "NewAttachment",
    "Record",
    "RefusedJournalError",
    "boot_id",
    "read_rows",
]

GROUP_BASE = 0x4D000000
GROUP_COUNT = 1 << 24
"""Links in pods carry ``IFLA_GROUP`` 0x4D000000 to 0x4DFFFFFF: the base and the low 24 bits of the row's id."""


NODE_MARK = "node"
"""Mark of a journal that has taken stock of its node; ``pool/<name>`` is that of a pool it has seen."""


def boot_id() -> str:
    """The kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


_read_address = lru_cache(maxsize=2048)(ip_interface)
"""Kept, as the mirror reads the same addresses at each of its writes."""


def _index(value: int) -> bytes:
    """SQLite integers have 64 bits, indexes of IPv6 pools up to 128; big-endian bytes sort alike."""
    return value.to_bytes(16, "big")


class Journal:
    """The open journal. Used from one thread; every method is short and blocks on the file only."""

    def __init__(
        self, database: sqlite3.Connection, path: Path, lock: int, clock: Callable[[], float], boot: str
    ) -> None:
        self._db = database
        self.path = path
        self._lock = lock
        self._clock = clock
        self.boot_id = boot
        self._memory = Memory(database)
        self.uses = self._memory.uses
        """Of this node's NICs; to read only."""
        self.sharing = self._memory.sharing
        """Of NICs and of VLAN links on them, as far as rows have links there; to read only."""
        self.held_devices = self._memory.devices
        """Of this node; to read only."""
        self._any_taken_over = bool(self.taken_over())
        self._listeners: list[Callable[[Set[str]], None]] = []

    @classmethod
    def open(cls, run_dir: Path, *, clock: Callable[[], float] = time.time, boot: str | None = None) -> Journal:
        """Open the journal of a run directory, or start one; held until ``close`` against a second daemon.

        Raises:
            RefusedJournalError: the file is damaged, not ours, or of another schema. It is left as it is.
            JournalError: another daemon has it, or it cannot be opened.
        """
        path = run_dir / FILE_NAME
        database, lock = open_file(path)
        return cls(database, path, lock, clock, boot_id() if boot is None else boot)

    @classmethod
    def open_or_replace(
        cls, run_dir: Path, *, clock: Callable[[], float] = time.time, boot: str | None = None
    ) -> tuple[Journal, str]:
        """As ``open``, but a refused file is kept aside and an empty journal begun.

        Returns:
            The journal, and what was refused and where it is now, or "".

        Raises:
            JournalError: another daemon has it, or it cannot be opened or moved.
        """
        try:
            return cls.open(run_dir, clock=clock, boot=boot), ""
        except RefusedJournalError as error:
            try:
                aside = set_aside(run_dir / FILE_NAME, error.word, clock())
            except OSError as failed:
                raise JournalError(f"{error}, and cannot be kept aside: {failed}") from error
            crashpoints.reached("journal.aside")
            return cls.open(run_dir, clock=clock, boot=boot), f"{error}, kept as {str(aside)!r}"

    def close(self) -> None:
        self._db.close()
        os.close(self._lock)

    # Reading

    def held(self, pool: str) -> HeldIndexes:
        """The indexes held in a pool; the journal's own object, to read only."""
        return self._memory.held(pool)

    def cursor(self, pool: str) -> int:
        """The index of a pool given last, 0 before the first."""
        return self._memory.cursors.get(pool, 0)

    def find(self, key: AttachmentKey) -> Record | None:
        rows = self._select(
            "container_id = ? AND ifname = ? AND plugin = ? AND network = ?",
            (key.container_id, key.ifname, key.plugin, key.network),
        )
        return rows[0] if rows else None

    def of_interface(self, container_id: str, ifname: str) -> list[Record]:
        """The records of all networks and plugins under one CNI interface name."""
        if not self._memory.knows(container_id, ifname):
            return []
        return self._select("container_id = ? AND ifname = ?", (container_id, ifname))

    def of_network(self, plugin: str, network: str) -> list[Record]:
        return self._select("plugin = ? AND network = ?", (plugin, network))

    def unfinished(self) -> list[Record]:
        """Records that a daemon left in the middle of ADD or DEL."""
        return self._select("state IN ('pending', 'deleting')", ())

    def acting(self) -> bool:
        """Whether actions of plugins have a part in any attachment."""
        return bool(self._execute("SELECT 1 FROM attachment WHERE plan LIKE ? LIMIT 1", ('%"step":"act"%',)))

    def taken_over(self) -> list[Record]:
        """Records of what this journal did not attach; of nearly every node none."""
        return self._select("state IN ('adopted', 'unknown')", ())

    @property
    def any_taken_over(self) -> bool:
        """Whether ``taken_over`` may give anything; without reading."""
        return self._any_taken_over

    @property
    def complete(self) -> bool:
        """Whether it knows all that is held on its node; a new one does not, before it has taken stock."""
        return NODE_MARK in self._memory.marks

    def groups(self) -> set[int]:
        """The link groups of all rows."""
        return {group for (group,) in self._execute("SELECT link_group FROM attachment", ())}

    def marked(self, name: str) -> bool:
        """Whether this journal carries a mark, as :mod:`multinic_daemon.recovery.adoption` sets them."""
        return name in self._memory.marks

    def of_pool(self, pool: str) -> list[tuple[Allocation, Record]]:
        """The addresses held in a pool, ascending, each with its attachment."""
        columns = ", ".join(f"attachment.{name.strip()}" for name in COLUMNS.split(","))
        rows = self._execute(
            f"SELECT parent, pool_index, address, {columns} FROM address"  # noqa: S608  # constants
            " JOIN attachment ON attachment.id = address.attachment WHERE pool = ? ORDER BY pool_index",
            (pool,),
        )
        return [
            (Allocation(pool, row[0], int.from_bytes(row[1], "big"), _read_address(row[2])), from_row(row[3:]))
            for row in rows
        ]

    def listen(self, changed: Callable[[Set[str]], None]) -> None:
        """Call ``changed`` with the names of pools in which what is held has changed, after it is written."""
        self._listeners.append(changed)

    def of_other_boots(self) -> list[Record]:
        """Records from before this boot: their links and namespaces are gone for certain."""
        return self._select("boot_id != ?", (self.boot_id,))

    def allocations(self, record: Record) -> tuple[Allocation, ...]:
        """The addresses of a record, sorted by pool."""
        rows = self._execute("SELECT pool, parent, pool_index, address FROM address WHERE attachment = ?", (record.id,))
        return tuple(
            Allocation(pool, parent, int.from_bytes(index, "big"), _read_address(address))
            for pool, parent, index, address in rows
        )

    # Writing

    def require_writable(self) -> None:
        """Write a page, changing nothing.

        Raises:
            JournalError: the file system is full or read-only, or the file cannot be written for another reason.
        """
        with self._transaction():
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def begin(self, new: NewAttachment) -> Record:
        """Write an attachment down as pending, with its addresses.

        Raises:
            JournalError: an address is held already, the attachment exists, or the file cannot be written; nothing
                is changed.
        """
        return self._insert(new, "pending", "")

    def record_ready(self, new: NewAttachment, result_json: str) -> Record:
        """Write an attachment down that has no links, so holding its addresses is all. Raises as ``begin``."""
        return self._insert(new, "ready", result_json)

    def replan(self, record: Record, plan: Plan) -> Record:
        """Write down what more is known of a pending attachment; the record as it is now."""
        text = encode_plan(plan)
        self._update(record, record.state, record.result_json, text)
        self._memory.set_plan(record, plan)
        return replace(record, plan_json=text)

    def finish(self, record: Record, result_json: str, plan: Plan | None = None) -> None:
        """The links exist; from now on the attachment is ready.

        Args:
            plan: with what executables have answered; None: as it was written down.
        """
        self._update(record, "ready", result_json, None if plan is None else encode_plan(plan))

    def mark_deleting(self, record: Record) -> None:
        """From now on the attachment can only go."""
        self._update(record, "deleting", record.result_json)

    def leave_parents(self, record: Record) -> None:
        """The links of a row are gone: from now on it is on no parent, while its addresses stay held."""
        self.sharing.remove(record.id)

    def forget(self, record: Record) -> None:
        """Remove the row and free its addresses: call it only when the links are gone."""
        allocations = self.allocations(record)
        with self._transaction():
            self._db.execute("DELETE FROM attachment WHERE id = ?", (record.id,))
        self._memory.remove(record, allocations)
        if record.taken_over:
            self._any_taken_over = bool(self.taken_over())
        self._announce(allocations)

    def learn_uid(self, record: Record, uid: str) -> None:
        """Write down which pod a row taken over by name is for."""
        with self._transaction():
            self._db.execute(
                "UPDATE attachment SET pod_uid = ?, updated = ? WHERE id = ?", (uid, self._clock(), record.id)
            )
        self._announce(self.allocations(record))

    def take_over(self, rows: Sequence[TakenOver], marks: Iterable[str]) -> list[Record]:
        """Begin to answer for attachments that exist already, and set marks, in one transaction.

        A row's link group is kept where no other row has it. Where an attachment has a row already, its further
        addresses go to that one.

        Raises:
            JournalError: an address is held already or the file cannot be written; nothing is changed.
        """
        known = {id(row): found for row in rows if (found := self.find(row.new.key)) is not None}
        records = self._number([row for row in rows if id(row) not in known])
        fresh = [row for row in rows if id(row) not in known]
        marks = set(marks)
        # Addresses rest after release: in a pool never given from, giving starts above the highest one found.
        cursors: dict[str, int] = {}
        for each in (allocation for row in rows for allocation in row.new.allocations):
            if each.pool not in self._memory.cursors:
                cursors[each.pool] = max(cursors.get(each.pool, 0), each.index)
        with self._transaction():
            for row, record in zip(fresh, records, strict=True):
                self._write(record, row.new)
            for row in rows:
                if id(row) in known:
                    self._write_addresses(known[id(row)], row.new)
            self._db.executemany(
                "INSERT INTO pool (name, cursor) VALUES (?,?)", [(pool, _index(each)) for pool, each in cursors.items()]
            )
            self._db.executemany("INSERT OR IGNORE INTO mark (name) VALUES (?)", [(name,) for name in marks])
            crashpoints.reached("adoption.written")
        self._memory.marks |= marks
        self._memory.cursors.update(cursors)
        for row, record in zip(fresh, records, strict=True):
            self._remember(record, row.new)
        for row in rows:
            if id(row) in known:
                self._memory.add_addresses(row.new)
        self._announce([allocation for row in rows for allocation in row.new.allocations])
        return records

    def _number(self, rows: Sequence[TakenOver]) -> list[Record]:
        """The records of what is taken over, each with an id and a group that nothing else has."""
        now, boot = self._clock(), self.boot_id
        highest = max([self._memory.last_id, *(row.group - GROUP_BASE for row in rows if row.group is not None)])
        taken = self.groups()
        numbered: list[tuple[int, int]] = []
        for row in rows:
            number = 0 if row.group is None else row.group - GROUP_BASE
            if row.group is None or row.group in taken or number <= 0:
                highest += 1
                while GROUP_BASE + highest % GROUP_COUNT in taken:
                    highest += 1
                number = highest
            group = GROUP_BASE + number % GROUP_COUNT
            taken.add(group)
            numbered.append((number, group))
        return [
            Record(
                number,
                row.new.key,
                row.new.netns,
                row.new.pod,
                row.state,
                group,
                row.new.digest,
                encode_plan(row.new.plan),
                row.result_json,
                row.created,
                now,
                boot,
            )
            for row, (number, group) in zip(rows, numbered, strict=True)
        ]

    def _announce(self, allocations: Iterable[Allocation]) -> None:
        if pools := {allocation.pool for allocation in allocations}:
            for changed in self._listeners:
                changed(pools)

    def _insert(self, new: NewAttachment, state: State, result_json: str) -> Record:
        now = self._clock()
        number, group = self._next_group()
        record = Record(
            number,
            new.key,
            new.netns,
            new.pod,
            state,
            group,
            new.digest,
            encode_plan(new.plan),
            result_json,
            now,
            now,
            self.boot_id,
        )
        with self._transaction():
            self._write(record, new)
        self._remember(record, new)
        self._announce(new.allocations)
        return record

    def _write(self, record: Record, new: NewAttachment) -> None:
        """The row with all that hangs on it, inside a transaction."""
        self._db.execute(
            f"INSERT INTO attachment ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608  # constant
            to_row(record),
        )
        if new.decision is not None:
            decision = (record.id, encode_decision(new.decision))
            self._db.execute("INSERT INTO decision (attachment, content) VALUES (?,?)", decision)
        self._write_addresses(record, new)

    def _write_addresses(self, record: Record, new: NewAttachment) -> None:
        self._db.executemany(
            "INSERT INTO address (attachment, pool, pool_index, address, parent) VALUES (?,?,?,?,?)",
            [(record.id, a.pool, _index(a.index), str(a.address), a.parent) for a in new.allocations],
        )
        self._db.executemany(
            "INSERT INTO pool (name, cursor) VALUES (?,?) ON CONFLICT (name) DO UPDATE SET cursor = excluded.cursor",
            [(pool, _index(index)) for pool, index in new.cursors.items()],
        )

    def _remember(self, record: Record, new: NewAttachment) -> None:
        """In memory what the transaction has written."""
        self._memory.add(record, new)
        self._any_taken_over |= record.taken_over

    def _next_group(self) -> tuple[int, int]:
        """The next row id whose group no living row carries."""
        number = self._memory.last_id + 1
        while True:
            group = GROUP_BASE + number % GROUP_COUNT
            if number < GROUP_COUNT or not self._execute("SELECT 1 FROM attachment WHERE link_group = ?", (group,)):
                return number, group
            number += 1

    def _update(self, record: Record, state: State, result_json: str, plan_json: str | None = None) -> None:
        with self._transaction():
            if plan_json is not None:
                self._db.execute("UPDATE attachment SET plan = ? WHERE id = ?", (plan_json, record.id))
            self._db.execute(
                "UPDATE attachment SET state = ?, result = ?, updated = ? WHERE id = ?",
                (state, result_json, self._clock(), record.id),
            )

    def _select(self, where: str, values: Sequence[Any]) -> list[Record]:
        query = f"SELECT {COLUMNS} FROM attachment WHERE {where} ORDER BY id"  # noqa: S608  # conditions are constants
        return [from_row(row) for row in self._execute(query, values)]

    def _execute(self, query: str, values: Sequence[Any]) -> list[Any]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"journal {str(self.path)!r}: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise JournalError(f"journal {str(self.path)!r}: {error}") from error
