"""Drivers of PCI functions, in sysfs: which one a function has, and giving it back the one that it had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from multinic_core.devices import TakeDevice
from multinic_core.errors import KernelError
from multinic_daemon.discovery.pci import SYSFS, driver

USER_SPACE = frozenset({"vfio-pci", "uio_pci_generic", "igb_uio"})
"""Drivers that hand a function to a process: it has no netdev."""
_WAY_OUT = (
    "the device is held for its pod until it has its driver again; load the driver's module (modprobe {driver}), or"
    " bind it by hand: echo {address} > /sys/bus/pci/drivers/{driver}/bind. A device that is taken off the bus is let"
    " go: echo 1 > /sys/bus/pci/devices/{address}/remove"
)


def driver_of(pci_address: str, sysfs: Path = SYSFS) -> str:
    """The driver that the function is bound to; "" for none, and where there is no such function."""
    return driver(_folder(pci_address, sysfs))


def has_netdev(pci_address: str, sysfs: Path = SYSFS) -> bool:
    """Whether a netdev of this function must be in some namespace: it exists, and a driver has it that makes one."""
    return driver_of(pci_address, sysfs) not in ("", *USER_SPACE)


def driver_differences(steps: Iterable[TakeDevice], sysfs: Path = SYSFS) -> Iterator[str]:
    """How devices without a netdev, of which a pod has nothing else, differ from what was given; one sentence each."""
    for step in steps:
        if step.device:
            continue
        subject = f"device {step.pci_address} of link {step.ifname!r}"
        now = driver_of(step.pci_address, sysfs)
        if not _folder(step.pci_address, sysfs).exists():
            yield f"{subject} is missing"
        elif now != step.driver_before:
            yield f"{subject} has driver {now!r}, expected {step.driver_before!r}"


def rebind(step: TakeDevice, sysfs: Path = SYSFS) -> None:
    """Bind a device to the driver that it had, unless it has it, or is gone.

    Raises:
        KernelError: the kernel refused; it is tried again for as long as the device exists.
    """
    folder, wanted = _folder(step.pci_address, sysfs), step.driver_before
    if not step.pci_address or not wanted or not folder.is_dir():
        return
    now = driver_of(step.pci_address, sysfs)
    if now == wanted:
        return
    try:
        if now:
            (folder / "driver" / "unbind").write_text(step.pci_address)
        # drivers for user space take only what is meant for them by name
        (folder / "driver_override").write_text(wanted if wanted in USER_SPACE else "\n")
        (sysfs / "bus" / "pci" / "drivers" / wanted / "bind").write_text(step.pci_address)
    except OSError as error:
        subject = f"binding {step.pci_address} to driver {wanted!r} again, found {now!r}"
        way_out = _WAY_OUT.format(driver=wanted, address=step.pci_address)
        raise KernelError(subject, error.errno or 0, details=way_out) from error


def _folder(pci_address: str, sysfs: Path) -> Path:
    return sysfs / "bus" / "pci" / "devices" / pci_address
