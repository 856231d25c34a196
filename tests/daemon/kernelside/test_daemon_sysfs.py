"""Device facts from a sysfs tree laid out as the kernel's."""

from pathlib import Path
from typing import Any

import pytest
from multinic_daemon.discovery.sysfs import NO_DEVICE, DeviceFacts, device_facts
from multinic_daemon.netlink import Link

FUNCTION = "devices/pci0000:80/0000:80:01.0/0000:8a:00.0"


def nic(**changes: Any) -> Link:
    link = Link(3, "eth1", 1, 1, 1500, "02:00:00:00:00:03", "", b"", 0, None, 0, 0, carrier=True, bus="", bus_device="")
    return link._replace(**changes)


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """One PCI function with a netdev ``eth1``, its ``virtio0`` child and a USB child."""
    function = tmp_path / FUNCTION
    for child in ("virtio0", "usb1/1-1/1-1:1.0"):
        (function / child).mkdir(parents=True)
    (function / "vendor").write_text("0x15b3\n")
    (function / "device").write_text("0x101D\n")
    for bus, name, target in (
        ("pci", "0000:8a:00.0", function),
        ("virtio", "virtio0", function / "virtio0"),
        ("usb", "1-1:1.0", function / "usb1/1-1/1-1:1.0"),
    ):
        (tmp_path / "bus" / bus / "devices").mkdir(parents=True)
        (tmp_path / "bus" / bus / "devices" / name).symlink_to(target)
    entry = tmp_path / "class/net/eth1"
    entry.mkdir(parents=True)
    (entry / "ifindex").write_text("3\n")
    (entry / "address").write_text("02:00:00:00:00:03\n")
    (entry / "device").symlink_to(function)
    return tmp_path


FOUND = DeviceFacts("15b3", "101d", "0000:8a:00.0")


@pytest.mark.parametrize(
    ("bus", "device", "expected"),
    [
        ("pci", "0000:8a:00.0", FOUND),
        ("virtio", "virtio0", FOUND),
        ("usb", "1-1:1.0", NO_DEVICE),
        ("pci", "0000:99:00.0", NO_DEVICE),
    ],
)
def test_the_device_that_netlink_names_is_looked_up_on_its_bus(sysfs: Path, bus: str, device: str, expected: object):
    """A PCI function is itself, a virtio device is its function, a USB NIC is not its host controller."""
    assert device_facts(nic(bus=bus, bus_device=device), sysfs) == expected


def test_without_the_names_of_netlink_the_netdev_entry_is_used(sysfs: Path):
    """Older kernels name no bus device."""
    assert device_facts(nic(), sysfs) == FOUND


@pytest.mark.parametrize("other", [{"ifindex": 4}, {"mac_address": "02:00:00:00:00:04"}, {"link_kind": "veth"}])
def test_an_entry_of_another_namespaces_link_is_not_believed(sysfs: Path, other: dict[str, Any]):
    """A sysfs mounted in another namespace shows a link of the same name that is not ours."""
    assert device_facts(nic(**other), sysfs) == NO_DEVICE


def test_no_sysfs_at_all_means_no_facts(tmp_path: Path):
    """A missing mount is not an error."""
    assert device_facts(nic(bus="pci", bus_device="0000:8a:00.0"), tmp_path / "nothing") == NO_DEVICE
