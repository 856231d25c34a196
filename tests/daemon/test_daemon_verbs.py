"""Every version × verb × main plugin, as the executables ask it over the socket."""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from multinic_daemon.calls.server import serve_socket
from multinic_daemon.engine import handler
from multinic_daemon.testing import Rig

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
PLUGINS = ("ipvlan", "macvlan")
INCOMPATIBLE, INVALID, CHECK_FAILED = 1, 7, 101


class Wire:
    """Calls over the socket in one version with one main plugin."""

    def __init__(self, rig: Rig, version: str, plugin: str) -> None:
        self.rig, self.version, self.plugin = rig, version, plugin

    async def ask(self, command: str, *, netns: str | None = None, drop: tuple[str, ...] = (), **fields: Any) -> Any:
        """What is printed as JSON, None for nothing; an error is its code."""
        netconf = self.rig.netconf(cniVersion=self.version, plugin={"type": self.plugin}) | fields
        for key in drop:
            del netconf[key]
        variables = {"PLUGIN": "multi-nic", "COMMAND": command, "CONTAINERID": "c1", "IFNAME": "net1", "PATH": "/x"}
        variables["NETNS"] = self.rig.pod() if netns is None else netns
        frame = b"".join(f"CNI_{key}={value}\0".encode() for key, value in variables.items()) + b"\0"
        async with await trio.open_unix_socket(str(self.rig.folder / "cni.sock")) as stream:
            await stream.send_all(frame + json.dumps(netconf).encode())
            await stream.send_eof()
            reply = b"".join([part async for part in stream])
        body = json.loads(reply[1:]) if reply[1:] else None
        if reply[:1] == b"1":
            assert body["cniVersion"] == self.version
            assert body["msg"]
            return body["code"]
        return body


@asynccontextmanager
async def wire(rig: Rig, version: str, plugin: str) -> AsyncIterator[Wire]:
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_socket, rig.folder / "cni.sock", handler(rig.engine)))
        yield Wire(rig, version, plugin)
        nursery.cancel_scope.cancel()


everywhere = [pytest.mark.parametrize("version", VERSIONS), pytest.mark.parametrize("plugin", PLUGINS)]
pytestmark = everywhere


async def test_add_answers_in_the_shape_of_its_version(rig: Rig, version: str, plugin: str) -> None:
    """Twice the same; ``ips[].version`` before 1.0.0, ``mtu`` since 1.1.0."""
    async with wire(rig, version, plugin) as w:
        answer = await w.ask("ADD")
        assert await w.ask("ADD") == answer
    assert answer["cniVersion"] == version
    old = {"version"} if version < "1.0.0" else set()
    assert {key for ip in answer["ips"] for key in ip} == {"address", "interface"} | old
    new = {"mtu"} if version >= "1.1.0" else set()
    assert {key for link in answer["interfaces"] for key in link} == {"name", "mac", "sandbox"} | new
    assert [link["name"] for link in answer["interfaces"]] == ["net1-0", "net1-1", "net1-2"]


@pytest.mark.parametrize("form", ["plain", "no netns", "vanished", "elsewhere", "twice", "no parts", "never"])
async def test_del_succeeds_in_every_form(rig: Rig, version: str, plugin: str, form: str) -> None:
    """And leaves nothing, however little it says; no form has a prevResult but the plain one."""
    async with wire(rig, version, plugin) as w:
        answer = None if form == "never" else await w.ask("ADD")
        if form == "vanished":
            shutil.rmtree(rig.pod())
        options: dict[str, Any] = {
            "plain": {"prevResult": answer},
            "no netns": {"netns": ""},
            "vanished": {"netns": str(rig.folder / "netns" / "c1")},
            "elsewhere": {"netns": "/nowhere"},
            "no parts": {"drop": ("plugin", "ipam"), "type": ""},
        }.get(form, {})
        assert await w.ask("DEL", **options) is None
        if form == "twice":
            assert await w.ask("DEL") is None
    rig.assert_clean()


async def test_check_passes_fails_or_is_not_of_this_version(rig: Rig, version: str, plugin: str) -> None:
    """Since 0.4.0; without prevResult there is nothing to compare."""
    known = version >= "0.4.0"
    async with wire(rig, version, plugin) as w:
        answer = await w.ask("ADD")
        assert await w.ask("CHECK", prevResult=answer) == (None if known else INCOMPATIBLE)
        assert await w.ask("CHECK") == (INVALID if known else INCOMPATIBLE)
        (rig.folder / "netns" / "c1" / "net1-1").unlink()
        assert await w.ask("CHECK", prevResult=answer) == (CHECK_FAILED if known else INCOMPATIBLE)


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
async def test_gc_keeps_what_is_listed_under_either_key(rig: Rig, version: str, plugin: str, key: str) -> None:
    """Since 1.1.0; before, nothing is touched."""
    known = version >= "1.1.0"
    async with wire(rig, version, plugin) as w:
        await w.ask("ADD")
        own: dict[str, Any] = {key: [{"containerID": "c1", "ifname": "net1"}]}
        assert await w.ask("GC", **own) == (None if known else INCOMPATIBLE)
        assert len(rig.pod_links()) == 3
        assert await w.ask("GC", **{key: []}) == (None if known else INCOMPATIBLE)
        assert await w.ask("GC") == (INVALID if known else INCOMPATIBLE)
    assert len(rig.pod_links()) == (0 if known else 3)


async def test_status_says_50_51_or_nothing(rig: Rig, version: str, plugin: str) -> None:
    """Since 1.1.0: nothing when the node can serve, 50 when it cannot, 51 when pods are cut off as well."""
    known = version >= "1.1.0"
    async with wire(rig, version, plugin) as w:
        assert await w.ask("STATUS") == (None if known else INCOMPATIBLE)
        assert await w.ask("STATUS", name="unknown") == (50 if known else INCOMPATIBLE)
        rig.engine.route_problem = lambda network: "a route is missing"
        assert await w.ask("STATUS") == (51 if known else INCOMPATIBLE)


async def test_version_lists_them_all(rig: Rig, version: str, plugin: str) -> None:
    """Whatever version asks. The executable itself answers this one, so the engine is asked without the socket."""
    answer = await rig.call("VERSION", cniVersion=version, plugin={"type": plugin})
    assert answer["supportedVersions"] == list(VERSIONS)
