"""What sysfs says of the hardware behind a NIC: its PCI function, and the virtual functions that it has.

``/sys/class/net`` shows the network namespace of whoever mounted it, which need not be ours, so a NIC is looked up by
the bus and device that the kernel names over netlink; ``/sys/bus`` is the same for everybody. Kernels before 5.14 name
none: there the entry under ``/sys/class/net`` is used if it is this very link's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from multinic_daemon.discovery import pci
from multinic_daemon.discovery.pci import NO_FUNCTION, PciFunction
from multinic_daemon.discovery.virtualtopology import NO_PLACES, Places, placed
from multinic_daemon.netlink import Link

HARDWARE_KINDS = frozenset({"", "ipoib"})
"""Kinds of links that have a device of their own."""


@dataclass(frozen=True, slots=True)
class VirtualFunction:
    """One VF, as its physical function's folder shows it."""

    index: int
    address: str
    driver: str = ""
    rdma_devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """The hardware of a NIC; everything empty for a link made of software."""

    function: PciFunction = NO_FUNCTION
    """On which the NIC sits: its own, or that of a virtio device."""
    driver: str = ""
    """Of the NIC itself, such as ``virtio_net``."""
    numa_node: int | None = None
    physical_function: str = ""
    """PCI address of the NIC of which it is a virtual function, or ""."""
    vfs: tuple[VirtualFunction, ...] = ()
    """By index."""
    vfs_possible: int = 0


NO_DEVICE = DeviceFacts()


def device_facts(link: Link, root: Path = pci.SYSFS, places: Places = NO_PLACES) -> DeviceFacts:
    """The facts of the link's own device. Blocks on sysfs only.

    Args:
        root: where sysfs is mounted.
        places: what is known better than sysfs does.
    """
    device = _device_folder(link, root)
    if device is None:
        return NO_DEVICE
    folder = _function_folder(device)
    if folder is None:
        return DeviceFacts(driver=pci.driver(device), numa_node=pci.numa_node(device))
    function = placed(pci.read_function(folder), places)
    physical = pci.resolved(folder / "physfn")
    return DeviceFacts(
        function=function,
        driver=pci.driver(device),
        numa_node=function.numa_node,
        physical_function=physical.name if physical else "",
        vfs=_virtual_functions(folder),
        vfs_possible=pci.number(folder / "sriov_totalvfs"),
    )


def link_speed(link: Link, root: Path = pci.SYSFS) -> int:
    """Mbit/s of a link with a device; 0 when it is not told. Blocks on sysfs and the driver."""
    device = _device_folder(link, root)
    return max(0, pci.number(device / "net" / link.ifname / "speed")) if device else 0


def function_address(link: Link, root: Path = pci.SYSFS) -> str:
    """PCI address of the function that a link sits on; "" for none. Blocks on sysfs, unless netlink tells it."""
    if link.bus == "pci":
        return link.bus_device
    device = _device_folder(link, root)
    folder = _function_folder(device) if device else None
    return folder.name if folder else ""


def _function_folder(device: Path) -> Path | None:
    """A virtio NIC is a child of its PCI function; other children (USB, auxiliary) are not NICs of that function."""
    candidate = device.parent if device.name.startswith("virtio") else device
    return candidate if pci.normal_address(candidate.name) == candidate.name else None


def _virtual_functions(folder: Path) -> tuple[VirtualFunction, ...]:
    if not pci.number(folder / "sriov_numvfs"):
        return ()
    found = []
    for link in folder.glob("virtfn*"):
        index, target = link.name.removeprefix("virtfn"), pci.resolved(link)
        if target is not None and index.isdecimal():
            found.append(VirtualFunction(int(index), target.name, pci.driver(target), pci.rdma_devices(target)))
    return tuple(sorted(found, key=lambda vf: vf.index))


def _device_folder(link: Link, root: Path) -> Path | None:
    """The device's folder under ``devices``, with links resolved; None when there is none to be sure of."""
    if link.bus and link.bus_device:
        return pci.resolved(root / "bus" / link.bus / "devices" / link.bus_device)
    entry = root / "class" / "net" / link.ifname
    if link.link_kind not in HARDWARE_KINDS or pci.text(entry / "ifindex") != str(link.ifindex):
        return None
    # two namespaces may each have a link of this name and index
    if pci.text(entry / "address") != link.mac_address:
        return None
    return pci.resolved(entry / "device")
