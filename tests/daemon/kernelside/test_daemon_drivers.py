"""Drivers of PCI functions on a tree like sysfs: told, compared, and given back."""

from pathlib import Path

import pytest
from multinic_daemon.podlinks.drivers import driver_differences, driver_of, has_netdev, rebind

from multinic_core.devices import TakeDevice
from multinic_core.errors import KernelError

ADDRESS = "0000:01:10.0"


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """One function with driver vfio-pci, and two drivers."""
    function = tmp_path / "bus/pci/devices" / ADDRESS
    function.mkdir(parents=True)
    (function / "driver_override").write_text("vfio-pci\n")
    for name in ("vfio-pci", "igbvf"):
        driver = tmp_path / "bus/pci/drivers" / name
        driver.mkdir(parents=True)
        for file in ("bind", "unbind"):
            (driver / file).write_text("")
    (function / "driver").symlink_to(tmp_path / "bus/pci/drivers/vfio-pci")
    return tmp_path


def device(driver: str, ifname: str = "") -> TakeDevice:
    return TakeDevice("net1-0", "eth1", ifname, ADDRESS, driver_before=driver)


def test_a_netdev_is_expected_of_drivers_of_the_kernel_alone(sysfs: Path):
    """Bound to a driver for user space, to none, or gone: no link will come."""
    assert driver_of(ADDRESS, sysfs) == "vfio-pci"
    assert not has_netdev(ADDRESS, sysfs)
    assert not has_netdev("0000:09:00.0", sysfs)
    link = sysfs / "bus/pci/devices" / ADDRESS / "driver"
    link.unlink()
    assert not has_netdev(ADDRESS, sysfs)
    link.symlink_to(sysfs / "bus/pci/drivers/igbvf")
    assert has_netdev(ADDRESS, sysfs)


def test_a_device_for_user_space_is_compared_by_its_driver(sysfs: Path):
    """What has a link is compared by that; what is gone is missing."""
    assert list(driver_differences([device("vfio-pci"), device("igbvf", "eth1v0")], sysfs)) == []
    (sentence,) = driver_differences([device("igb_uio")], sysfs)
    assert sentence == f"device {ADDRESS} of link 'net1-0' has driver 'vfio-pci', expected 'igb_uio'"
    gone = TakeDevice("net1-0", "eth1", "", "0000:09:10.0", driver_before="vfio-pci")
    assert list(driver_differences([gone], sysfs)) == ["device 0000:09:10.0 of link 'net1-0' is missing"]


def test_the_driver_from_before_is_bound_again(sysfs: Path):
    """The present one lets go, the word for it alone is taken back, and the one from before takes it."""
    rebind(device("igbvf"), sysfs)
    drivers = sysfs / "bus/pci/drivers"
    assert (drivers / "vfio-pci/unbind").read_text() == ADDRESS
    assert (drivers / "igbvf/bind").read_text() == ADDRESS
    assert (sysfs / "bus/pci/devices" / ADDRESS / "driver_override").read_text() == "\n"


@pytest.mark.parametrize(
    "step", [device("vfio-pci"), device(""), TakeDevice("net1-0", "eth1", "eth1"), device("igbvf")]
)
def test_nothing_is_bound_where_nothing_has_changed(sysfs: Path, step: TakeDevice):
    """The same driver, one that was not known, a device that is not on the bus, and one that is gone."""
    if step.driver_before == "igbvf":
        step = TakeDevice("net1-0", "eth1", "", "0000:09:10.0", driver_before="igbvf")
    rebind(step, sysfs)
    assert (sysfs / "bus/pci/drivers/igbvf/bind").read_text() == ""
    assert (sysfs / "bus/pci/drivers/vfio-pci/unbind").read_text() == ""


def test_a_refusal_names_device_and_drivers(sysfs: Path):
    """As when the driver's module is gone; and says what gets the device out of it."""
    message = r"binding 0000:01:10\.0 to driver 'iavf' again, found 'vfio-pci': ENOENT"
    with pytest.raises(KernelError, match=message) as refused:
        rebind(device("iavf"), sysfs)
    assert "modprobe iavf" in refused.value.details
    assert "echo 0000:01:10.0 > /sys/bus/pci/drivers/iavf/bind" in refused.value.details


def test_a_device_that_is_taken_off_the_bus_is_let_go(sysfs: Path):
    """The way out that a refusal names, for a driver that will never be there again."""
    (sysfs / "bus/pci/devices" / ADDRESS).rename(sysfs / "removed")
    rebind(device("iavf"), sysfs)
