"""IPPool.spec.allocations follows the journal: soon, in few writes, and never over somebody else's word."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_interface
from typing import Any

import trio
from multinic_daemon.journal.records import AttachmentKey, Record
from multinic_daemon.pools.mirror import (
    BOOT_ANNOTATION,
    HOLDERS,
    HOLDERS_ANNOTATION,
    INDEX_LIMIT,
    mirror_patch,
    read_mirror,
)
from multinic_daemon.pools.mirrorkeeper import PAUSE_SECONDS, MirrorKeeper
from multinic_daemon.testing import Rig
from multinic_daemon.testing.rig import NODE

from multinic_core.errors import ApiError
from multinic_core.model import IPPOOLS, IPPool
from multinic_core.plan import Allocation, PodReference

POOL = "net-a-192.168.0.0-24"
NEAR_SECONDS = 5.0


@asynccontextmanager
async def mirroring(rig: Rig) -> AsyncIterator[None]:
    """A daemon's mirror, kept while the block runs."""
    keeper = MirrorKeeper(rig.kubernetes, NODE, rig.pools, rig.journal, rig.engine.gate, rig.adoption.take_pool)
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.serve)
        yield
        nursery.cancel_scope.cancel()


async def until(true: Callable[[], bool], seconds: float = NEAR_SECONDS) -> None:
    """Wait until it is so, by trio's clock."""
    with trio.fail_after(seconds):
        while not true():
            await trio.sleep(0.05)


def args(name: str) -> str:
    return f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={name};K8S_POD_UID=uid-{name}"


async def test_entries_follow_add_and_del(rig: Rig, autojump_clock: Any) -> None:
    """Exactly the original's four fields, in every pool of the attachment."""
    async with mirroring(rig):
        await rig.call("ADD", args=args("web-0"))
        await until(lambda: len(rig.mirrored()) == 3)
        raw = rig.kubernetes.raw(IPPOOLS, POOL)
        assert raw["spec"]["allocations"] == [
            {"pod": "web-0", "namespace": "default", "index": 1, "address": "192.168.0.1"}
        ]
        assert raw["metadata"]["annotations"][BOOT_ANNOTATION] == "boot-1"
        await rig.call("DEL")
        await until(lambda: rig.mirrored() == {})


async def test_address_released_and_mirrored_meanwhile_is_free(rig: Rig, autojump_clock: Any) -> None:
    """Our own entries are never taken for somebody else's, however old the mirror is."""
    async with mirroring(rig):
        await rig.call("ADD")
        await until(lambda: len(rig.mirrored()) == 3)
        await rig.call("DEL")
        assert rig.held() == {}
        await rig.call("ADD", "c2")
        assert rig.journal.taken_over() == []
        await until(lambda: rig.mirrored()[POOL] == ["default/pod-1 192.168.0.2"])
    assert rig.journal.taken_over() == []


async def test_a_burst_is_one_write_per_pool_and_second(rig: Rig, autojump_clock: Any) -> None:
    """However many pods come and go."""
    async with mirroring(rig):
        start = trio.current_time()
        for number in range(60):
            await rig.call("ADD", f"c{number}")
            if number % 2:
                await rig.call("DEL", f"c{number}")
            await trio.sleep(0.05)
        await until(lambda: len(rig.mirrored().get(POOL, ())) == 30)
        elapsed = trio.current_time() - start
        writes = [write for write in rig.kubernetes.writes if write.key.name == POOL]
        assert 2 <= len(writes) <= elapsed / PAUSE_SECONDS + 1


async def test_nothing_changed_is_no_write(rig: Rig, autojump_clock: Any) -> None:
    """Not by time passing, not by a restart, not by an event that changes nothing, not by an empty pool."""
    async with mirroring(rig):
        await trio.sleep(60)
        assert rig.kubernetes.count() == 0
        await rig.call("ADD")
        await until(lambda: len(rig.mirrored()) == 3)
        assert rig.kubernetes.count("patch", IPPOOLS) == 3
        await trio.sleep(600)
    rig.restart()
    async with mirroring(rig):
        await rig.kubernetes.patch(IPPOOLS, POOL, {"metadata": {"labels": {"seen": "yes"}}})
        await trio.sleep(600)
    assert rig.kubernetes.count("patch", IPPOOLS) == 4


async def test_own_write_that_the_watch_has_not_brought_is_not_repeated(rig: Rig, autojump_clock: Any) -> None:
    """A slow watch costs neither conflicts nor writes."""
    async with mirroring(rig):
        await rig.call("ADD")
        with rig.kubernetes.stale():
            await trio.sleep(3)
            assert rig.kubernetes.count("patch", IPPOOLS) == 3
            await rig.call("ADD", "c2")
            await trio.sleep(3)
            assert rig.kubernetes.count("patch", IPPOOLS) == 6
            assert len(rig.kubernetes.raw(IPPOOLS, POOL)["spec"]["allocations"]) == 2


async def test_conflict_keeps_what_the_other_wrote(rig: Rig, autojump_clock: Any) -> None:
    """The operator's excludes and labels stay; a stranger's entry becomes a held address."""
    stranger = {"pod": "s", "namespace": "x", "index": 9, "address": "192.168.0.9"}
    async with mirroring(rig):
        with rig.kubernetes.stale():
            spec = {"excludes": ["192.168.0.128/25"], "allocations": [stranger]}
            await rig.kubernetes.patch(IPPOOLS, POOL, {"spec": spec, "metadata": {"labels": {"team": "a"}}})
            await rig.call("ADD")
            await trio.sleep(3)
            raw = rig.kubernetes.raw(IPPOOLS, POOL)
        assert raw["spec"]["excludes"] == ["192.168.0.128/25"]
        assert raw["metadata"]["labels"]["team"] == "a"
        assert [each["address"] for each in raw["spec"]["allocations"]] == ["192.168.0.1", "192.168.0.9"]
        assert rig.held()[POOL] == 2


async def test_somebody_who_wipes_the_mirror_is_corrected(rig: Rig, autojump_clock: Any) -> None:
    """The journal is the truth."""
    async with mirroring(rig):
        await rig.call("ADD")
        await until(lambda: len(rig.mirrored()) == 3)
        await rig.kubernetes.patch(
            IPPOOLS, POOL, {"spec": {"allocations": []}, "metadata": {"annotations": {BOOT_ANNOTATION: None}}}
        )
        await until(lambda: len(rig.mirrored()) == 3)
        assert rig.held()[POOL] == 1


async def test_api_away_delays_the_mirror_and_nothing_else(rig: Rig, autojump_clock: Any) -> None:
    """Pods start; once it is back the mirror is right within seconds."""
    async with mirroring(rig):
        rig.kubernetes.fail(ApiError("gone", status=0), verb="patch", resource=IPPOOLS, times=9)
        await rig.call("ADD")
        await rig.call("ADD", "c2")
        await until(lambda: all(len(rig.mirrored().get(pool, ())) == 2 for pool in rig.held()), 15)


async def test_pools_of_other_nodes_are_left_alone(rig: Rig, autojump_clock: Any) -> None:
    """Also one that carries this node's label by mistake."""
    rig.add_pool("net-a", "eth1", "192.168.5.0/24", "192.168.0.0/18", hostName="node-2")
    async with mirroring(rig):
        await rig.call("ADD")
        await until(lambda: len(rig.mirrored()) == 3)
        await rig.kubernetes.patch(IPPOOLS, "net-a-192.168.5.0-24", {"metadata": {"labels": {"seen": "yes"}}})
        await trio.sleep(5)
    assert rig.kubernetes.count("patch", IPPOOLS) == 4


def pool(**metadata: Any) -> IPPool:
    spec = {
        "podCIDR": "192.168.0.0/24",
        "vlanCIDR": "192.168.0.0/18",
        "netAttachDef": "net-a",
        "hostName": NODE,
        "interfaceName": "eth1",
        "excludes": [],
        "allocations": [],
    }
    return IPPool.model_validate({"metadata": {"name": POOL, **metadata}, "spec": spec})


def rows(count: int, *, index: int = 0, state: Any = "ready") -> list[tuple[Allocation, Record]]:
    found = []
    for number in range(1, count + 1):
        key = AttachmentKey("multi-nic", "net-a", f"{number:064x}", "net1")
        pod = PodReference("default", "pod", "u" * 36)
        record = Record(number, key, "/run/netns/x", pod, state, 7, "d", "[]", "", 5.0, 5.0, "b")
        address = ip_interface(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}/8")
        found.append((Allocation(POOL, "eth1", index or number, address), record))
    return found


def apply(target: IPPool, patch: Any) -> IPPool:
    document = target.to_json()
    document["metadata"]["annotations"] = patch["metadata"]["annotations"]
    document["spec"] |= patch["spec"]
    return IPPool.model_validate(document)


def test_what_is_written_is_read_back() -> None:
    """Who holds each address, by every field that taking over needs; and then nothing is left to write."""
    wanted = rows(3)
    patch = mirror_patch(pool(), wanted, "b")
    assert patch is not None
    written = apply(pool(), patch)
    mirror = read_mirror(written)
    assert mirror.boot_id == "b"
    for entry, (allocation, record) in zip(mirror.entries, wanted, strict=True):
        assert entry.holder is not None
        assert (entry.holder.key, entry.holder.uid, entry.holder.group) == (record.key, record.pod.uid, record.group)
        assert (entry.held.address, entry.holder.created) == (str(allocation.address.ip), 5.0)
    assert mirror_patch(written, wanted, "b") is None
    assert mirror_patch(written, rows(3, state="deleting"), "b") is None
    assert mirror_patch(written, rows(2), "b") is not None
    assert mirror_patch(written, wanted, "c") is not None


def test_annotation_keeps_within_what_an_object_may_carry() -> None:
    """256 KiB for all annotations."""
    patch = mirror_patch(pool(), rows(10 * HOLDERS), "b")
    assert patch is not None
    assert len(json.dumps(patch["metadata"]["annotations"])) < 200 << 10
    written = read_mirror(apply(pool(), patch))
    assert len(written.entries) == 10 * HOLDERS
    assert sum(entry.holder is not None for entry in written.entries) == HOLDERS


def test_index_beyond_what_an_api_server_takes_is_cut() -> None:
    """Addresses say it all; an entry that is refused would keep the whole pool from being written."""
    patch = mirror_patch(pool(), rows(1, index=1 << 90), "b")
    assert patch is not None
    assert patch["spec"]["allocations"][0]["index"] == INDEX_LIMIT


def test_annotation_that_cannot_be_read_makes_entries_strangers() -> None:
    """They are then held until their death is proven."""
    held = [{"pod": "p", "namespace": "n", "index": 1, "address": "192.168.0.1"}]
    for text in ("", "{", "[]", '{"192.168.0.9": []}', '{"192.168.0.1": ["a"]}'):
        document = pool(annotations={HOLDERS_ANNOTATION: text}).to_json()
        document["spec"]["allocations"] = held
        (entry,) = read_mirror(IPPool.model_validate(document)).entries
        assert entry.holder is None
