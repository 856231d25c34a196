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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from multinic_core.plan import Allocation
from multinic_core.pools import HeldIndexes
from multinic_daemon.codec import encode_plan
from multinic_daemon.journal_file import FILE_NAME, JournalError, open_file, read_rows
from multinic_daemon.records import COLUMNS, AttachmentKey, NewAttachment, Record, State, from_row, to_row

__all__ = ["AttachmentKey", "Journal", "JournalError", "NewAttachment", "Record", "boot_id", "read_rows"]

GROUP_BASE = 0x4D000000
GROUP_COUNT = 1 << 24
"""Links in pods carry ``IFLA_GROUP`` 0x4D000000 to 0x4DFFFFFF: the base and the low 24 bits of the row's id."""


def boot_id() -> str:
    """The kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


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
        self._held: dict[str, HeldIndexes] = {}
        self._cursors: dict[str, int] = {}
        ranges: dict[str, list[tuple[int, int]]] = {}
        for pool, index in database.execute("SELECT pool, pool_index FROM address"):
            number = int.from_bytes(index, "big")
            ranges.setdefault(pool, []).append((number, number))
        self._held = {pool: HeldIndexes(each) for pool, each in ranges.items()}
        self._cursors = {
            name: int.from_bytes(cursor, "big") for name, cursor in database.execute("SELECT name, cursor FROM pool")
        }
        row = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'attachment'").fetchone()
        self._last_id: int = row[0] if row else 0
        self._interfaces: dict[tuple[str, str], set[int]] = {}
        """(container id, ifname) to the ids of its rows: nearly every ADD is for one that has none."""
        for number, container_id, ifname in database.execute("SELECT id, container_id, ifname FROM attachment"):
            self._interfaces.setdefault((container_id, ifname), set()).add(number)

    @classmethod
    def open(cls, run_dir: Path, *, clock: Callable[[], float] = time.time, boot: str | None = None) -> Journal:
        """Open the journal of a run directory, or start one; held until ``close`` against a second daemon.

        Raises:
            JournalError: another daemon has it; or the file is damaged, not ours, or of another schema. It is left
                as it is.
        """
        path = run_dir / FILE_NAME
        database, lock = open_file(path)
        return cls(database, path, lock, clock, boot_id() if boot is None else boot)

    def close(self) -> None:
        self._db.close()
        os.close(self._lock)

    # Reading

    def held(self, pool: str) -> HeldIndexes:
        """The indexes held in a pool; the journal's own object, to read only."""
        return self._held.setdefault(pool, HeldIndexes())

    def cursor(self, pool: str) -> int:
        """The index of a pool given last, 0 before the first."""
        return self._cursors.get(pool, 0)

    def find(self, key: AttachmentKey) -> Record | None:
        rows = self._select(
            "container_id = ? AND ifname = ? AND plugin = ? AND network = ?",
            (key.container_id, key.ifname, key.plugin, key.network),
        )
        return rows[0] if rows else None

    def of_interface(self, container_id: str, ifname: str) -> list[Record]:
        """The records of all networks and plugins under one CNI interface name."""
        if (container_id, ifname) not in self._interfaces:
            return []
        return self._select("container_id = ? AND ifname = ?", (container_id, ifname))

    def of_network(self, plugin: str, network: str) -> list[Record]:
        return self._select("plugin = ? AND network = ?", (plugin, network))

    def unfinished(self) -> list[Record]:
        """Records that a daemon left in the middle of ADD or DEL."""
        return self._select("state != 'ready'", ())

    def of_other_boots(self) -> list[Record]:
        """Records from before this boot: their links and namespaces are gone for certain."""
        return self._select("boot_id != ?", (self.boot_id,))

    def allocations(self, record: Record) -> tuple[Allocation, ...]:
        """The addresses of a record, sorted by pool."""
        rows = self._execute("SELECT pool, parent, pool_index, address FROM address WHERE attachment = ?", (record.id,))
        return tuple(
            Allocation(pool, parent, int.from_bytes(index, "big"), ip_interface(address))
            for pool, parent, index, address in rows
        )

    # Writing

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

    def finish(self, record: Record, result_json: str) -> None:
        """The links exist; from now on the attachment is ready."""
        self._update(record, "ready", result_json)

    def mark_deleting(self, record: Record) -> None:
        """From now on the attachment can only go."""
        self._update(record, "deleting", record.result_json)

    def forget(self, record: Record) -> None:
        """Remove the row and free its addresses: call it only when the links are gone."""
        allocations = self.allocations(record)
        with self._transaction():
            self._db.execute("DELETE FROM attachment WHERE id = ?", (record.id,))
        interface = (record.key.container_id, record.key.ifname)
        rows = self._interfaces.pop(interface, set()) - {record.id}
        if rows:
            self._interfaces[interface] = rows
        for allocation in allocations:
            self._held[allocation.pool].remove(allocation.index)

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
            self._db.execute(
                f"INSERT INTO attachment ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608  # constant
                to_row(record),
            )
            self._db.executemany(
                "INSERT INTO address (attachment, pool, pool_index, address, parent) VALUES (?,?,?,?,?)",
                [(number, a.pool, _index(a.index), str(a.address), a.parent) for a in new.allocations],
            )
            self._db.executemany(
                "INSERT INTO pool (name, cursor) VALUES (?,?)"
                " ON CONFLICT (name) DO UPDATE SET cursor = excluded.cursor",
                [(pool, _index(index)) for pool, index in new.cursors.items()],
            )
        self._last_id = number
        self._interfaces.setdefault((new.key.container_id, new.key.ifname), set()).add(number)
        for allocation in new.allocations:
            self.held(allocation.pool).add(allocation.index)
        self._cursors.update(new.cursors)
        return record

    def _next_group(self) -> tuple[int, int]:
        """The next row id whose group no living row carries."""
        number = self._last_id + 1
        while True:
            group = GROUP_BASE + number % GROUP_COUNT
            if number < GROUP_COUNT or not self._execute("SELECT 1 FROM attachment WHERE link_group = ?", (group,)):
                return number, group
            number += 1

    def _update(self, record: Record, state: State, result_json: str) -> None:
        with self._transaction():
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
