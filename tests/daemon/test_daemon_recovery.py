"""What a new daemon finds, finishes and leaves; and DELs that came while there was none."""

import json
import os
import shutil
from pathlib import Path

from multinic_daemon.calls.request import CniRequest
from multinic_daemon.recovery.recovery import recover
from multinic_daemon.recovery.tombstones import replay
from multinic_daemon.testing import Rig, addresses, refuse


async def test_half_made_attachment_is_removed(rig: Rig) -> None:
    """A row left pending loses its links, then its addresses."""
    await rig.call("ADD")
    record = rig.journal.of_interface("c1", "net1")[0]
    rig.journal._update(record, "pending", "")
    rig.restart()
    assert await recover(rig.engine) == 0
    rig.assert_clean()


async def test_half_removed_attachment_is_removed(rig: Rig) -> None:
    """A row left deleting goes, whether or not its links still exist."""
    await rig.call("ADD")
    rig.journal.mark_deleting(rig.journal.of_interface("c1", "net1")[0])
    shutil.rmtree(rig.pod())
    rig.restart()
    assert await recover(rig.engine) == 0
    rig.assert_clean()


async def test_ready_attachment_survives_a_restart(rig: Rig) -> None:
    """With its answer; also when its namespace has vanished, because only DEL, GC or a new boot proves a pod dead."""
    result = await rig.call("ADD")
    await rig.call("ADD", "c2")
    shutil.rmtree(rig.pod("c2"))
    rig.restart()
    assert await recover(rig.engine) == 0
    assert await rig.call("ADD") == result
    assert set(rig.held().values()) == {2}


async def test_rows_of_another_boot_are_forgotten(rig: Rig) -> None:
    """Their links cannot exist, and the kernel is not asked."""
    await rig.call("ADD")
    rig.restart(boot="boot-2")
    rig.kernel.calls.clear()
    assert await recover(rig.engine) == 0
    assert rig.held() == {}
    assert rig.kernel.calls == []


async def test_row_the_kernel_will_not_let_go_blocks_nothing_else(rig: Rig) -> None:
    """It keeps its addresses, is reported, and others are attached."""
    await rig.call("ADD")
    rig.journal.mark_deleting(rig.journal.of_interface("c1", "net1")[0])
    rig.restart()
    rig.kernel.before_step = refuse("remove")
    assert await recover(rig.engine) == 1
    assert addresses(await rig.call("ADD", "c2"))[0] == "192.168.0.2/18"


def tombstone(rig: Rig, name: str, *, container: str = "c1", command: str = "DEL", body: bytes | None = None) -> Path:
    """A DEL as the executable leaves it when no daemon is there."""
    variables = {
        "CNI_PLUGIN": "multi-nic",
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_IFNAME": "net1",
        "CNI_NETNS": "",
    }
    frame = b"".join(f"{key}={value}\0".encode() for key, value in variables.items()) + b"\0"
    file = rig.folder / "run" / "tombstones" / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(frame + (json.dumps(rig.netconf()).encode() if body is None else body))
    return file


async def test_tombstone_is_honoured_and_removed(rig: Rig) -> None:
    """What the runtime was promised is done at start."""
    await rig.call("ADD")
    file = tombstone(rig, "a1")
    assert await replay(rig.engine, file.parent) == 0
    rig.assert_clean()
    assert not file.exists()


async def test_tombstone_the_kernel_refuses_is_kept(rig: Rig) -> None:
    """Until the kernel allows it."""
    await rig.call("ADD")
    file = tombstone(rig, "a1")
    rig.kernel.before_step = refuse("remove")
    assert await replay(rig.engine, file.parent) == 1
    assert file.exists()


async def test_tombstone_older_than_the_attachment_is_dropped(rig: Rig) -> None:
    """It was meant for an earlier attachment under that name."""
    file = tombstone(rig, "a1")
    os.utime(file, (900, 900))
    await rig.call("ADD")
    assert await replay(rig.engine, file.parent) == 0
    assert len(rig.pod_links()) == 3
    assert not file.exists()


async def test_only_finished_dels_are_honoured(rig: Rig) -> None:
    """A file still being written is left, one that is no DEL of ours is removed without effect."""
    await rig.call("ADD")
    unfinished = tombstone(rig, ".a1")
    for number, spoilt in enumerate(
        (
            tombstone(rig, "a2", command="GC"),
            tombstone(rig, "a3", body=b"{"),
            tombstone(rig, "a4", container="../.."),
        )
    ):
        assert spoilt.exists(), number
    assert await replay(rig.engine, unfinished.parent) == 0
    assert list(unfinished.parent.iterdir()) == [unfinished]
    assert len(rig.pod_links()) == 3


async def test_no_tombstones_is_no_work(rig: Rig) -> None:
    """The folder need not exist."""
    assert await replay(rig.engine, rig.folder / "none") == 0


async def test_request_type_is_the_one_that_is_replayed(rig: Rig) -> None:
    """The frame above is what the executables write."""
    from multinic_daemon.calls.request import parse_request

    request = parse_request(tombstone(rig, "a1").read_bytes())
    assert isinstance(request, CniRequest)
    assert (request.command, request.container_id) == ("DEL", "c1")
