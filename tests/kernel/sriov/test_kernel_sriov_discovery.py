"""Discovery on NICs with VFs: what is done to them shows in the view, without polling."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from multinic_daemon.discovery.discovery import Discovery
from multinic_daemon.netlink import Conversation
from multinic_daemon.netlink.devices import read_vfs
from multinic_daemon.testing.discovering import discovering, shows
from multinic_lab.emulator.testing import Pf
from multinic_lab.provision import tools

from multinic_core import Nic

pytestmark = pytest.mark.sriov

Ip = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def nic(pf: Pf, ip: Ip) -> Iterator[Pf]:
    """The PF on NUMA node 0, up and with an address, so that it is a secondary NIC."""
    ip("address", "add", "10.0.1.5/24", "dev", pf.ifname)
    ip("link", "set", pf.ifname, "up")
    yield pf
    ip("address", "flush", "dev", pf.ifname)
    ip("link", "set", pf.ifname, "down")


@pytest.fixture
def pod(nic: Pf) -> Iterator[str]:
    """Name of a network namespace."""
    environment = tools.environment()
    subprocess.run(["ip", "netns", "add", "pod"], env=environment, check=True)
    yield "pod"
    subprocess.run(["ip", "netns", "delete", "pod"], env=environment, check=True)


async def nic_shows(found: Discovery, pf: Pf, condition: Callable[[Nic], bool]) -> Nic:
    """Wait until the PF's NIC fulfils the condition."""
    await shows(found, lambda f: condition(f.view().nics[pf.ifname]))
    return found.view().nics[pf.ifname]


async def test_a_nic_with_vfs_is_told_whole(nic: Pf, ip: Ip):
    """Place, node and driver of the PF; of each VF its function, driver and link, as the kernel's other tools say."""
    vfs = nic.make_vfs(3)
    async with discovering() as found:
        seen = await nic_shows(found, nic, lambda seen: len(seen.vfs) == 3)
    assert (seen.pci_address, seen.driver, seen.numa_node, seen.vfs_possible) == (nic.pci_address, "igb", 0, 7)
    assert seen.pci_path == nic.sysfs.resolve().parts[4:-1]
    assert seen.pci_path
    for vf, wanted in zip(seen.vfs, vfs, strict=True):
        assert (vf.index, vf.pci_address, vf.driver) == (wanted.vf_index, wanted.pci_address, "igbvf")
        (shown,) = ip("link", "show", wanted.ifname)
        assert (vf.ifname, vf.ifindex, vf.mtu) == (wanted.ifname, shown["ifindex"], shown["mtu"])
        assert vf.mac_address == shown["address"]


async def test_vfs_that_appear_and_go_show(nic: Pf):
    """Their number is changed in sysfs alone, which no link of the PF announces."""
    async with discovering() as found:
        assert found.view().nics[nic.ifname].vfs == ()
        await trio.to_thread.run_sync(nic.make_vfs, 2)
        await nic_shows(found, nic, lambda seen: [bool(vf.ifname) for vf in seen.vfs] == [True, True])
        await trio.to_thread.run_sync(nic.make_vfs, 0)
        await nic_shows(found, nic, lambda seen: seen.vfs == ())


async def test_settings_of_a_vf_show_as_they_are_changed(nic: Pf, ip: Ip):
    """The kernel announces them as a change of their PF, of which nothing else is new."""
    nic.make_vfs(2)
    async with discovering() as found:
        await nic_shows(found, nic, lambda seen: len(seen.vfs) == 2 and seen.vfs[1].settings.vlan == 0)
        ip("link", "set", nic.ifname, "vf", "1", "vlan", "210", "qos", "3")
        seen = await nic_shows(found, nic, lambda seen: seen.vfs[1].settings.vlan == 210)
    assert (seen.vfs[1].settings.qos, seen.vfs[0].settings.vlan) == (3, 0)
    with Conversation() as kernel:
        assert read_vfs(kernel, seen.ifindex) == {vf.index: vf.settings for vf in seen.vfs}


async def test_a_reading_that_is_asked_for_shows_settings_and_drivers_as_they_are(nic: Pf, ip: Ip):
    """What is given back later is what was there: nothing known from before is believed."""
    (made,) = nic.make_vfs(1)
    async with discovering() as found:
        ip("link", "set", nic.ifname, "vf", "0", "vlan", "77")
        (made.sysfs / "driver/unbind").write_text(made.pci_address)
        await found.renew()
        (vf,) = found.view().nics[nic.ifname].vfs
    assert (vf.settings.vlan, vf.driver, vf.ifname) == (77, "", "")


async def test_a_vf_that_changes_drivers_shows(nic: Pf):
    """Without a driver it has no link; bound to vfio-pci, which makes no link, its driver is told all the same."""
    (made,) = nic.make_vfs(1)
    async with discovering() as found:
        await nic_shows(found, nic, lambda seen: [vf.driver for vf in seen.vfs] == ["igbvf"])
        (made.sysfs / "driver/unbind").write_text(made.pci_address)
        seen = await nic_shows(found, nic, lambda seen: [vf.driver for vf in seen.vfs] == [""])
        assert seen.vfs[0].ifname == ""
        (made.sysfs / "driver_override").write_text("vfio-pci")
        Path("/sys/bus/pci/drivers_probe").write_text(made.pci_address)
        await nic_shows(found, nic, lambda seen: [vf.driver for vf in seen.vfs] == ["vfio-pci"])


async def test_a_vf_in_a_pod_has_no_link_on_the_node(nic: Pf, ip: Ip, pod: str):
    """It stays a VF of its PF, with its driver, and has its link again when it is back; renames show too."""
    (made,) = nic.make_vfs(1)
    ifname = made.ifname
    async with discovering() as found:
        await nic_shows(found, nic, lambda seen: [vf.ifname for vf in seen.vfs] == [ifname])
        ip("link", "set", ifname, "netns", pod)
        seen = await nic_shows(found, nic, lambda seen: [vf.ifname for vf in seen.vfs] == [""])
        assert (seen.vfs[0].driver, seen.vfs[0].ifindex) == ("igbvf", 0)
        ip("-netns", pod, "link", "set", ifname, "netns", "1")
        await nic_shows(found, nic, lambda seen: [vf.ifname for vf in seen.vfs] == [ifname])
        ip("link", "set", ifname, "name", "fastvf")
        ip("link", "property", "add", "dev", "fastvf", "altname", "fast-for-pods")
        seen = await nic_shows(found, nic, lambda seen: seen.vfs[0].altnames == ("fast-for-pods",))
        assert seen.vfs[0].ifname == "fastvf"
