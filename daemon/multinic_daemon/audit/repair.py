"""Frees rows that are proven dead, by asking the daemon for the DEL that never came: it alone writes the journal.

Just before each is asked for, its row is read again and its sandbox looked for again; what has changed is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from multinic_core.errors import DaemonUnavailableError
from multinic_daemon.audit.findings import Finding, Kind, Verdict
from multinic_daemon.audit.sources.rundir import daemon_problem, observe_journal
from multinic_daemon.audit.sources.sandboxes import find_sandboxes
from multinic_daemon.audit.world import Row
from multinic_daemon.calls.client import exchange
from multinic_daemon.calls.request import CniRequest
from multinic_daemon.engine.invocation import CONTAINER_ID
from multinic_daemon.journal.records import Record

ANSWER_SECONDS = 90.0
"""As the executable waits."""
CNI_VERSION = "1.1.0"


@dataclass(frozen=True, slots=True)
class Repaired:
    """What became of one dead row."""

    finding: Finding
    freed: tuple[str, ...]
    """Addresses; of all when ``problem`` is ""."""
    problem: str = ""
    """Why the row is still there, or ""."""


def require_daemon(path: Path) -> None:
    """Refuse where nobody could repair.

    Raises:
        DaemonUnavailableError: no daemon answers; says why.
    """
    if problem := daemon_problem(path):
        raise DaemonUnavailableError(
            f"repair: {problem}; only a running daemon writes the journal, and one that starts finishes what it can"
        )


def repair(findings: Iterable[Finding], rows: Iterable[Row], run_dir: Path, path: Path) -> Iterator[Repaired]:
    """Free what is proven dead, one by one; blocking.

    Args:
        findings: of an audit; those with another verdict are passed over.
        rows: as the audit saw them.
        path: of the daemon's socket.

    Raises:
        JournalError: the journal cannot be read any more.
    """
    seen = {row.record.id: row for row in rows}
    for finding in findings:
        if finding.verdict is not Verdict.DEAD or finding.row is None:
            continue
        row = seen[finding.row]
        problem = _obstacle(finding, row, run_dir) or _ask(path, delete_request(row.record))
        if not problem and any(other.record.id == row.record.id for other in observe_journal(run_dir)[0]):
            problem = "the daemon says yes, but the row is still there"
        yield Repaired(finding, tuple(str(each.address) for each in row.allocations), problem)


def _obstacle(finding: Finding, row: Row, run_dir: Path) -> str:
    """Why the row cannot be freed, or ""."""
    if not CONTAINER_ID.fullmatch(row.record.key.container_id):
        return "no DEL can name it, as its container id is not known; the daemon lets go of it by itself"
    if row not in observe_journal(run_dir)[0]:
        return "the row has changed meanwhile, it is left alone"
    netns = row.record.netns
    if finding.kind is Kind.SANDBOX_GONE and not find_sandboxes([netns])[netns].gone:
        return "its sandbox is there again, it is left alone"
    return ""


def delete_request(record: Record) -> CniRequest:
    """The DEL of this row."""
    key = record.key
    netconf = {"cniVersion": CNI_VERSION, "name": key.network, "type": key.plugin}
    stdin = json.dumps(netconf).encode()
    return CniRequest(key.plugin, "DEL", key.container_id, record.netns, key.ifname, "", "", stdin)


def _ask(path: Path, request: CniRequest) -> str:
    """Why the daemon did not do it, or ""."""
    try:
        reply = exchange(path, request, ANSWER_SECONDS)
    except OSError as error:
        return f"the daemon was not heard: {error}"
    return _message(reply.body) if reply.status else ""


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["msg"])
    except (ValueError, KeyError, TypeError):
        return f"the daemon answered {body[:80]!r}"
