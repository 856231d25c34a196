"""The emulated PC has what the SR-IOV tests need, in sysfs and on rtnetlink as real hardware has it."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from multinic_lab.emulator.testing import PCI_DEVICES, Pf
from multinic_lab.provision import tools

pytestmark = pytest.mark.sriov

Ip = Callable[..., list[dict[str, Any]]]


def test_there_is_a_pf_on_each_of_two_numa_nodes(pfs: list[Pf]):
    """Two PFs with up to seven VFs each, on different NUMA nodes, which have a processor each."""
    assert [(pf.numa_node, pf.max_vfs) for pf in pfs] == [(0, 7), (1, 7)]
    assert all(pf.ifname for pf in pfs)
    for pf in pfs:
        assert Path(f"/sys/devices/system/node/node{pf.numa_node}/cpulist").read_text() == f"{pf.numa_node}\n"


def test_each_pf_shares_a_host_bridge_with_a_display_controller(pfs: list[Pf]):
    """The paths in sysfs begin with another PCI root for each NUMA node; what stands for a GPU is on the same one."""
    displays = [path for path in sorted(PCI_DEVICES.iterdir()) if (path / "class").read_text().startswith("0x03")]
    assert [int((path / "numa_node").read_text()) for path in displays] == [0, 1]
    roots = [path.resolve().parts[3] for path in displays]
    assert [pf.sysfs.resolve().parts[3] for pf in pfs] == roots
    assert len(set(roots)) == 2


@pytest.mark.parametrize("count", [1, 7])
def test_vfs_appear_with_links_to_and_from_their_pf(pfs: list[Pf], count: int):
    """Writing sriov_numvfs makes that many PCI functions on the PF's NUMA node, each with a link of driver igbvf."""
    for pf in pfs:
        vfs = pf.make_vfs(count)
        assert [vf.vf_index for vf in vfs] == list(range(count))
        for vf in vfs:
            assert (vf.sysfs / "physfn").resolve() == pf.sysfs.resolve()
            assert (vf.sysfs / "driver").resolve().name == "igbvf"
            assert int((vf.sysfs / "numa_node").read_text()) == pf.numa_node
        assert len({vf.ifname for vf in vfs}) == count


def test_vfs_are_gone_when_their_number_is_zero(pf: Pf):
    """Nothing of the VFs remains in sysfs."""
    (vf,) = pf.make_vfs(1)
    pf.make_vfs(0)
    assert pf.vfs() == []
    assert not vf.sysfs.exists()


def test_settings_of_a_vf_are_read_back_from_its_pf(pf: Pf, ip: Ip):
    """VLAN and MAC address that ip sets on one VF are shown for it and for no other."""
    pf.make_vfs(4)
    ip("link", "set", pf.ifname, "vf", "0", "vlan", "210")
    ip("link", "set", pf.ifname, "vf", "1", "mac", "02:00:00:00:00:01")
    (shown,) = ip("link", "show", pf.ifname)
    by_index = {vf["vf"]: vf for vf in shown["vfinfo_list"]}
    assert {index: vf["vlan_list"] for index, vf in by_index.items()} == {0: [{"vlan": 210}], 1: [{}], 2: [{}], 3: [{}]}
    assert [index for index, vf in by_index.items() if vf["address"] == "02:00:00:00:00:01"] == [1]


def test_a_vf_can_be_given_to_vfio(pf: Pf):
    """Its IOMMU group holds nothing else, and becomes a device once vfio-pci has it."""
    vf = pf.make_vfs(2)[1]
    group = (vf.sysfs / "iommu_group").resolve()
    assert [path.name for path in (group / "devices").iterdir()] == [vf.pci_address]
    (vf.sysfs / "driver" / "unbind").write_text(vf.pci_address)
    (vf.sysfs / "driver_override").write_text("vfio-pci")
    Path("/sys/bus/pci/drivers_probe").write_text(vf.pci_address)
    assert (vf.sysfs / "driver").resolve().name == "vfio-pci"
    assert Path("/dev/vfio", group.name).is_char_device()


def test_vfs_of_one_pf_reach_each_other_on_its_switch(pf: Pf, ip: Ip):
    """Two of them in namespaces of their own, put into the same VLAN by their PF, which knows of no tag in them."""
    environment = tools.environment()
    ip("link", "set", pf.ifname, "up")
    for index, vf in enumerate(pf.make_vfs(2)):
        ip("link", "set", pf.ifname, "vf", str(index), "vlan", "210")
        ip("netns", "add", f"side-{index}")
        ip("link", "set", vf.ifname, "netns", f"side-{index}", "name", "net1", "up")
        ip("-n", f"side-{index}", "address", "add", f"10.0.0.{1 + index}/24", "dev", "net1")
    try:
        command = ["ip", "netns", "exec", "side-0", "ping", "-c", "1", "-w", "60", "10.0.0.2"]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    finally:
        for index in range(2):
            ip("netns", "del", f"side-{index}")
