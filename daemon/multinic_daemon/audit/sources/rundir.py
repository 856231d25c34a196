"""What the run directory has: the journal, tombstones, and whether a daemon answers on its socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from multinic_core.errors import MultinicError
from multinic_daemon.audit.world import Row, Tombstone
from multinic_daemon.calls.request import LIMIT, parse_request
from multinic_daemon.engine.invocation import read_key
from multinic_daemon.journal.file import FILE_NAME, read_snapshot
from multinic_daemon.recovery.tombstones import FOLDER

CONNECT_SECONDS = 5.0


def observe_journal(run_dir: Path) -> tuple[tuple[Row, ...], Mapping[str, int]]:
    """The journal's rows, sorted by id, and the index given last in each pool, at one instant.

    Raises:
        JournalError: there is no journal, or it cannot be read.
    """
    snapshot = read_snapshot(run_dir / FILE_NAME)
    rows = (Row(record, snapshot.allocations.get(record.id, ())) for record in snapshot.records)
    return tuple(rows), snapshot.cursors


def observe_tombstones(socket_path: Path) -> tuple[Tombstone, ...]:
    """The DELs that wait beside the socket, sorted by file name."""
    return tuple(_tombstones(socket_path.parent / FOLDER))


def _tombstones(folder: Path) -> Iterator[Tombstone]:
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.name.startswith("."):
            continue  # still being written
        try:
            with file.open("rb") as opened:
                yield Tombstone(str(file), read_key(parse_request(opened.read(LIMIT + 1))))
        except FileNotFoundError:
            continue  # honoured meanwhile
        except (MultinicError, OSError):
            yield Tombstone(str(file), None)


def daemon_problem(path: Path) -> str:
    """Why no daemon can be asked on this socket, or "" when one can."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_SECONDS)
        try:
            probe.connect(str(path))
        except OSError as error:
            return f"no daemon answers on {str(path)!r}: {error.strerror or error}"
    return ""
