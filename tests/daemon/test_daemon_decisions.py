"""Decisions in the journal: kept with their row, counted per NIC, and taken over from files without them."""

import sqlite3
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

import pytest
from multinic_daemon.journal.decisions import Decision, decode_decision, encode_decision
from multinic_daemon.journal.file import read_snapshot
from multinic_daemon.journal.journal import AttachmentKey, Journal, JournalError, NewAttachment
from multinic_daemon.journal.records import TakenOver
from multinic_daemon.podlinks.kernel import Parent

from multinic_core.plan import Allocation, CreateLink, Plan, PodReference

DECISION = Decision(
    "costOpt",
    {"target": "3Gbps"},
    ("eth1",),
    {"eth1": "7 Gbit/s of 10 Gbit/s free to promise", "eth2": "its speed is not known"},
    {"eth1": 3_000_000_000},
    {"eth1": {"speed_bit_per_s": 10_000_000_000, "load_bit_per_s": 0}},
    "",
)


def new(container: str, decision: Decision | None = DECISION) -> NewAttachment:
    return NewAttachment(
        AttachmentKey("multi-nic", "net-a", container, "net1"),
        "/run/netns/c1",
        PodReference("default", "pod-1", "u1"),
        "digest",
        Plan((CreateLink("net1-0", "macvlan", "eth1", 7, 1500),)),
        (),
        {},
        decision,
    )


def test_a_decision_survives_its_json() -> None:
    """It comes back equal, with a warning too."""
    for decision in (DECISION, replace(DECISION, warning="less than asked", figures={}, promised={})):
        assert decode_decision(encode_decision(decision)) == decision


def test_what_is_promised_is_counted_as_long_as_the_row_lives(tmp_path: Path) -> None:
    """From the row's first instant, over a restart, until it is forgotten."""
    journal = Journal.open(tmp_path)
    first = journal.begin(new("c1"))
    journal.begin(new("c2"))
    journal.begin(new("c3", None))
    assert (journal.uses.links["eth1"], journal.uses.promised["eth1"]) == (3, 6_000_000_000)
    journal.close()
    journal = Journal.open(tmp_path)
    assert (journal.uses.links["eth1"], journal.uses.promised["eth1"]) == (3, 6_000_000_000)
    journal.forget(first)
    assert (journal.uses.links["eth1"], journal.uses.promised["eth1"]) == (2, 3_000_000_000)
    journal.close()
    snapshot = read_snapshot(tmp_path / "journal.db")
    assert [snapshot.decisions.get(record.id) for record in snapshot.records] == [DECISION, None]


def test_nothing_is_counted_of_a_row_that_could_not_be_written(tmp_path: Path) -> None:
    """A second row of the same attachment is refused, and promises nothing."""
    journal = Journal.open(tmp_path)
    journal.begin(new("c1"))
    with pytest.raises(JournalError):
        journal.begin(new("c1"))
    assert (journal.uses.links["eth1"], journal.uses.promised["eth1"]) == (1, 3_000_000_000)
    journal.close()


def test_a_file_without_decisions_is_taken_over_in_place(tmp_path: Path) -> None:
    """Pods of the daemon before keep their rows, addresses and state, and new rows have decisions."""
    journal = Journal.open(tmp_path)
    old = journal.begin(new("c1", None))
    journal.finish(old, "{}")
    journal.close()
    with sqlite3.connect(tmp_path / "journal.db") as database:
        database.execute("DROP TABLE decision")
        database.execute("PRAGMA user_version = 2")
    database.close()
    assert read_snapshot(tmp_path / "journal.db").decisions == {}
    journal = Journal.open(tmp_path)
    found = journal.find(old.key)
    assert found is not None
    assert found.state == "ready"
    journal.begin(new("c2"))
    journal.close()
    assert list(read_snapshot(tmp_path / "journal.db").decisions.values()) == [DECISION]


def test_a_spoilt_decision_makes_the_file_damaged(tmp_path: Path) -> None:
    """What no daemon would have written is not guessed at."""
    journal = Journal.open(tmp_path)
    journal.begin(new("c1"))
    journal.close()
    with sqlite3.connect(tmp_path / "journal.db") as database:
        database.execute("UPDATE decision SET content = '{'")
    database.close()
    with pytest.raises(JournalError, match="the decision of row 1 is not readable"):
        Journal.open(tmp_path)


def test_addresses_taken_over_change_nothing_of_the_links_of_their_row(tmp_path: Path) -> None:
    """A row whose further addresses are found in a mirror stays on the NICs that it is on."""
    journal = Journal.open(tmp_path)
    row = new("c1")
    journal.begin(row)
    address = Allocation("pool", "eth1", 5, ip_interface("10.0.0.5/24"))
    found = replace(row, plan=Plan(()), allocations=(address,), decision=None)
    journal.take_over([TakenOver(found, "adopted")], ())
    assert (journal.uses.links["eth1"], journal.uses.promised["eth1"]) == (1, 3_000_000_000)
    assert journal.sharing.used(Parent(7, 0))
    assert 5 in journal.held("pool")
    journal.close()
