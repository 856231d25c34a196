"""kill -9 at every instant at which executables or actions have a part, and what a new daemon makes of it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from multinic_daemon.recovery import recovery
from multinic_daemon.recovery.recovery import recover
from multinic_daemon.recovery.sweep import serve_sweep
from multinic_daemon.testing import Rig
from multinic_daemon.testing.executables import Executables, Others
from multinic_daemon.testing.forks import Forks

from multinic_core.errors import ExecutableError

ACTING, PLUGGED = "acting", Executables.PLUGIN
SCENARIOS = [
    ("add.decided", ACTING, ["ADD"]),
    ("add.journaled", ACTING, ["ADD"]),
    ("outside.addressed", ACTING, ["ADD"]),
    ("outside.planned", ACTING, ["ADD"]),
    ("outside.acted", ACTING, ["ADD"]),
    ("apply.created", ACTING, ["ADD"]),
    ("add.applied", ACTING, ["ADD"]),
    ("outside.planned", PLUGGED, ["ADD"]),
    ("outside.plugged", PLUGGED, ["ADD"]),
    ("del.marked", ACTING, ["ADD", "DEL"]),
    ("del.marked", PLUGGED, ["ADD", "DEL"]),
    ("outside.unplugged", PLUGGED, ["ADD", "DEL"]),
    ("del.removed", ACTING, ["ADD", "DEL"]),
    ("outside.taken_back", ACTING, ["ADD", "DEL"]),
    ("outside.freed", ACTING, ["ADD", "DEL"]),
    ("outside.freed", PLUGGED, ["ADD", "DEL"]),
    ("del.released", ACTING, ["ADD", "DEL"]),
]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.close()


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie, which has no environment any more."""
    try:
        return bool(Path("/proc", str(pid), "environ").read_bytes())
    except OSError:
        return False


@pytest.mark.parametrize(
    ("at", "kind", "commands"), SCENARIOS, ids=lambda value: value if isinstance(value, str) else "-".join(value)
)
async def test_new_daemon_undoes_what_was_begun(
    forks: Forks, tmp_path: Path, at: str, kind: str, commands: list[str]
) -> None:
    """Whatever was asked of others is taken back from the row alone; then the same can be done again."""
    words = [word for command in commands for word in (command, kind)]
    forks.crash("multinic_daemon.testing.executables:main", tmp_path, *words, at=at)
    others = Others.on(Rig(tmp_path))
    assert await recover(others.rig.engine) == 0
    others.assert_clean()
    await others.call("ADD", kind)
    assert len(others.executables.given()) == 3
    await others.call("DEL", kind)
    others.assert_clean()
    others.rig.journal.close()


async def test_executable_that_outlives_its_daemon_is_ended_before_del(forks: Forks, tmp_path: Path) -> None:
    """Else its ADD would go on after the DEL that takes back what it gives."""
    others = Others.on(Rig(tmp_path))
    others.rig.journal.close()
    others.executables.tell("hang-ADD-net1-0")
    daemon = forks.start(
        "multinic_daemon.testing.executables:main", str(tmp_path), "ADD", ACTING, output=tmp_path / "output"
    )
    hanging = others.executables.folder / "hanging"
    with trio.fail_after(60):
        while not (hanging.exists() and hanging.read_text().strip()):
            await trio.sleep(0.01)
    os.kill(daemon, signal.SIGKILL)
    forks.wait(daemon)
    pid = int(hanging.read_text())
    assert alive(pid)
    others.executables.untell("hang-ADD-net1-0")
    again = Others.on(Rig(tmp_path))
    assert await recover(again.rig.engine) == 0
    assert not alive(pid)
    again.assert_clean()
    again.rig.journal.close()


async def test_ready_row_of_another_boot_gives_back_what_outlived_it(tmp_path: Path) -> None:
    """Links go with a boot, leases and what actions did do not: a journal on a disk still knows of them."""
    others = Others.on(Rig(tmp_path))
    await others.call("ADD", ACTING)
    for file in Path(others.rig.pod()).iterdir():
        file.unlink()
    others.rig.restart(boot="boot-2")
    again = Others.on(others.rig)
    assert await recover(again.rig.engine) == 0
    again.assert_clean()
    again.rig.journal.close()


async def test_start_does_not_wait_for_an_executable_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that somebody hangs at is left to the sweep, and the daemon goes on."""
    others = Others.on(Rig(tmp_path))
    await others.call("ADD", ACTING)
    others.rig.journal.mark_deleting(others.rig.journal.of_interface("c1", "net1")[0])
    others.executables.tell("hang-DEL-net1-2")
    monkeypatch.setattr(recovery, "OTHERS_SECONDS", 0.3)
    assert await recover(others.rig.engine) == 1
    assert len(others.executables.given()) == 3
    assert list(await others.rig.engine.leftovers.take()) == [1]
    others.executables.untell("hang-DEL-net1-2")
    await others.call("DEL", ACTING)
    others.assert_clean()
    others.rig.journal.close()


async def test_sweep_finishes_what_an_executable_refused(tmp_path: Path) -> None:
    """A DEL that an executable refused is tried again without anybody asking, until it does not refuse."""
    others = Others.on(Rig(tmp_path))
    await others.call("ADD", ACTING)
    others.executables.tell("refuse-DEL-net1-1")
    with pytest.raises(ExecutableError):
        await others.call("DEL", ACTING)
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_sweep, others.rig.engine)
        others.executables.untell("refuse-DEL-net1-1")
        with trio.fail_after(60):
            while others.rig.journal.of_interface("c1", "net1"):
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    others.assert_clean()
    others.rig.journal.close()
