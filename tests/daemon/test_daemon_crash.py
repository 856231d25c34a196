"""kill -9 at every named instant of ADD, DEL and recovery: what a new daemon then finds and makes of it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from multinic_daemon import crashpoints
from multinic_daemon.recovery import recover
from multinic_daemon.testing import Rig, links

CHILD = """
import os, signal, sys
from pathlib import Path
import trio
from multinic_daemon.recovery import recover
from multinic_daemon.testing import Rig, refuse

rig = Rig(Path(sys.argv[1]))
for action in sys.argv[2:]:
    kind, _, step = action.partition(":")
    if kind == "recover":
        trio.run(recover, rig.engine)
    elif kind == "refuse":
        rig.kernel.before_step, rig.kernel.undo = refuse(step), False
    elif kind == "kill":
        rig.kernel.before_step = lambda reached, step=step: reached == step and os.kill(os.getpid(), signal.SIGKILL)
    else:
        trio.run(rig.call, kind)
"""


def run(folder: Path, *actions: str, crash_at: str = "") -> None:
    """Run these actions in a process of its own, which must die by SIGKILL."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), *actions],
        env=dict(os.environ) | {crashpoints.VARIABLE: crash_at},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def audit(rig: Rig) -> None:
    """Links in every namespace belong to ready rows and the other way round; held addresses are those of rows."""
    records = rig.journal.of_network("multi-nic", "net-a")
    assert {record.state for record in records} <= {"ready"}
    wanted = {(r.netns, link.ifname, r.group) for r in records for link in r.plan.links}
    there = {
        (str(netns), ifname, content["group"])
        for netns in (rig.folder / "netns").iterdir()
        for ifname, content in links(netns).items()
    }
    assert there == wanted
    assert sum(rig.held().values()) == sum(len(rig.journal.allocations(record)) for record in records)


@pytest.mark.parametrize(
    ("crash_at", "actions"),
    [
        ("add.journaled", ["ADD"]),
        ("add.applied", ["ADD"]),
        ("undo.removed", ["refuse:link net1-1", "ADD"]),
        ("del.marked", ["ADD", "DEL"]),
        ("del.removed", ["ADD", "DEL"]),
        ("del.released", ["ADD", "DEL"]),
        ("", ["kill:link net1-0", "ADD"]),
        ("", ["kill:link net1-2", "ADD"]),
        ("", ["ADD", "kill:remove", "DEL"]),
    ],
)
async def test_crash_leaves_nothing_once_a_daemon_is_back(tmp_path: Path, crash_at: str, actions: list[str]) -> None:
    """And the pod can be attached again, or detached again, as if nothing had been."""
    run(tmp_path, *actions, crash_at=crash_at)
    rig = Rig(tmp_path)
    await recover(rig.engine)
    audit(rig)
    rig.assert_clean()
    await rig.call("DEL")
    await rig.call("ADD")
    audit(rig)
    rig.journal.close()


async def test_crash_after_the_last_write_keeps_the_attachment(tmp_path: Path) -> None:
    """The runtime lost the answer; asking again gives it, and DEL removes it."""
    run(tmp_path, "ADD", crash_at="add.ready")
    rig = Rig(tmp_path)
    await recover(rig.engine)
    audit(rig)
    assert len((await rig.call("ADD"))["interfaces"]) == 3
    assert set(rig.held().values()) == {1}
    await rig.call("DEL")
    rig.assert_clean()
    rig.journal.close()


async def test_crash_during_recovery_is_recovered(tmp_path: Path) -> None:
    """Recovery may itself be killed."""
    run(tmp_path, "ADD", crash_at="add.applied")
    run(tmp_path, "recover", crash_at="recovery.removed")
    rig = Rig(tmp_path)
    await recover(rig.engine)
    rig.assert_clean()
    rig.journal.close()


def test_every_named_point_is_used() -> None:
    """A point that no step reaches would make its test pass by doing nothing."""
    package = Path(crashpoints.__file__).parent
    source = "\n".join(file.read_text() for file in package.rglob("*.py") if file.name != "crashpoints.py")
    for name in crashpoints.NAMES:
        prefix, _, step = name.partition(".")
        assert (
            f'"{name}"' in source
            or (f'{{point}}.{step}"' in source and f'point: str = "{prefix}"' in source)
            or (f'{{point}}.{step}"' in source and f'point="{prefix}"' in source)
        ), name
