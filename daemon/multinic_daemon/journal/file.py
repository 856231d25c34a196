"""The file under the journal: its schema, its lock, and the refusal of anything that is not it.

An unreadable journal is never guessed at: addresses given twice are worse than a node that says no. A file of another
schema, a damaged one, or one that is not ours is refused by name. The daemon keeps it aside and starts a new one, which
gives nothing away before it knows from elsewhere what is held (:mod:`multinic_daemon.recovery.adoption`).
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from multinic_core.devices import TakeDevice
from multinic_core.errors import MultinicError
from multinic_core.outside import RunPlugin
from multinic_core.plan import Allocation, CreateLink
from multinic_daemon.journal.codec import decode_plan
from multinic_daemon.journal.decisions import Decision, decode_decision
from multinic_daemon.journal.records import COLUMNS, Record, from_row

FILE_NAME = "journal.db"
SCHEMA_VERSION = 3
OLDER_VERSION = 2
"""Of the same tables without ``decision``; taken over in place, as pods run on."""
APPLICATION_ID = 0x6D6E6963
"""``PRAGMA application_id`` of our file: ``mnic``."""

DECISIONS = """
CREATE TABLE decision (
    attachment INTEGER PRIMARY KEY REFERENCES attachment (id) ON DELETE CASCADE, content TEXT NOT NULL
) STRICT;
"""
SCHEMA = """
CREATE TABLE attachment (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    plugin TEXT NOT NULL, network TEXT NOT NULL, container_id TEXT NOT NULL, ifname TEXT NOT NULL,
    netns TEXT NOT NULL, pod_namespace TEXT NOT NULL, pod_name TEXT NOT NULL, pod_uid TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'ready', 'deleting', 'adopted', 'unknown')),
    link_group INTEGER NOT NULL UNIQUE, digest TEXT NOT NULL, plan TEXT NOT NULL, result TEXT NOT NULL,
    created REAL NOT NULL, updated REAL NOT NULL, boot_id TEXT NOT NULL,
    UNIQUE (container_id, ifname, plugin, network)
) STRICT;
CREATE TABLE address (
    attachment INTEGER NOT NULL REFERENCES attachment (id) ON DELETE CASCADE,
    pool TEXT NOT NULL, pool_index BLOB NOT NULL, address TEXT NOT NULL, parent TEXT NOT NULL,
    PRIMARY KEY (pool, pool_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX address_attachment ON address (attachment);
CREATE TABLE pool (name TEXT PRIMARY KEY, cursor BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE mark (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
"""


class JournalError(MultinicError):
    """The journal cannot be read or written; names the file."""

    cni_code = 5
    reason = "JournalFailure"


class RefusedJournalError(JournalError):
    """The file is no journal that this daemon can trust.

    Attributes:
        word: why, in one word for a file name: ``damaged``, ``newer``, ``older`` or ``foreign``.
    """

    def __init__(self, path: Path, word: str, found: str) -> None:
        super().__init__(
            f"journal {str(path)!r}: {found}; refused",
            details="what is held is taken from the kernel, the mirror in the IPPools and the node's pods instead",
        )
        self.word = word


def set_aside(path: Path, word: str, now: float) -> Path:
    """Move a refused journal out of the way under a telling name; gives the new path of the main file.

    The write-ahead log goes with it, as it belongs to that file and to no other.

    Args:
        now: seconds since the epoch.
    """
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.refused-{word}-{stamp}")
    for suffix in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside


def open_file(path: Path) -> tuple[sqlite3.Connection, int]:
    """The journal at this path, made when missing, and the lock on it, a file descriptor to close after it.

    Raises:
        RefusedJournalError: the file is damaged, not ours, or of another schema.
        JournalError: another daemon has it, or it cannot be opened.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _take_lock(path)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        database = sqlite3.connect(path, isolation_level=None)
        try:
            _prepare(database, path)
        except BaseException:
            database.close()
            raise
    except sqlite3.Error as error:
        os.close(lock)
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise RefusedJournalError(path, "damaged", f"found {error}") from error
        raise JournalError(f"journal {str(path)!r}: {error}") from error
    except BaseException:
        os.close(lock)
        raise
    return database, lock


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything in a journal at one instant."""

    records: tuple[Record, ...]
    """Sorted by id."""
    allocations: Mapping[int, tuple[Allocation, ...]]
    """Id of a record to its addresses, sorted by pool and index; records without are absent."""
    cursors: Mapping[str, int]
    """Pool name to the index given last, sorted by name."""
    decisions: Mapping[int, Decision] = field(default_factory=dict)
    """Id of a record to why it got its NICs; records for which nobody chose are absent."""


def decision_rows(database: sqlite3.Connection) -> list[tuple[int, str]]:
    """Attachment and content of each decision; of a file from before there were decisions none."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'decision'").fetchone():
        return []
    return database.execute("SELECT attachment, content FROM decision").fetchall()


def read_snapshot(path: Path) -> Snapshot:
    """Everything in a journal, without changing it; a daemon may be using it.

    Raises:
        JournalError: there is no such file, or it cannot be read.
    """
    if not path.exists():
        raise JournalError(f"journal {str(path)!r}: no such file")
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            database.execute("BEGIN")
            _verify(database, path)
            rows = database.execute(f"SELECT {COLUMNS} FROM attachment ORDER BY id")  # noqa: S608  # a constant
            records = tuple(from_row(row) for row in rows)
            held: dict[int, list[Allocation]] = {}
            for number, pool, index, address, parent in database.execute(
                "SELECT attachment, pool, pool_index, address, parent FROM address ORDER BY pool, pool_index"
            ):
                given = Allocation(pool, parent, int.from_bytes(index, "big"), ip_interface(address))
                held.setdefault(number, []).append(given)
            decisions = {number: decode_decision(text) for number, text in decision_rows(database)}
            cursors = database.execute("SELECT name, cursor FROM pool ORDER BY name")
            pools = {name: int.from_bytes(cursor, "big") for name, cursor in cursors}
        finally:
            database.close()
    except sqlite3.Error as error:
        raise JournalError(f"journal {str(path)!r}: {error}") from error
    return Snapshot(records, {number: tuple(each) for number, each in held.items()}, pools, decisions)


def read_rows(path: Path) -> dict[str, Any]:
    """Everything in a journal as one JSON-ready object. Raises as ``read_snapshot``."""
    snapshot = read_snapshot(path)
    return {
        "schema": SCHEMA_VERSION,
        "attachments": [_record_json(record, snapshot.allocations.get(record.id, ())) for record in snapshot.records],
        "pools": [{"name": name, "cursor": cursor} for name, cursor in snapshot.cursors.items()],
    }


def _record_json(record: Record, allocations: Iterable[Allocation]) -> dict[str, Any]:
    plan = record.plan
    links: list[CreateLink | TakeDevice | RunPlugin] = [*plan.links, *plan.devices, *plan.plugins]
    return {
        "id": record.id,
        "plugin": record.key.plugin,
        "network": record.key.network,
        "containerID": record.key.container_id,
        "ifname": record.key.ifname,
        "netns": record.netns,
        "pod": {"namespace": record.pod.namespace, "name": record.pod.name, "uid": record.pod.uid},
        "state": record.state,
        "group": record.group,
        "links": [link.ifname for link in links],
        "addresses": [
            {"pool": each.pool, "index": each.index, "address": str(each.address), "parent": each.parent}
            for each in allocations
        ],
        "created": record.created,
        "updated": record.updated,
        "bootID": record.boot_id,
    }


def _take_lock(path: Path) -> int:
    lock = os.open(path.with_name("journal.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise JournalError(f"journal {str(path)!r}: another daemon has it open") from error
    return lock


def _verify(database: sqlite3.Connection, path: Path) -> None:
    """Refuse what is not a journal of this schema, or of the one before."""
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        found = f"found application id {application:#x}, expected {APPLICATION_ID:#x}"
        raise RefusedJournalError(path, "foreign", found)
    if version not in (SCHEMA_VERSION, OLDER_VERSION):
        word = "newer" if version > SCHEMA_VERSION else "older"
        raise RefusedJournalError(path, word, f"found schema version {version}, this daemon reads {SCHEMA_VERSION}")


def _unreadable_rows(database: sqlite3.Connection) -> list[str]:
    """What no daemon would have written: SQLite has no checksums, so a changed byte may leave a sound file."""
    faults = []
    for row in database.execute(f"SELECT {COLUMNS} FROM attachment"):  # noqa: S608  # a constant
        record = from_row(row)
        try:
            decode_plan(record.plan_json)
            json.loads(record.result_json or "{}")
        except (ValueError, TypeError, KeyError) as error:
            faults.append(f"row {record.id} is not readable: {error}")
    for number, text in decision_rows(database):
        try:
            decode_decision(text)
        except (ValueError, TypeError, KeyError) as error:
            faults.append(f"the decision of row {number} is not readable: {error}")
    (odd,) = database.execute("SELECT count(*) FROM address WHERE length(pool_index) != 16").fetchone()
    if odd:
        faults.append(f"{odd} addresses without a proper index")
    return faults


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    """Verify what is there before the first byte is changed, or make an empty journal."""
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = database.execute("PRAGMA application_id").fetchone()
    fresh = not tables and not application
    if not fresh:
        _verify(database, path)
        faults = [row[0] for row in database.execute("PRAGMA quick_check(3)") if row[0] != "ok"]
        faults += [f"a row of {row[0]} without its attachment" for row in database.execute("PRAGMA foreign_key_check")]
        faults += _unreadable_rows(database)
        if faults:
            raise RefusedJournalError(path, "damaged", f"found it damaged: {'; '.join(faults[:3])}")
    # Writes reach the page cache and are not synced: the file outlives the process, and no link outlives the boot.
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = OFF")
    database.execute("PRAGMA foreign_keys = ON")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if not fresh and version == OLDER_VERSION:
        database.executescript(f"BEGIN; {DECISIONS} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    if fresh:
        database.executescript(
            f"BEGIN; {SCHEMA} {DECISIONS} PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )
