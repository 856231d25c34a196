"""A journal that is lost, refused or cut short: everything that lives is held again, nothing is guessed free."""

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest
from multinic_daemon.journal.journal import GROUP_BASE, Journal, JournalError
from multinic_daemon.podlinks.kernel import Sandbox, SandboxLink
from multinic_daemon.pools.mirrorkeeper import MirrorKeeper
from multinic_daemon.recovery.rebuild import observed_plan, take_missing, take_stock
from multinic_daemon.testing import Rig, addresses, make_link
from multinic_daemon.testing.rig import NODE

from multinic_core.errors import AttachmentExistsError, CheckFailedError
from multinic_core.model import IPPOOLS
from multinic_core.plan import CreateLink

POOL = "net-a-192.168.0.0-24"


async def mirror(rig: Rig, *pools: str) -> None:
    """Let the mirror follow, in these pools or in all."""
    keeper = MirrorKeeper(rig.kubernetes, NODE, rig.pools, rig.journal, rig.engine.gate, rig.adoption.take_pool)
    for name in pools or [pool.name for pool in rig.kubernetes.store(IPPOOLS).list()]:
        await keeper._write(name)


def states(rig: Rig) -> dict[str, str]:
    """Container id of each row to its state."""
    return {record.key.container_id: record.state for record in rig.journal.of_network("multi-nic", "net-a")}


async def test_attachment_is_known_again_with_all_that_the_commands_need(rig: Rig) -> None:
    """Container id and pod from the mirror, links from the kernel: the same answer, CHECK, GC and DEL."""
    result = await rig.call("ADD")
    await rig.call("ADD", "c2")
    before = rig.journal.of_interface("c1", "net1")[0]
    await mirror(rig)
    rig.lose_journal()
    assert states(rig) == {"c1": "ready", "c2": "ready"}
    (after,) = rig.journal.of_interface("c1", "net1")
    assert (after.key, after.pod, after.group, after.netns, after.created) == (
        before.key,
        before.pod,
        before.group,
        before.netns,
        before.created,
    )
    assert await rig.call("CHECK", prevResult=result) is None
    assert addresses(await rig.call("ADD")) == addresses(result)
    assert addresses(await rig.call("ADD", "c3"))[0] == "192.168.0.3/18"
    await rig.call("GC", "", netns="", **{"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "net1"}]})
    assert states(rig) == {"c1": "ready"}
    await rig.call("DEL")
    rig.assert_clean()


ROUTED = {
    "plugin": {"type": "macvlan", "sourceRouting": True},
    "ipam": {"type": "multi-nic-ipam", "routes": [{"dst": "172.16.0.0/12", "gw": "192.168.0.9"}]},
}


@pytest.mark.parametrize("mirrored", [True, False])
async def test_plan_is_known_again_with_routes_rules_and_settings(rig: Rig, mirrored: bool) -> None:
    """So that CHECK compares them and DEL removes the rules; links have besides the MAC address that they got."""
    await rig.call("ADD", **ROUTED)
    before = rig.journal.of_interface("c1", "net1")[0].plan
    if mirrored:
        await mirror(rig)
    rig.lose_journal()
    (row,) = rig.journal.of_network("multi-nic", "net-a")
    assert row.state == ("ready" if mirrored else "unknown")
    assert {step for step in row.plan.steps if not isinstance(step, CreateLink)} == {
        step for step in before.steps if not isinstance(step, CreateLink)
    }
    assert [replace(each, mac_address="") for each in row.plan.links] == list(before.links)
    assert row.rules == before.rules


def test_settings_are_recorded_where_they_are_as_add_gives_them() -> None:
    """What somebody has changed before is left out, and what a single link was born with was never given to it."""
    born = {"rp_filter": 2, "arp_ignore": 1, "arp_announce": 2}
    whole, changed = link("net1-0", settings=born), link("net1-1", settings={**born, "arp_ignore": 0})
    assert [(step.ifname, step.name, step.value) for step in observed_plan([whole, changed], ()).sysctls] == [
        ("net1-0", "rp_filter", "2"),
        ("net1-0", "arp_announce", "2"),
        ("net1-0", "arp_ignore", "1"),
        ("net1-1", "rp_filter", "2"),
        ("net1-1", "arp_announce", "2"),
    ]
    assert observed_plan([whole], ()).sysctls == ()


async def test_addresses_of_pools_that_the_mirror_had_not_reached_are_held_too(rig: Rig) -> None:
    """Lost between the writes of two pools: the links tell the other addresses of the same attachment."""
    result = await rig.call("ADD")
    await mirror(rig, POOL)
    rig.lose_journal()
    (row,) = rig.journal.of_network("multi-nic", "net-a")
    assert (row.key.container_id, row.state) == ("c1", "ready")
    assert sorted(str(each.address) for each in rig.journal.allocations(row)) == sorted(addresses(result))
    assert not set(addresses(await rig.call("ADD", "c2"))) & set(addresses(result))
    await rig.call("DEL")
    assert set(rig.held().values()) == {1}


def test_address_that_somebody_put_on_a_link_of_ours_is_held(rig: Rig) -> None:
    """The kernel shows it in a pool that nobody wrote it into."""
    pools = rig.kubernetes.store(IPPOOLS).list()
    both = link("net1-0", "192.168.0.5/18", "192.168.0.6/18", group=GROUP_BASE + 1)
    rows = take_missing(pools, [Sandbox("/n", (1, 1), (both,))], "b", lambda _, index: index == 5, {both.group}).rows
    assert [(row.state, row.group, [each.index for each in row.new.allocations]) for row in rows] == [
        ("unknown", None, [6])
    ]


async def test_entry_that_stands_twice_in_the_mirror_is_held_once(rig: Rig) -> None:
    """As an old entry beside a new one of the same address: the node serves, and gives the address to nobody else."""
    await rig.call("ADD")
    await mirror(rig)
    entries = rig.kubernetes.raw(IPPOOLS, POOL)["spec"]["allocations"]
    await rig.kubernetes.patch(IPPOOLS, POOL, {"spec": {"allocations": [*entries, {**entries[0], "pod": "other"}]}})
    rig.lose_journal()
    assert rig.engine.gate.is_open
    assert states(rig) == {"c1": "ready"}
    assert set(rig.held().values()) == {1}


@pytest.mark.parametrize("mirrored", [True, False], ids=["mirrored", "known to the kernel alone"])
@pytest.mark.parametrize("netns", ["", "c1"], ids=["no namespace", "the old sandbox"])
@pytest.mark.parametrize("uid", ["u1", "u2", ""], ids=["the old pod's UID", "the new pod's UID", "no UID"])
async def test_late_del_after_the_journal_was_lost_frees_nothing_of_a_pod_made_again(
    rig: Rig, mirrored: bool, netns: str, uid: str
) -> None:
    """web-0 was made again with grace 0: DELs of its old sandbox leave the new one's links and addresses."""
    args = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID={}"
    await rig.call("ADD", "c1", args=args.format("u1"))
    new = await rig.call("ADD", "c2", args=args.format("u2"))
    await rig.call("DEL", "c1", args=args.format("u1"))
    if mirrored:
        await mirror(rig)
    rig.lose_journal()
    for _ in range(2):
        await rig.call("DEL", "c1", netns=rig.pod(netns) if netns else "", args=args.format(uid))
    assert len(rig.pod_links("c2")) == 3
    assert set(rig.held().values()) == {1}
    assert not set(addresses(await rig.call("ADD", "c3"))) & set(addresses(new))


async def test_unknown_attachment_is_checked_as_it_was_found(rig: Rig) -> None:
    """Its links are ours, so what changed since is told."""
    result = await rig.call("ADD", **ROUTED)
    rig.lose_journal()
    assert await rig.call("CHECK", prevResult=result, **ROUTED) is None
    (Path(rig.pod()) / "net1-1").unlink()
    said = await rig.refused(CheckFailedError, "CHECK", prevResult=result, **ROUTED)
    assert "link 'net1-1' is missing" in said


async def test_del_removes_links_that_an_old_mirror_does_not_know(rig: Rig) -> None:
    """The mirror still names an earlier attachment of this container; the kernel shows the later one."""
    await rig.call("ADD")
    await mirror(rig)
    await rig.call("DEL")
    await rig.call("ADD")
    await rig.call("ADD", "c2")
    rig.lose_journal()
    assert sorted(row.state for row in rig.journal.taken_over()) == ["adopted", "unknown", "unknown"]
    await rig.call("DEL")
    assert rig.pod_links() == []
    (row,) = rig.journal.taken_over()
    assert (row.state, row.netns) == ("unknown", rig.pod("c2"))


async def test_links_that_no_mirror_knows_are_held(rig: Rig) -> None:
    """Attached in the last second: nobody knows for whom, so the addresses are held until their namespace ends."""
    result = await rig.call("ADD")
    rig.lose_journal()
    (row,) = rig.journal.taken_over()
    assert (row.state, row.key.ifname, row.key.network, row.netns) == ("unknown", "net1", "net-a", rig.pod())
    assert not set(addresses(await rig.call("ADD", "c2"))) & set(addresses(result))
    assert await rig.adoption.release_dead() == 0
    shutil.rmtree(rig.pod())
    assert await rig.adoption.release_dead() == 1
    assert set(rig.held().values()) == {1}


async def test_del_finds_unknown_links_by_their_namespace(rig: Rig) -> None:
    """And by the interface name; another interface of the same pod stays."""
    await rig.call("ADD")
    await rig.call("ADD", ifname="net2")
    rig.lose_journal()
    await rig.call("DEL", "other", netns=rig.pod("other"))
    assert len(rig.journal.taken_over()) == 2
    await rig.call("DEL")
    assert rig.pod_links() == ["net2-0", "net2-1", "net2-2"]
    assert set(rig.held().values()) == {1}
    await rig.call("DEL", ifname="net2")
    assert rig.held() == {}


async def test_unknown_links_that_were_mirrored_stay_unknown(rig: Rig) -> None:
    """Through a second loss, whatever state the mirror caught them in; and go with their namespace."""
    await rig.call("ADD")
    rig.lose_journal()
    rig.journal.mark_deleting(rig.journal.taken_over()[0])
    await mirror(rig)
    shutil.rmtree(rig.pod())
    rig.lose_journal()
    (row,) = rig.journal.taken_over()
    assert row.state == "unknown"
    assert await rig.adoption.release_dead() == 1
    assert rig.held() == {}


async def test_half_made_links_are_held_and_go_with_the_runtimes_del(rig: Rig) -> None:
    """Links without addresses, as a kill in the middle of ADD leaves them."""
    make_link(rig.pod(), "net1-0", group=GROUP_BASE + 9)
    rig.lose_journal()
    assert rig.held() == {}
    await rig.call("DEL")
    assert rig.pod_links() == []
    assert rig.journal.taken_over() == []


async def test_mirrored_attachment_without_links_is_held_until_proof(rig: Rig) -> None:
    """Its namespace is gone but its pod lives: DEL by container id works, and so does proof."""
    await rig.call("ADD")
    await rig.call("ADD", "c2", args="K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-2;K8S_POD_UID=u2")
    await mirror(rig)
    shutil.rmtree(rig.pod())
    shutil.rmtree(rig.pod("c2"))
    rig.lose_journal()
    assert states(rig) == {"c1": "adopted", "c2": "adopted"}
    await rig.refused(AttachmentExistsError, "ADD", "c2")
    await rig.call("DEL")
    assert states(rig) == {"c2": "adopted"}
    assert await rig.adoption.release_dead() == 1
    assert rig.held() == {}


async def test_addresses_for_other_plugins_are_held_again(rig: Rig) -> None:
    """``multi-nic-ipam`` makes no links; the mirror knows whose they are."""
    await rig.call("ADD", executable="multi-nic-ipam", masters=["eth1", "eth2"])
    await mirror(rig)
    rig.lose_journal()
    assert set(rig.held().values()) == {1}
    await rig.call("DEL", executable="multi-nic-ipam", masters=["eth1"])
    assert rig.held() == {}


async def test_journal_that_lost_its_end_frees_nothing(rig: Rig) -> None:
    """SQLite takes a write-ahead log that ends early for a shorter history; the kernel knows better."""
    await rig.call("ADD")
    rig.journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    main = rig.folder / "run" / "journal.db"
    kept = main.read_bytes()
    result = await rig.call("ADD", "c2")
    await mirror(rig)
    rig.adoption.close()
    rig.journal.close()
    main.write_bytes(kept)
    rig.journal = rig.open_journal()
    rig.engine = rig.make_engine()
    assert states(rig) == {"c1": "ready"}
    rig.adoption = type(rig.adoption)(rig.engine, rig.kubernetes, NODE, rig.pools)
    rig.adopt()
    assert states(rig) == {"c1": "ready", "c2": "ready"}
    assert not set(addresses(await rig.call("ADD", "c3"))) & set(addresses(result))


async def test_restart_with_a_whole_journal_takes_nothing_over(rig: Rig) -> None:
    """Rows, links and mirror agree, also while the mirror is late."""
    await rig.call("ADD")
    await rig.call("ADD", "c2")
    await mirror(rig)
    await rig.call("DEL", "c2")
    rig.restart()
    assert states(rig) == {"c1": "ready"}
    assert set(rig.held().values()) == {1}


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def set_pragma(text: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with sqlite3.connect(path) as database:
            database.execute(f"PRAGMA {text}")
        database.close()

    return change


def change_a_byte(path: Path) -> None:
    """Inside a plan: SQLite finds nothing wrong."""
    content = path.read_bytes()
    assert b'"step":"link"' in content
    path.write_bytes(content.replace(b'"step":"link"', b'"step":"lynk"', 1))


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (damage, "damaged"),
        (cut, "damaged"),
        (change_a_byte, "damaged"),
        (lambda path: path.write_bytes(b"text " * 1000), "damaged"),
        (set_pragma("user_version = 99"), "newer"),
        (set_pragma("user_version = 1"), "older"),
        (set_pragma("application_id = 7"), "foreign"),
    ],
    ids=["damaged", "truncated", "changed byte", "text", "newer", "older", "foreign"],
)
async def test_refused_journal_is_kept_aside_and_replaced(rig: Rig, spoil: Callable[[Path], None], word: str) -> None:
    """Named, byte for byte under a telling name, and every pod is known again."""
    results = [await rig.call("ADD", f"c{number}") for number in range(20)]
    await mirror(rig)
    rig.adoption.close()
    rig.journal.close()
    path = rig.folder / "run" / "journal.db"
    spoil(path)
    before = path.read_bytes()
    rig.journal = rig.open_journal()
    assert str(path) in rig.journal_refused
    (aside,) = path.parent.glob("journal.db.refused-*")
    assert aside.name.startswith(f"journal.db.refused-{word}-")
    assert str(aside) in rig.journal_refused
    assert aside.read_bytes() == before
    rig.engine = rig.make_engine()
    assert rig.journal_refused in rig.engine.gate.reason
    rig.adoption = type(rig.adoption)(rig.engine, rig.kubernetes, NODE, rig.pools)
    rig.adopt()
    assert set(states(rig).values()) == {"ready"}
    assert set(rig.held().values()) == {20}
    given = {address for result in results for address in addresses(result)}
    assert not given & set(addresses(await rig.call("ADD", "new")))


def test_journal_that_another_daemon_has_is_not_refused(tmp_path: Path) -> None:
    """It is right, it is only not ours to open."""
    journal = Journal.open(tmp_path)
    with pytest.raises(JournalError, match="another daemon"):
        Journal.open_or_replace(tmp_path)
    journal.close()
    assert list(tmp_path.glob("*refused*")) == []


def link(ifname: str, *held: str, **fields: Any) -> SandboxLink:
    values: dict[str, Any] = {
        "group": 0,
        "link_kind": "macvlan",
        "mtu": 1500,
        "mac_address": "02:00:00:00:00:01",
        "parent_ifindex": 11,
        "on_node": True,
        "attributes": {},
    }
    return SandboxLink(ifname=ifname, addresses=tuple(map(ip_interface, held)), **values | fields)


def test_links_of_another_node_on_the_same_kernel_are_not_ours(rig: Rig) -> None:
    """In a lab several nodes share a kernel, and number their groups and addresses alike."""
    pools = rig.kubernetes.store(IPPOOLS).list()
    theirs = link("net1-0", "192.168.0.5/18", group=GROUP_BASE + 1, on_node=False)
    assert take_stock(pools, [Sandbox("/run/netns/a", (1, 1), (theirs,))], "b").rows == []
    moved = link("net1-0", "192.168.0.5/18", parent_ifindex=0, on_node=False, link_kind="")
    (row,) = take_stock(pools, [Sandbox("/run/netns/a", (1, 1), (moved,))], "b").rows
    assert [str(each.address) for each in row.new.allocations] == ["192.168.0.5/18"]


def test_address_that_two_claim_is_held_once(rig: Rig) -> None:
    """Two namespaces with one address, as the original could leave them: the address is held, the journal is sound."""
    pools = rig.kubernetes.store(IPPOOLS).list()
    sandboxes = [Sandbox(f"/run/netns/{n}", (1, n), (link("net1-0", "192.168.0.5/18"),)) for n in (1, 2)]
    rows = take_stock(pools, sandboxes, "b").rows
    assert [each.index for row in rows for each in row.new.allocations] == [5]
