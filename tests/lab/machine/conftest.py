from collections.abc import AsyncIterator

import pytest
from multinic_lab.machine.testing import RunningLab, open_lab


@pytest.fixture
async def two_nodes(tmp_path) -> AsyncIterator[RunningLab]:
    """Two nodes with three NICs each."""
    async with open_lab(tmp_path) as running:
        yield running
