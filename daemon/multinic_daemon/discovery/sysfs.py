"""What sysfs says of the hardware behind a NIC: PCI address, vendor and product.

``/sys/class/net`` shows the network namespace of whoever mounted it, which need not be ours, so a NIC is looked up by
the bus and device that the kernel names over netlink; ``/sys/bus`` is the same for everybody. Kernels before 5.14 name
none: there the entry under ``/sys/class/net`` is used if it is this very link's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from multinic_daemon.netlink import Link

_PCI_ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """The PCI function of a NIC; all "" for one that is not on a PCI bus."""

    vendor: str = ""
    """Four lower-case hex digits."""
    product: str = ""
    """Four lower-case hex digits."""
    pci_address: str = ""
    """Such as ``0000:8a:00.0``."""


NO_DEVICE = DeviceFacts()


def device_facts(link: Link, root: Path = Path("/sys")) -> DeviceFacts:
    """The facts of the link's own device, or of the PCI function that a virtio device sits on. Blocks on sysfs only.

    Args:
        root: where sysfs is mounted.
    """
    device = _device_folder(link, root)
    if device is None:
        return NO_DEVICE
    if not _PCI_ADDRESS.fullmatch(device.name):
        # a virtio NIC is a child of its PCI function; other children (USB, auxiliary) are not NICs of that function
        if not device.name.startswith("virtio") or not _PCI_ADDRESS.fullmatch(device.parent.name):
            return NO_DEVICE
        device = device.parent
    return DeviceFacts(_id(device / "vendor"), _id(device / "device"), device.name)


def _device_folder(link: Link, root: Path) -> Path | None:
    """The device's folder under ``devices``, with links resolved; None when there is none to be sure of."""
    if link.bus and link.bus_device:
        folder = root / "bus" / link.bus / "devices" / link.bus_device
    else:
        entry = root / "class" / "net" / link.ifname
        if link.link_kind or _text(entry / "ifindex") != str(link.ifindex):
            return None
        # two namespaces may each have a link of this name and index
        if _text(entry / "address") != link.mac_address:
            return None
        folder = entry / "device"
    try:
        return folder.resolve(strict=True)
    except (OSError, RuntimeError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _id(path: Path) -> str:
    """``0x15b3`` as ``15b3``."""
    return _text(path).removeprefix("0x").lower()
