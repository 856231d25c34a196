"""DEL and GC: what the record says goes, nothing else, however awkwardly asked."""

import json
import shutil

import pytest
import trio
from multinic_daemon.testing import NETWORK, Rig, refuse

from multinic_core.errors import ConfigError, DecodeError, IncompatibleVersionError, InvocationError, KernelError
from multinic_core.model import IPPOOLS, NETWORKS


async def test_del_removes_links_and_frees_addresses(rig: Rig) -> None:
    """And says nothing, as the specification asks."""
    await rig.call("ADD")
    assert await rig.call("DEL") is None
    rig.assert_clean()


async def test_del_of_what_was_never_attached_succeeds(rig: Rig) -> None:
    """No record, no work."""
    assert await rig.call("DEL") is None
    assert rig.kernel.calls == []


async def test_del_twice_succeeds(rig: Rig) -> None:
    """DEL after DEL changes nothing."""
    await rig.call("ADD")
    await rig.call("DEL")
    assert await rig.call("DEL") is None
    rig.assert_clean()


@pytest.mark.parametrize("netns", ["", "/nowhere/at/all", "\x01"])
async def test_del_needs_no_namespace(rig: Rig, netns: str) -> None:
    """The record knows where the links are."""
    await rig.call("ADD")
    await rig.call("DEL", netns=netns)
    rig.assert_clean()


async def test_del_of_a_vanished_namespace_frees_its_addresses(rig: Rig) -> None:
    """The links went with it."""
    await rig.call("ADD")
    shutil.rmtree(rig.pod())
    await rig.call("DEL")
    rig.assert_clean()


async def test_del_follows_a_namespace_to_another_path(rig: Rig) -> None:
    """A runtime may know the same namespace by two paths, of which the first is gone."""
    await rig.call("ADD")
    (rig.folder / "netns" / "c1").rename(rig.folder / "netns" / "moved")
    await rig.call("DEL", netns=str(rig.folder / "netns" / "moved"))
    assert rig.pod_links("moved") == []
    rig.assert_clean()


async def test_del_needs_neither_network_nor_pools_nor_api(rig: Rig) -> None:
    """A deleted network, or one edited into nonsense, does not keep a pod alive."""
    await rig.call("ADD")
    await rig.kubernetes.delete(NETWORKS, NETWORK)
    for pool in await rig.kubernetes.list(IPPOOLS):
        await rig.kubernetes.delete(IPPOOLS, pool.name)
    await rig.call("DEL", stdin=json.dumps({"name": NETWORK, "plugin": 7, "cniVersion": "99"}).encode())
    rig.assert_clean()


@pytest.mark.parametrize(
    ("stdin", "error"), [(b"", DecodeError), (b"[1]", DecodeError), (b"{}", ConfigError), (b'{"name": 3}', ConfigError)]
)
async def test_del_that_names_no_attachment_is_refused(rig: Rig, stdin: bytes, error: type[Exception]) -> None:
    """Success would be a lie: nobody could tell what to release."""
    await rig.call("ADD")
    await rig.refused(error, "DEL", stdin=stdin)
    assert len(rig.pod_links()) == 3


async def test_del_lists_every_missing_variable(rig: Rig) -> None:
    """Container id and interface name together are the attachment."""
    message = await rig.refused(InvocationError, "DEL", "", ifname="", netns="")
    assert message == "CNI_CONTAINERID: missing; CNI_IFNAME: missing"


async def test_del_leaves_other_attachments_alone(rig: Rig) -> None:
    """Of one pod's two interfaces, and of two pods, exactly one goes."""
    await rig.call("ADD")
    await rig.call("ADD", ifname="net2")
    await rig.call("ADD", "c2")
    await rig.call("DEL")
    assert rig.pod_links() == ["net2-0", "net2-1", "net2-2"]
    assert len(rig.pod_links("c2")) == 3
    assert set(rig.held().values()) == {2}


async def test_del_that_the_kernel_refuses_keeps_the_addresses(rig: Rig) -> None:
    """They are free when the links are known to be gone, and the next DEL tries again."""
    await rig.call("ADD")
    rig.kernel.before_step = refuse("remove")
    await rig.refused(KernelError, "DEL")
    assert [record.state for record in rig.journal.unfinished()] == ["deleting"]
    assert set(rig.held().values()) == {1}
    rig.kernel.before_step = refuse("nothing")
    await rig.call("DEL")
    rig.assert_clean()


async def test_forty_attachments_go_at_once(rig: Rig) -> None:
    """Detaching in parallel frees each exactly once."""
    for number in range(40):
        await rig.call("ADD", f"c{number}")
    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(rig.call, "DEL", f"c{number}")
    assert rig.held() == {}
    assert rig.journal.of_network("multi-nic", NETWORK) == []


async def test_gc_releases_exactly_what_is_not_listed(rig: Rig) -> None:
    """Of this network, by container id and interface name together."""
    rig.add_network("net-b", 1, prefix="172.30")
    await rig.call("ADD", "c1")
    await rig.call("ADD", "c1", ifname="net2")
    await rig.call("ADD", "c2")
    await rig.call("ADD", "c3", name="net-b")
    await rig.call("GC", **{"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "net2"}]})
    assert rig.pod_links("c1") == ["net2-0", "net2-1", "net2-2"]
    assert rig.pod_links("c2") == []
    assert rig.pod_links("c3") == ["net1-0"]
    assert rig.held() == dict.fromkeys(rig.held(), 1)
    assert len(rig.held()) == 4


async def test_gc_with_an_empty_list_releases_the_whole_network(rig: Rig) -> None:
    """An empty list is an answer; the older key counts as well."""
    await rig.call("ADD")
    await rig.call("GC", **{"cni.dev/attachments": []})
    rig.assert_clean()


async def test_gc_without_a_list_releases_nothing(rig: Rig) -> None:
    """A forgotten key is not an empty list."""
    await rig.call("ADD")
    assert "cni.dev/valid-attachments" in await rig.refused(ConfigError, "GC")
    assert len(rig.pod_links()) == 3


async def test_gc_goes_on_after_a_refusal_and_reports_it(rig: Rig) -> None:
    """One attachment that cannot go does not keep the others."""
    await rig.call("ADD", "c1")
    await rig.call("ADD", "c2")
    refused = []

    def once(step: str) -> None:
        if step == "remove" and not refused:
            refused.append(step)
            raise KernelError("no", 16)

    rig.kernel.before_step = once
    await rig.refused(KernelError, "GC", **{"cni.dev/valid-attachments": []})
    assert sorted(len(rig.pod_links(each)) for each in ("c1", "c2")) == [0, 3]


@pytest.mark.parametrize("command", ["GC", "STATUS"])
async def test_commands_of_a_newer_specification_need_its_version(rig: Rig, command: str) -> None:
    """As the specification's own libraries say it: code 1."""
    message = await rig.refused(IncompatibleVersionError, command, cniVersion="1.0.0")
    assert command in message
