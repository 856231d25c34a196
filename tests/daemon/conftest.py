"""The node that tests of the daemon work on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from multinic_daemon.engine.lanes import Held
from multinic_daemon.testing import Rig, run_in_place


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A node with three NICs and network ``net-a`` over all of them."""
    made = Rig(tmp_path)
    yield made
    made.journal.close()


@pytest.fixture
def autojump_clock(autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch) -> trio.abc.Clock:
    """The clock of pytest-trio, and no thread with the kernel's work, which it would overtake."""
    monkeypatch.setattr(Held, "run", run_in_place)
    return autojump_clock
