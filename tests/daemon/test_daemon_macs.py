"""MAC addresses that a pod asks for: where they are read, what is refused, and what becomes of them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from multinic_daemon.testing import Rig, links

from multinic_core import ConfigError
from multinic_core.errors import PluginError

MAC = "02:00:5e:10:00:01"
OTHER = "02:00:5e:10:00:02"
ONE_NIC = {"args": {"cni": {"nics": 1}}}
POD = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-1;K8S_POD_UID=u1"


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path, nics=2)


def asked(*fields: dict[str, Any], mac: object = None, cni_args: str = "") -> dict[str, Any]:
    """Options of a call for one NIC, with ``args.cni.mac`` and a part of CNI_ARGS."""
    found: dict[str, Any] = {"args": f"{POD};{cni_args}" if cni_args else POD}
    cni: dict[str, Any] = {"nics": 1} | ({"mac": mac} if mac is not None else {})
    netconf: dict[str, Any] = {
        "cniVersion": "1.1.0",
        "name": "net-a",
        "type": "multi-nic",
        "plugin": {"type": "macvlan"},
        "ipam": {"type": "multi-nic-ipam"},
        "args": {"cni": cni},
    }
    for each in fields:
        netconf |= each
    return found | {"stdin": json.dumps(netconf).encode()}


@pytest.mark.parametrize("text", [MAC, MAC.upper(), "02-00-5E-10-00-01", "0200.5e10.0001"])
@pytest.mark.parametrize("place", ["runtimeConfig", "CNI_ARGS", "args.cni", "list"])
async def test_a_pod_may_choose_the_mac_address_of_its_link(rig: Rig, place: str, text: str):
    """Wherever it is asked and however it is written, the link has it and the answer tells it in one form."""
    match place:
        case "runtimeConfig":
            options = asked({"runtimeConfig": {"mac": text}})
        case "CNI_ARGS":
            options = asked(cni_args=f"MAC={text}")
        case "args.cni":
            options = asked(mac=text)
        case _:
            options = asked(mac=[text])
    result = await rig.call("ADD", **options)
    assert [each["mac"] for each in result["interfaces"]] == [MAC]
    (made,) = links(rig.folder / "netns" / "c1").values()
    assert made["mac_address"] == MAC
    assert await rig.call("CHECK", **options | {"stdin": with_result(options["stdin"], result)}) is None


def with_result(stdin: bytes, result: dict[str, Any]) -> bytes:
    return json.dumps(json.loads(stdin) | {"prevResult": result}).encode()


async def test_each_of_several_links_has_its_own_of_the_list(rig: Rig):
    """The n-th address is that of the n-th link."""
    result = await rig.call("ADD", **asked({"args": {"cni": {"mac": [MAC, OTHER]}}}))
    assert [(each["name"], each["mac"]) for each in result["interfaces"]] == [("net1-0", MAC), ("net1-1", OTHER)]


async def test_the_same_address_may_be_asked_for_in_several_places(rig: Rig):
    """Runtimes that pass it on twice ask for one thing."""
    result = await rig.call("ADD", **asked({"runtimeConfig": {"mac": MAC}}, cni_args=f"MAC={MAC.upper()}", mac=[MAC]))
    assert [each["mac"] for each in result["interfaces"]] == [MAC]


async def test_capabilities_in_the_configuration_do_no_harm(rig: Rig):
    """The definition declares them for the runtime, which leaves them there."""
    fields = {"capabilities": {"mac": True}, "runtimeConfig": {"mac": MAC}}
    assert [each["mac"] for each in (await rig.call("ADD", **asked(fields)))["interfaces"]] == [MAC]


async def test_an_empty_wish_is_none(rig: Rig):
    """Runtimes write empty fields."""
    assert await rig.call("ADD", **asked({"runtimeConfig": {"mac": ""}}, cni_args="MAC=", mac=[]))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "too short": (asked(mac="02:00:5e:10:00"), "args.cni.mac: found '02:00:5e:10:00', expected six bytes"),
    "no hex": (asked({"runtimeConfig": {"mac": "02:00:5e:10:00:zz"}}), "runtimeConfig.mac: found '02:00:5e:10:00:zz'"),
    "separators mixed": (asked(cni_args="MAC=02-00:5e-10-00-01"), "CNI_ARGS: MAC: found '02-00:5e-10-00-01'"),
    "infiniband": (asked(mac=":".join(["02"] * 20)), "expected six bytes"),
    "multicast": (asked(mac="01:00:5e:10:00:01"), "which is for many receivers, expected one of a single link"),
    "broadcast": (asked(cni_args="MAC=ff:ff:ff:ff:ff:ff"), "CNI_ARGS: MAC: found 'ff:ff:ff:ff:ff:ff'"),
    "zero": (asked({"runtimeConfig": {"mac": "00:00:00:00:00:00"}}), "expected one that is not zero"),
    "no text": (asked({"runtimeConfig": {"mac": 7}}), "runtimeConfig.mac: found 7, expected a MAC address"),
    "list of numbers": (asked(mac=[7]), "args.cni.mac.0: found 7"),
    "twice in a list": (
        asked({"args": {"cni": {"mac": [MAC, MAC]}}}),
        "args.cni.mac: found '02:00:5e:10:00:01' for two",
    ),
    "one for two links": (
        asked({"args": {"cni": {"mac": [MAC]}}}),
        "args.cni.mac: found '02:00:5e:10:00:01' for 2 links ['net1-0', 'net1-1'], expected one MAC address for each",
    ),
    "two for one link": (asked(mac=[MAC, OTHER]), "args.cni.mac: found '02:00:5e:10:00:01', '02:00:5e:10:00:02' for 1"),
    "two places disagree": (
        asked({"runtimeConfig": {"mac": MAC}}, cni_args=f"MAC={OTHER}"),
        "CNI_ARGS: MAC: found '02:00:5e:10:00:02', expected '02:00:5e:10:00:01' as in runtimeConfig.mac",
    ),
    "that of the NIC": (asked(mac="02:00:00:00:00:01"), "which is that of NIC 'eth1' itself, expected another one"),
    "ipvlan": (asked({"plugin": {"type": "ipvlan"}}, mac=MAC), "all ipvlan links of a NIC have its MAC address"),
    "passthru": (
        asked({"plugin": {"type": "macvlan", "mode": "passthru"}}, mac=MAC),
        "a link of mode passthru has the MAC address of its NIC",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_no_link_can_have_is_refused_before_anything_is_done(rig: Rig, name: str):
    """The field, the value and what would do are named; nothing is held."""
    options, words = REFUSED[name]
    assert words in await rig.refused(ConfigError, "ADD", **options)
    rig.assert_clean()


async def test_a_plugin_that_forgets_the_wish_is_caught(rig: Rig, monkeypatch: pytest.MonkeyPatch):
    """No pod gets another MAC address than it asked for in silence."""
    plugin = rig.registry.main_plugins["macvlan"]
    real = type(plugin).plan

    def forgetful(self: Any, request: Any, node: Any) -> Any:
        return real(self, replace(request, links=tuple(replace(link, mac_address="") for link in request.links)), node)

    monkeypatch.setattr(type(plugin), "plan", forgetful)
    assert "planned MAC address '' for 'net1-0', expected" in await rig.refused(PluginError, "ADD", **asked(mac=MAC))
    rig.assert_clean()
