"""The engine on real VFs: made at the first need, given once, checked, and given back by the next daemon."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from multinic_daemon.discovery.discovery import Discovery
from multinic_daemon.discovery.held import held_nics
from multinic_daemon.podlinks import apply
from multinic_daemon.testing import Rig
from multinic_lab.emulator.testing import Pf
from multinic_lab.provision import tools

from multinic_core.errors import CheckFailedError, SelectionError

pytestmark = pytest.mark.sriov

Ip = Callable[..., list[dict[str, Any]]]
VFS = 3
BLOCK = {"type": "sriov", "manageVfs": True, "numVfs": VFS, "vlan": 210}
NETS = {"masterNets": ["10.9.0.0/24"], "ipam": {}}


def netns(name: str, verb: str = "add") -> str:
    subprocess.run(["ip", "netns", verb, name], env=tools.environment(), check=True)
    return f"/run/netns/{name}"


async def test_vfs_from_none_to_all_and_back(pf: Pf, ip: Ip, tmp_path: Path):
    """Three VFs for four pods: each has its own with the VLAN on the PF, the fourth is told why, and all come back."""
    nic = pf.ifname
    ip("link", "set", nic, "up")
    ip("address", "add", "10.9.0.1/24", "dev", nic)
    rig = Rig(tmp_path)
    discovery = Discovery("pc", held=lambda: held_nics(rig.journal.held_devices, discovery.view))

    def wire() -> None:
        rig.engine.kernel, rig.engine.view, rig.engine.fresh = apply, discovery.view, discovery.renew

    wire()
    pods = [netns(f"engine{number}") for number in range(VFS + 1)]
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(discovery.serve)
            asked = enumerate(pods[:VFS])
            given = [await rig.call("ADD", f"c{n}", netns=pod, plugin=BLOCK, **NETS) for n, pod in asked]
            found = [each["interfaces"][0]["pciID"] for each in given]
            assert found == [vf.pci_address for vf in pf.vfs()]
            (shown,) = ip("link", "show", nic)
            assert [vf["vlan_list"] for vf in shown["vfinfo_list"]] == [[{"vlan": 210}]] * VFS
            message = await rig.refused(SelectionError, "ADD", "c9", netns=pods[VFS], plugin=BLOCK, **NETS)
            assert f"no free VF on {nic!r}: {VFS} of {VFS} in use" in message
            await rig.call("CHECK", "c0", netns=pods[0], plugin=BLOCK, prevResult=given[0], **NETS)
            ip("link", "set", nic, "vf", "0", "vlan", "9")
            check: dict[str, Any] = {"netns": pods[0], "plugin": BLOCK, "prevResult": given[0], **NETS}
            message = await rig.refused(CheckFailedError, "CHECK", "c0", **check)
            assert f"VF 0 of NIC {nic!r} has vlan 9, expected 210" in message
            rig.restart()
            wire()
            for number in range(VFS):
                await rig.call("DEL", f"c{number}", netns=pods[number], plugin=BLOCK, **NETS)
            (shown,) = ip("link", "show", nic)
            assert [vf["vlan_list"] for vf in shown["vfinfo_list"]] == [[{}]] * VFS
            assert all(vf.ifname for vf in pf.vfs())
            assert rig.journal.held_devices.keys == frozenset()
            nursery.cancel_scope.cancel()
    finally:
        for number in range(VFS + 1):
            netns(f"engine{number}", "delete")
        ip("address", "flush", "dev", nic)
        ip("link", "set", nic, "down")
    rig.journal.close()
