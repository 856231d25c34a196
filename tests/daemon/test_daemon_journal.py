"""The journal: what is written stays, what is not ours is refused, and no address is in it twice."""

import json
import sqlite3
from dataclasses import replace
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest
from multinic_daemon.journal.codec import decode_plan, encode_plan
from multinic_daemon.journal.journal import (
    GROUP_BASE,
    GROUP_COUNT,
    AttachmentKey,
    Journal,
    JournalError,
    NewAttachment,
    read_rows,
)

from multinic_core.devices import TakeDevice
from multinic_core.plan import AddAddress, AddRoute, AddRule, Allocation, CreateLink, Plan, PodReference, SetSysctl

PLAN = Plan(
    (
        CreateLink("net1-0", "ipvlan", "eth1", 7, 9000, {"IFLA_IPVLAN_MODE": 1}, "02:00:00:00:00:01"),
        AddAddress("net1-0", ip_interface("fd00::5/64")),
        AddRoute(ip_network("10.0.0.0/8"), "net1-0", ip_interface("192.168.0.1/24").ip),
        AddRoute(ip_network("fd01::/64"), "net1-0"),
        AddRoute(ip_network("fd00::/64"), "net1-0", table=1100),
        AddRule(ip_network("fd00::5/128"), 1100, 32765),
        SetSysctl("net/ipv4/conf/net1-0/rp_filter", "2"),
    )
)


def new(container: str = "c1", *indexes: int, pool: str = "p") -> NewAttachment:
    allocations = tuple(Allocation(pool, "eth1", index, ip_interface(f"10.0.0.{index}/24")) for index in indexes)
    return NewAttachment(
        AttachmentKey("multi-nic", "net-a", container, "net1"),
        "/run/netns/c1",
        PodReference("default", "pod-1", "u1"),
        "digest",
        PLAN,
        allocations,
        {pool: indexes[-1]} if indexes else {},
    )


def test_plan_survives_its_json() -> None:
    """Every kind of step comes back equal."""
    assert decode_plan(encode_plan(PLAN)) == PLAN


def test_a_plan_is_written_as_json_is() -> None:
    """Names with quotes and other letters are escaped, so that any reader of JSON gets them back."""
    odd = Plan(tuple(replace(step, ifname='n"\\ä') if isinstance(step, CreateLink) else step for step in PLAN.steps))
    for plan in (PLAN, odd, Plan(())):
        assert encode_plan(plan) == json.dumps(json.loads(encode_plan(plan)), separators=(",", ":"))
        assert decode_plan(encode_plan(plan)) == plan


def test_what_a_device_shows_is_written_only_where_it_is_more_than_its_own():
    """Rows of other devices read the same to a daemon that does not know the field, and such rows to this one."""
    own = (ip_interface("10.0.1.5/24"), ip_interface("fd01::5/64"))
    plain = TakeDevice("net1-0", "eth1", "eth1", addresses_before=own)
    assert "addresses_shown" not in encode_plan(Plan((plain,)))
    named = replace(plain, alias_before="to the storage", group_before=7)
    for step in (plain, named, replace(plain, addresses_before=(), addresses_shown=own)):
        assert decode_plan(encode_plan(Plan((step,)))) == Plan((step,))


def test_a_route_written_before_tables_were_known_is_one_of_the_main_table() -> None:
    """A row of an older daemon is read as it was meant."""
    old = '[{"step":"route","dst":"10.0.0.0/8","ifname":"net1-0","gateway":"192.168.0.1"}]'
    assert decode_plan(old) == Plan(PLAN.routes[:1])


def test_rows_survive_closing(tmp_path: Path) -> None:
    """Records, held indexes and cursors are read back as they were."""
    journal = Journal.open(tmp_path, clock=lambda: 5.0, boot="b")
    record = journal.begin(new("c1", 3, 9))
    journal.finish(record, "{}")
    journal.begin(new("c2", 4))
    journal.close()
    journal = Journal.open(tmp_path, boot="b")
    found = journal.find(record.key)
    assert found is not None
    assert (found.state, found.plan, found.pod, found.created) == ("ready", PLAN, record.pod, 5.0)
    assert [each.index for each in journal.allocations(found)] == [3, 9]
    assert list(journal.held("p")) == [(3, 4), (9, 9)]
    assert journal.cursor("p") == 4
    assert [each.key.container_id for each in journal.unfinished()] == ["c2"]
    journal.close()


def test_address_held_is_not_written_again(tmp_path: Path) -> None:
    """The last line of defence: the transaction fails whole, and memory agrees with the file."""
    journal = Journal.open(tmp_path)
    journal.begin(new("c1", 3))
    with pytest.raises(JournalError):
        journal.begin(new("c2", 2, 3))
    assert list(journal.held("p")) == [(3, 3)]
    assert journal.of_interface("c2", "net1") == []
    with pytest.raises(JournalError):
        journal.begin(new("c1", 8))
    assert journal.cursor("p") == 3
    journal.close()


def test_forgetting_frees_and_cursor_stays(tmp_path: Path) -> None:
    """Addresses rest after release because the cursor outlives the row."""
    journal = Journal.open(tmp_path)
    journal.forget(journal.begin(new("c1", 3)))
    assert len(journal.held("p")) == 0
    assert journal.cursor("p") == 3
    assert read_rows(tmp_path / "journal.db")["attachments"] == []
    journal.close()


def test_index_of_a_huge_pool_is_kept(tmp_path: Path) -> None:
    """IPv6 pools have indexes beyond 64 bits."""
    index = (1 << 100) + 7
    held = Allocation("six", "eth1", index, ip_interface("fd00::5/64"))
    journal = Journal.open(tmp_path)
    blank = new()
    journal.begin(NewAttachment(blank.key, blank.netns, blank.pod, "", Plan(()), (held,), {"six": index}))
    journal.close()
    journal = Journal.open(tmp_path)
    assert index in journal.held("six")
    assert journal.cursor("six") == index
    journal.close()


def test_groups_are_never_shared(tmp_path: Path) -> None:
    """Each row has its own, also when the numbers start over."""
    journal = Journal.open(tmp_path)
    first = journal.begin(new("c1"))
    assert first.group == GROUP_BASE + first.id
    journal._last_id = GROUP_COUNT + first.id - 1
    second = journal.begin(new("c2"))
    assert second.group == GROUP_BASE + first.id + 1
    third = journal.begin(new("c3"))
    assert len({first.group, second.group, third.group}) == 3
    assert all(GROUP_BASE <= each.group < GROUP_BASE + GROUP_COUNT for each in (first, second, third))
    journal.close()


def test_row_ids_are_not_reused(tmp_path: Path) -> None:
    """A link that outlived its row can never be taken for another's."""
    journal = Journal.open(tmp_path)
    first = journal.begin(new("c1"))
    journal.forget(first)
    journal.close()
    journal = Journal.open(tmp_path)
    assert journal.begin(new("c1")).group != first.group
    journal.close()


def test_second_daemon_is_kept_out(tmp_path: Path) -> None:
    """Two daemons on one run directory would give addresses twice."""
    journal = Journal.open(tmp_path)
    with pytest.raises(JournalError, match="another daemon"):
        Journal.open(tmp_path)
    journal.close()
    Journal.open(tmp_path).close()


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)


def newer(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 4")
    database.close()


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA application_id = 7")
    database.close()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(b"no database at all, only text " * 99), "not a database"),
        (damage, "malformed|damaged"),
        (newer, "found schema version 4, this daemon reads 3"),
        (foreign, "application id"),
    ],
    ids=["text", "damaged", "newer", "foreign"],
)
def test_file_that_is_not_ours_is_refused_and_left(tmp_path: Path, spoil, words: str) -> None:  # type: ignore[no-untyped-def]
    """By name, with the way out, and without changing a byte of it."""
    journal = Journal.open(tmp_path)
    for number in range(1, 200):
        journal.begin(new(f"c{number}", number))
    journal.close()
    path = tmp_path / "journal.db"
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(JournalError, match=words) as caught:
        Journal.open(tmp_path)
    assert str(path) in str(caught.value)
    assert "mirror" in caught.value.details
    assert path.read_bytes() == before


def test_rows_can_be_read_while_a_daemon_runs(tmp_path: Path) -> None:
    """For audits: one JSON-ready object with every row."""
    journal = Journal.open(tmp_path, clock=lambda: 5.0, boot="b")
    record = journal.begin(new("c1", 3))
    (row,) = read_rows(tmp_path / "journal.db")["attachments"]
    assert row == {
        "id": 1,
        "plugin": "multi-nic",
        "network": "net-a",
        "containerID": "c1",
        "ifname": "net1",
        "netns": "/run/netns/c1",
        "pod": {"namespace": "default", "name": "pod-1", "uid": "u1"},
        "state": "pending",
        "group": record.group,
        "links": ["net1-0"],
        "addresses": [{"pool": "p", "index": 3, "address": "10.0.0.3/24", "parent": "eth1"}],
        "created": 5.0,
        "updated": 5.0,
        "bootID": "b",
    }
    journal.finish(record, "{}")
    assert read_rows(tmp_path / "journal.db")["attachments"][0]["state"] == "ready"
    journal.close()


def test_missing_journal_is_named(tmp_path: Path) -> None:
    """Reading never makes one."""
    with pytest.raises(JournalError, match="no such file"):
        read_rows(tmp_path / "journal.db")
    assert list(tmp_path.iterdir()) == []
