"""kill -9 of the real daemon while Debian's executables have their part in a pod, and what it makes of it when back."""

import signal
from typing import Any

import pytest
from multinic_lab.provision import tools

pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth", "macvlan", "bridge")]

PLUGIN = {"type": "macvlan", "mode": "bridge"}
BRIDGE = {"type": "bridge", "cniVersion": "1.0.0", "bridge": "br-fast"}
TRY_LATER = 11
SCENARIOS = [
    ("outside.addressed", "ADD", PLUGIN),
    ("outside.planned", "ADD", PLUGIN),
    ("add.applied", "ADD", PLUGIN),
    ("outside.plugged", "ADD", BRIDGE),
    ("outside.unplugged", "DEL", BRIDGE),
    ("outside.freed", "DEL", PLUGIN),
]


@pytest.mark.parametrize("crash_node", [PLUGIN], indirect=True, ids=["node"])
@pytest.mark.parametrize(("name", "command", "plugin"), SCENARIOS, ids=[scenario[0] for scenario in SCENARIOS])
def test_killed_at_this_point_nothing_of_executables_is_left(
    crash_node: Any, name: str, command: str, plugin: dict[str, Any]
) -> None:
    """The next daemon calls their DEL before it serves anybody: no address of host-local is held, no link is there."""
    store = crash_node.folder / "host-local"
    entries = {f"eth{n}": {"subnet": f"172.20.{n}.0/24", "dataDir": str(store)} for n in (1, 2, 3)}
    fields = {
        "plugin": plugin,
        "ipam": {"type": "multi-config", "ipam_type": "host-local", "args": entries},
    }
    for file in tools.find("host-local").parent.iterdir():
        if not (crash_node.folder / "bin" / file.name).exists():
            (crash_node.folder / "bin" / file.name).symlink_to(file)
    crash_node.start(name)
    answer = crash_node.call("ADD", "p1", **fields)
    if command == "DEL":
        assert len(answer["ips"]) == 3, answer
        assert len(list(store.glob("*/172.20.*"))) == 3
        assert crash_node.call("DEL", "p1", **fields) is None
    else:
        assert answer["code"] == TRY_LATER
    assert crash_node.ended() == -signal.SIGKILL
    crash_node.start()
    assert crash_node.links("p1") == {}
    assert list(store.glob("*/172.20.*")) == []
    assert {row["containerID"] for row in crash_node.rows()} == {"keeper"}
    again = crash_node.call("ADD", "p1", **fields)
    assert [ip["interface"] for ip in again["ips"]] == [0, 1, 2]
    assert crash_node.call("DEL", "p1", **fields) is None
    assert list(store.glob("*/172.20.*")) == []
    crash_node.kill()
