from collections.abc import AsyncIterator, Iterator

import pytest
from multinic_lab.machine.testing import RunningLab, open_lab, shared_lab


@pytest.fixture
async def two_nodes(tmp_path) -> AsyncIterator[RunningLab]:
    """Two nodes with three NICs each."""
    async with open_lab(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[RunningLab]:
    """The same two nodes for all tests of a module; for tests that change nothing."""
    with shared_lab(tmp_path_factory.mktemp("lab")) as running:
        yield running
