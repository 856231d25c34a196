"""What the engine keeps from one pod for the next must not let one pod change what the next gets."""

import json

import trio
from multinic_daemon.calls.request import CniRequest
from multinic_daemon.engine.context import KeyedLocks
from multinic_daemon.engine.invocation import KEPT_BYTES, read_invocation
from multinic_daemon.testing.rig import Rig

from multinic_core.plan import AttachmentRequest, NodeView, Plan


class Careless:
    """The macvlan plugin, spoilt: it changes the configuration it is given."""

    def __init__(self, plugin: object) -> None:
        self._plugin = plugin
        self.seen: list[dict] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._plugin, name)

    def plan(self, request: AttachmentRequest, node: NodeView) -> Plan:
        self.seen.append(dict(request.config))
        plan = self._plugin.plan(request, node)
        request.config.clear()
        return plan


async def test_a_plugin_that_changes_its_configuration_spoils_nothing(rig: Rig):
    """The second pod's plugin block is as its network configuration says."""
    plugin = Careless(rig.registry.main_plugins["macvlan"])
    rig.registry.main_plugins.objects["macvlan"] = plugin
    for container in ("c1", "c2"):
        await rig.call("ADD", container)
    assert plugin.seen[0] == plugin.seen[1]
    assert plugin.seen[0]["type"] == "macvlan"


def test_only_the_same_text_gives_the_same_configuration():
    """A network that is edited, and one of any length, is read as it is written."""

    def read(**fields: object) -> str:
        document = {"cniVersion": "1.1.0", "name": "n", "type": "multi-nic"} | fields
        request = CniRequest("multi-nic", "STATUS", "", "", "", "", "", json.dumps(document).encode())
        return read_invocation(request).netconf.subnet

    assert [read(subnet=text) for text in ("10.0.0.0/8", "11.0.0.0/8", "10.0.0.0/8")] == [
        "10.0.0.0/8",
        "11.0.0.0/8",
        "10.0.0.0/8",
    ]
    assert read(subnet="10.0.0.0/8", x="y" * KEPT_BYTES) == "10.0.0.0/8"


async def test_calls_about_one_interface_wait_for_each_other_in_turn():
    """A lock that is free is taken at once, one that is held in the order of asking, and none is left over."""
    locks, order = KeyedLocks(), []

    async def hold(name: str) -> None:
        async with locks(("c", "net1")):
            order.append(f"{name} in")
            await trio.lowlevel.checkpoint()
            order.append(f"{name} out")

    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(hold, name)
    assert sorted(order[::2]) == ["a in", "b in", "c in"]
    assert [entry.split()[0] for entry in order[::2]] == [entry.split()[0] for entry in order[1::2]]
    assert len(locks) == 0
