"""A daemon that is asked about a standalone network, by whatever mistake, does nothing about it."""

import pytest
from multinic_daemon.testing import Rig

from multinic_core import ConfigError


@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
async def test_a_daemon_refuses_standalone_networks(rig: Rig, command: str) -> None:
    """With the path of the field; what it has under the same name stays as it is."""
    await rig.call("ADD")
    before = rig.held()
    assert "standalone: found true" in await rig.refused(ConfigError, command, standalone=True)
    assert rig.held() == before


async def test_false_is_for_a_daemon(rig: Rig) -> None:
    """The key alone says nothing."""
    assert await rig.call("ADD", standalone=False) == await rig.call("ADD", standalone=False)
    await rig.call("DEL", standalone=False)
    rig.assert_clean()
