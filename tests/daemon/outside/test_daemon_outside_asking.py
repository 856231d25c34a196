"""In which namespace an executable's DEL is let."""

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from multinic_daemon.outside.asking import site_of
from multinic_daemon.recovery.recovery import recover
from multinic_daemon.testing import Rig
from multinic_daemon.testing.executables import Executables, Others

from multinic_core.outside import RunPlugin

STEP = RunPlugin("net1-0", "eth1", {"type": "fake-plugin"})


@pytest.fixture
def netns() -> Iterator[str]:
    """The namespace of a process that lives as long as the test."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield f"/proc/{process.pid}/ns/net"
        process.kill()


@pytest.mark.parametrize("prefix", ["", "/proc/../"])
async def test_process_that_was_started_after_the_row_is_another_pods(rig: Rig, netns: str, prefix: str) -> None:
    """The number of the pod's process was given again; whether recorded or told by somebody else."""
    netns, before, after = f"{prefix}{netns}", time.time() - 3600, time.time() + 3600
    for created, seen in ((after, netns), (before, "")):
        rig.now = created
        await rig.call("ADD", f"c{created}")
        (record,) = rig.journal.of_interface(f"c{created}", "net1")
        assert site_of(replace(record, netns=netns), STEP, gone=True).netns == seen
        gone = replace(record, netns="/nowhere")
        assert site_of(gone, STEP, netns, gone=True).netns == seen
        assert site_of(gone, STEP, f"/proc/{os.getpid()}/ns/nothing", gone=True).netns == ""


async def test_row_of_another_boot_names_no_namespace(tmp_path: Path) -> None:
    """Its path may lead to a pod of this boot."""
    others = Others.on(Rig(tmp_path))
    await others.call("ADD", "acting")
    netns = Path(others.rig.pod())
    for file in netns.iterdir():
        file.unlink()
    others.rig.restart(boot="boot-2")
    again = Others.on(others.rig)
    assert await recover(again.rig.engine) == 0
    assert netns.is_dir()
    assert again.executables.environment("DEL", "net1-0", Executables.IPAM)["CNI_NETNS"] == ""
    again.rig.journal.close()
