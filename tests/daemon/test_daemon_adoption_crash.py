"""kill -9 while a journal that knows nothing takes over what there is, and while that goes again."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from multinic_daemon import crashpoints
from multinic_daemon.recovery.recovery import recover
from multinic_daemon.testing import Rig
from multinic_daemon.testing.forks import Forks
from multinic_daemon.testing.takeovers import ARGS, POOL, foreign_node

SCENARIOS = {
    "adoption.surveyed": ["ADOPT"],
    "adoption.written": ["ADOPT"],
    "adoption.held": ["ADOPT"],
    "takenover.unlinked": ["ADOPT", "DEL"],
    "takenover.marked": ["ADOPT", "DEL"],
    "takenover.removed": ["ADOPT", "DEL"],
    "takenover.released": ["ADOPT", "DEL"],
    "proof.marked": ["ADOPT", "DEAD"],
    "proof.removed": ["ADOPT", "DEAD"],
    "proof.released": ["ADOPT", "DEAD"],
}


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.close()


@pytest.mark.parametrize("name", SCENARIOS)
def test_crash_while_taking_over(tmp_path: Path, forks: Forks, name: str) -> None:
    """A new daemon holds what lives and nothing else, gives none of it to others, and DEL frees it."""
    forks.crash("multinic_daemon.testing.takeovers:main", tmp_path, *SCENARIOS[name], at=name)
    rig = foreign_node(tmp_path)
    rig.adopt()
    assert trio.run(recover, rig.engine) == 0
    # What went in the middle may be held again by the entry of the mirror, which is older; never the reverse.
    assert rig.held()[POOL] in {1, 2}
    assert 2 in rig.journal.held(POOL)
    assert "192.168.0.2/18" not in trio.run(given, rig)
    for container, pod in (("c1", "web-0"), ("c2", "db-0")):
        trio.run(delete, rig, container, pod)
    assert rig.held() == {}
    assert rig.pod_links("c1") == rig.pod_links("c2") == []
    rig.journal.close()


async def given(rig: Rig) -> list[str]:
    """Addresses of an attachment made and removed."""
    result = await rig.call("ADD", "c9")
    await rig.call("DEL", "c9")
    return [ip["address"] for ip in result["ips"]]


async def delete(rig: Rig, container: str, pod: str) -> None:
    await rig.call("DEL", container, args=ARGS.format(pod))


def test_crash_between_keeping_aside_and_beginning_anew(tmp_path: Path, forks: Forks) -> None:
    """The refused file is there once, and what the kernel shows is held by the next daemon."""
    rig = Rig(tmp_path)
    trio.run(rig.call, "ADD")
    rig.adoption.close()
    rig.journal.close()
    path = tmp_path / "run" / "journal.db"
    path.write_bytes(b"spoilt" * 1000)
    pid = forks.start(
        "multinic_daemon.testing.takeovers:main",
        str(tmp_path),
        output=tmp_path / "output",
        environment={crashpoints.VARIABLE: "journal.aside"},
    )
    assert forks.wait(pid) == -signal.SIGKILL, (tmp_path / "output").read_text()
    rig = Rig(tmp_path)
    (aside,) = path.parent.glob("journal.db.refused-damaged-*")
    assert aside.read_bytes() == b"spoilt" * 1000
    assert set(rig.held().values()) == {1}
    trio.run(rig.call, "DEL")
    assert rig.held() == {}
    assert rig.pod_links() == []
    rig.journal.close()
