"""First start on a node of another generation, and what was taken over goes only on proof."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from multinic_daemon.journal.journal import NODE_MARK, JournalError
from multinic_daemon.pools.mirror import BOOT_ANNOTATION
from multinic_daemon.recovery.adoption import PROOF_SECONDS
from multinic_daemon.recovery.recovery import recover
from multinic_daemon.recovery.tombstones import replay
from multinic_daemon.testing import Rig, addresses, make_link, refuse
from multinic_daemon.testing.rig import NODE

from multinic_core.errors import ApiError, CheckFailedError, DaemonUnavailableError, KernelError, NotReadyError
from multinic_core.model import IPPOOLS, PODS

POOL = "net-a-192.168.0.0-24"
SECOND = "net-a-192.168.64.0-24"
ARGS = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID={}"


def entry(index: int, pod: str = "web-0", base: str = "192.168.0") -> dict[str, Any]:
    return {"pod": pod, "namespace": "default", "index": index, "address": f"{base}.{index}"}


async def write(rig: Rig, pool: str, *entries: dict[str, Any], **annotations: str) -> None:
    """What another generation, or anybody, writes into a pool."""
    await rig.kubernetes.patch(IPPOOLS, pool, {"spec": {"allocations": list(entries)}})


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Rig]:
    """A node whose daemon was just exchanged: nothing is known yet."""
    made = Rig(tmp_path, adopting=False)
    yield made
    made.journal.close()


def states(rig: Rig) -> list[tuple[str, list[str]]]:
    """Pod and addresses of every row taken over."""
    rows = rig.journal.taken_over()
    return [(row.pod.name, [str(each.address) for each in rig.journal.allocations(row)]) for row in rows]


async def test_allocations_of_the_original_are_held_with_their_pods(old: Rig) -> None:
    """One row per pod and network, over all pools; the addresses are given to nobody."""
    await write(old, POOL, entry(1), entry(2, "db-0"))
    await write(old, SECOND, entry(1, base="192.168.64"))
    old.adopt()
    assert sorted(states(old)) == [
        ("db-0", ["192.168.0.2/18"]),
        ("web-0", ["192.168.0.1/18", "192.168.64.1/18"]),
    ]
    result = await old.call("ADD", "c9")
    assert addresses(result) == ["192.168.0.3/18", "192.168.64.2/18", "192.168.128.1/18"]
    old.restart()
    assert len(states(old)) == 2


async def test_entries_that_no_pool_could_give_do_not_stop_the_others(old: Rig) -> None:
    """A wrong address, one of another pool, and the same address twice."""
    wrong = {"pod": "x", "namespace": "default", "index": 3, "address": "nonsense"}
    await write(old, POOL, wrong, entry(7, base="10.9.9"), entry(5), entry(5, "db-0"))
    old.adopt()
    assert states(old) == [("web-0", ["192.168.0.5/18"])]


async def test_nothing_is_given_before_the_api_has_answered(old: Rig) -> None:
    """ADD says try again, STATUS says not ready, both why; CHECK and GC cannot tell either."""
    for command in ("CHECK", "GC"):
        fields: dict[str, Any] = {"prevResult": {"cniVersion": "1.1.0"}} if command == "CHECK" else {}
        assert "does not know yet" in await old.refused(DaemonUnavailableError, command, **fields)
    assert "does not know yet" in await old.refused(NotReadyError, "STATUS")


async def test_add_waits_for_the_taking_over_and_no_longer_than_it_must(old: Rig, autojump_clock: Any) -> None:
    """Daemon before API: the call is answered when the API is there, and refused when it does not come."""
    assert "does not know yet" in await old.refused(DaemonUnavailableError, "ADD")
    await write(old, POOL, entry(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(old.call, "ADD")
        await trio.sleep(1)
        old.adopt()
    assert addresses_of(old, "c1")[0] == "192.168.0.2/18"


def addresses_of(rig: Rig, container: str) -> list[str]:
    (record,) = rig.journal.of_interface(container, "net1")
    return sorted(str(each.address) for each in rig.journal.allocations(record))


async def test_del_before_the_api_has_answered_is_kept_and_honoured(old: Rig) -> None:
    """It succeeds at once; what it is about is found later."""
    make_link(old.pod("c1"), "net1-0", "192.168.0.1/18")
    await write(old, POOL, entry(1))
    assert await old.call("DEL", args=ARGS.format("u1")) is None
    assert old.pod_links() == ["net1-0"]
    old.adopt()
    assert await replay(old.engine, old.folder / "run" / "tombstones") == 0
    assert old.pod_links() == []
    assert old.held() == {}


async def adopted(rig: Rig, *, in_api: bool = True, links: bool = True) -> str:
    """``web-0`` with one address, attached by the original in container c1; its UID."""
    if links:
        make_link(rig.pod("c1"), "net1-0", "192.168.0.1/18")
    uid = rig.add_pod("web-0") if in_api else ""
    await write(rig, POOL, entry(1))
    rig.adopt()
    return uid


@pytest.mark.parametrize("links", [True, False], ids=["sandbox there", "sandbox gone"])
@pytest.mark.parametrize("in_api", [True, False], ids=["pod there", "pod gone"])
async def test_dead_is_what_has_neither_sandbox_nor_pod(old: Rig, in_api: bool, links: bool) -> None:
    """One of the two alone proves nothing."""
    await adopted(old, in_api=in_api, links=links)
    dead = not in_api and not links
    assert await old.adoption.release_dead() == dead
    assert bool(old.held()) is not dead


async def test_pod_of_another_node_or_uid_is_not_that_pod(old: Rig) -> None:
    """A name that lives on elsewhere, or again, does not keep an address for ever."""
    await adopted(old, links=False)
    assert await old.adoption.release_dead() == 0
    await old.kubernetes.delete(PODS, "web-0", "default")
    old.kubernetes.seed(PODS, {"metadata": {"name": "web-0", "namespace": "default"}, "spec": {"nodeName": "node-2"}})
    assert await old.adoption.release_dead() == 1


async def test_errors_and_silence_prove_nothing(old: Rig) -> None:
    """A list that has not come, an answer that is an error, a namespace that cannot be looked into."""
    await adopted(old, in_api=False, links=False)
    with old.kubernetes.stale():
        assert await old.adoption.release_dead() == 0
    for status in (0, 403, 500, 503):
        old.kubernetes.fail(ApiError("no", status=status), verb="get", resource=PODS)
        assert await old.adoption.release_dead() == 0
    old.kernel.before_step = refuse("survey")
    with pytest.raises(KernelError):
        await old.adoption.release_dead()
    assert old.held() == {POOL: 1}
    old.kernel.before_step = lambda step: None
    assert await old.adoption.release_dead() == 1
    assert old.held() == {}


async def test_a_stale_list_is_checked_against_the_api(old: Rig) -> None:
    """A pod that the watch has not shown yet lives."""
    await adopted(old, in_api=False, links=False)
    old.adoption._pods()
    with old.kubernetes.stale():
        old.add_pod("web-0")
        assert await old.adoption.release_dead() == 0
    assert old.held() == {POOL: 1}


async def test_what_was_written_in_another_boot_is_dead(rig: Rig) -> None:
    """The mirror names the boot: a reboot needs no further proof, and the pools start anew."""
    await rig.call("ADD")
    await mirror_once(rig)
    assert len(rig.mirrored()) == 3
    shutil.rmtree(rig.pod())
    rig.lose_journal(boot="boot-2")
    assert rig.held() == {}
    await mirror_once(rig)
    assert rig.mirrored() == {}
    pool = rig.kubernetes.store(IPPOOLS).get(POOL)
    assert pool is not None
    assert (pool.metadata.annotations or {})[BOOT_ANNOTATION] == "boot-2"
    assert addresses(await rig.call("ADD", "c2"))[0] == "192.168.0.1/18"


async def mirror_once(rig: Rig) -> None:
    """Let the mirror follow."""
    from multinic_daemon.pools.mirrorkeeper import MirrorKeeper

    keeper = MirrorKeeper(rig.kubernetes, NODE, rig.pools, rig.journal, rig.engine.gate, rig.adoption.take_pool)
    for pool in rig.kubernetes.store(IPPOOLS).list():
        await keeper._write(pool.name)


async def test_del_of_an_adopted_pod_removes_its_links_and_frees_its_addresses(old: Rig) -> None:
    """Known by nothing but namespace and name, and by what its sandbox holds; another interface of it stays."""
    make_link(old.pod("c1"), "net1-0", "192.168.0.1/18")
    make_link(old.pod("c1"), "net1-1", "192.168.64.1/18")
    make_link(old.pod("c1"), "net2-0", "192.168.0.2/18")
    make_link(old.pod("c1"), "eth0", "10.244.0.3/24")
    old.add_pod("web-0")
    await write(old, POOL, entry(1), entry(2))
    await write(old, SECOND, entry(1, base="192.168.64"))
    old.adopt()
    await old.call("DEL", args=ARGS.format("u1"))
    assert old.pod_links() == ["eth0", "net2-0"]
    assert old.held() == {POOL: 1}
    await old.call("DEL", args=ARGS.format("u1"))
    assert old.held() == {POOL: 1}
    await old.call("DEL", ifname="net2", args=ARGS.format("u1"))
    assert old.held() == {}
    assert old.pod_links() == ["eth0"]


@pytest.mark.parametrize("netns", ["", "/run/netns/gone"])
async def test_del_without_a_sandbox_frees_what_nobody_holds(old: Rig, netns: str) -> None:
    """The runtime has removed the namespace already."""
    await adopted(old, links=False)
    await old.call("DEL", netns=netns, args=ARGS.format("u1"))
    assert old.held() == {}


@pytest.mark.parametrize("uid", ["new", "old", ""], ids=["the new pod's UID", "the old pod's UID", "no UID"])
@pytest.mark.parametrize("netns", ["", "c0"], ids=["no namespace", "the old sandbox"])
async def test_late_del_of_an_old_sandbox_frees_nothing_of_a_pod_that_lives_again(
    old: Rig, uid: str, netns: str
) -> None:
    """web-0 was made again with grace 0 and attached by the original; its address is in another sandbox."""
    new = await adopted(old)
    await old.adoption.release_dead()
    where = old.pod(netns) if netns else ""
    await old.call("DEL", "c0", netns=where, args=ARGS.format(new if uid == "new" else uid))
    assert old.held() == {POOL: 1}
    assert old.pod_links() == ["net1-0"]


async def test_late_del_with_another_uid_frees_nothing_even_without_links(old: Rig) -> None:
    """UIDs are never used twice."""
    uid = await adopted(old, links=False)
    await old.adoption.release_dead()
    await old.call("DEL", "c0", netns="", args=ARGS.format("u1"))
    assert old.held() == {POOL: 1}
    await old.call("DEL", "c1", netns="", args=ARGS.format(uid))
    assert old.held() == {}


async def test_same_name_made_again_with_grace_0(rig: Rig) -> None:
    """All ours: the new sandbox of web-0 keeps its addresses through any number of DELs of the old one."""
    await rig.call("ADD", "c1", args=ARGS.format("u1"))
    new = await rig.call("ADD", "c2", args=ARGS.format("u2"))
    shutil.rmtree(rig.pod("c1"))
    for _ in range(2):
        await rig.call("DEL", "c1", netns="", args=ARGS.format("u1"))
    assert addresses_of(rig, "c2") == sorted(addresses(new))
    assert len(rig.pod_links("c2")) == 3
    assert set(rig.held().values()) == {1}


async def test_adopted_pod_made_again_here_gets_new_addresses_and_the_old_ones_go(old: Rig) -> None:
    """The new sandbox is ours, the late DEL of the old one frees the old addresses alone."""
    first = await adopted(old)
    await old.adoption.release_dead()
    await old.kubernetes.delete(PODS, "web-0", "default")
    new = await old.call("ADD", "c2", args=ARGS.format(old.add_pod("web-0")))
    await old.call("DEL", "c1", args=ARGS.format(first))
    assert addresses_of(old, "c2") == sorted(addresses(new))
    assert set(old.held().values()) == {1}
    assert old.pod_links("c1") == []


async def test_adopted_name_is_not_tied_to_a_pod_that_has_a_row_of_its_own(old: Rig) -> None:
    """A pod that this daemon attached is not the one that the original attached under that name."""
    await write(old, POOL, entry(1))
    old.adopt()
    await old.call("ADD", "c2", args=ARGS.format(old.add_pod("web-0")))
    assert await old.adoption.release_dead() == 0
    (row,) = old.journal.taken_over()
    assert row.pod.uid == ""


async def test_gc_leaves_what_it_cannot_name(old: Rig) -> None:
    """Nobody could have put an unknown container id into the valid list."""
    await adopted(old)
    await old.call("ADD", "c2")
    await old.call("GC", "", netns="", **{"cni.dev/valid-attachments": []})
    assert old.held() == {POOL: 1}
    assert old.pod_links("c2") == []


async def test_check_of_an_adopted_pod_looks_at_the_kernel(old: Rig) -> None:
    """Its addresses must be on the links of that interface."""
    await adopted(old)
    previous = {"cniVersion": "1.1.0", "ips": [{"address": "192.168.0.1/18"}]}
    assert await old.call("CHECK", args=ARGS.format("u1"), prevResult=previous) is None
    Path(old.pod(), "net1-0").unlink()
    assert "192.168.0.1" in await old.refused(CheckFailedError, "CHECK", args=ARGS.format("u1"), prevResult=previous)
    strange = {"cniVersion": "1.1.0", "ips": [{"address": "192.168.0.77/18"}]}
    assert "not attached" in await old.refused(CheckFailedError, "CHECK", "c5", prevResult=strange)


async def test_entry_that_somebody_writes_later_is_held_before_the_next_add(rig: Rig) -> None:
    """The original's daemon may still be about while the new one starts."""
    await write(rig, POOL, entry(1))
    assert addresses(await rig.call("ADD"))[0] == "192.168.0.2/18"
    assert states(rig) == [("web-0", ["192.168.0.1/18"])]


async def test_entry_whose_pod_has_left_is_not_held_again_when_the_mirror_is_written(old: Rig) -> None:
    """It stands in the pool until then, and in the next version of it only if somebody wrote it again."""
    await adopted(old, links=False)
    await old.call("DEL", netns="", args=ARGS.format("u1"))
    await mirror_once(old)
    assert (old.held(), old.mirrored()) == ({}, {})
    await write(old, POOL, entry(1))
    assert old.held() == {POOL: 1}


async def test_pool_that_comes_later_is_taken_over_too(rig: Rig) -> None:
    """With what this generation had written into it in this boot."""
    await rig.call("ADD")
    await mirror_once(rig)
    body = rig.kubernetes.raw(IPPOOLS, POOL)
    await rig.kubernetes.delete(IPPOOLS, POOL)
    rig.lose_journal()
    shutil.rmtree(rig.pod())
    rig.kubernetes.seed(
        IPPOOLS, {"metadata": {k: body["metadata"][k] for k in ("name", "labels", "annotations")}, "spec": body["spec"]}
    )
    assert rig.held()[POOL] == 1


async def test_recovery_leaves_rows_taken_over(old: Rig) -> None:
    """They are whole, and need no finishing."""
    await adopted(old)
    old.restart()
    assert await recover(old.engine) == 0
    assert old.held() == {POOL: 1}


async def test_service_takes_over_and_lets_go_by_itself(old: Rig, autojump_clock: Any) -> None:
    """As the daemon runs it: stock, tombstones, then proof as pods change."""
    await write(old, POOL, entry(1), entry(2, "db-0"))
    old.add_pod("web-0")
    async with trio.open_nursery() as nursery:
        await nursery.start(old.adoption.serve, old.folder / "run" / "tombstones")
        await old.engine.gate.wait_open()
        assert old.journal.marked(NODE_MARK)
        await until(lambda: old.held() == {POOL: 1})
        await old.kubernetes.delete(PODS, "web-0", "default")
        before = trio.current_time()
        await until(lambda: old.held() == {})
        assert trio.current_time() - before < 5
        nursery.cancel_scope.cancel()


async def test_first_list_of_pods_is_looked_at_when_it_comes(old: Rig, autojump_clock: Any) -> None:
    """Also where it is empty, and so announces no pod: nothing waits for the next regular look."""
    await write(old, POOL, entry(1))
    async with trio.open_nursery() as nursery:
        with old.kubernetes.stale():
            await nursery.start(old.adoption.serve, old.folder / "run" / "tombstones")
            await trio.sleep(PROOF_SECONDS / 2)
            assert states(old) == [("web-0", ["192.168.0.1/18"])]
        before = trio.current_time()
        await until(lambda: states(old) == [])
        assert trio.current_time() - before < 5
        nursery.cancel_scope.cancel()


async def test_kernel_that_cannot_be_read_keeps_the_node_closed(old: Rig, autojump_clock: Any) -> None:
    """And says why, until it can."""
    old.kernel.before_step = refuse("survey")
    async with trio.open_nursery() as nursery:
        await nursery.start(old.adoption.serve, old.folder / "run" / "tombstones")
        await until(lambda: "EBUSY" in old.engine.gate.reason)
        old.kernel.before_step = lambda step: None
        await old.engine.gate.wait_open()
        nursery.cancel_scope.cancel()


async def test_entry_that_cannot_be_written_down_closes_the_node(
    rig: Rig, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it can: an address that is not held could be given."""

    def full(*_: Any) -> None:
        raise JournalError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(rig.journal, "take_over", full)
        await write(rig, POOL, entry(1))
    assert "disk full" in await rig.refused(DaemonUnavailableError, "ADD")
    async with trio.open_nursery() as nursery:
        rig.restart(adopting=False)
        await nursery.start(rig.adoption.serve, rig.folder / "run" / "tombstones")
        await rig.engine.gate.wait_open()
        assert addresses(await rig.call("ADD"))[0] == "192.168.0.2/18"
        monkeypatch.setattr(rig.journal, "take_over", full)
        await write(rig, POOL, entry(1), entry(9, "db-0"))
        assert not rig.engine.gate.is_open
        monkeypatch.undo()
        await rig.engine.gate.wait_open()
        assert 9 in rig.journal.held(POOL)
        nursery.cancel_scope.cancel()


async def until(true: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        while not true():
            await trio.sleep(0.1)
