"""The node that tests of the daemon work on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from multinic_daemon.testing import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A node with three NICs and network ``net-a`` over all of them."""
    made = Rig(tmp_path)
    yield made
    made.journal.close()
