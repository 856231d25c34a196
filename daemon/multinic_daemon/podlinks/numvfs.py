"""How many virtual functions a NIC has, by sysfs: the kernel makes them all at once, and only where there are none."""

from __future__ import annotations

import errno
from pathlib import Path

from multinic_core.errors import KernelError
from multinic_daemon.discovery.pci import SYSFS


def make_vfs(pci_address: str, count: int, sysfs: Path = SYSFS) -> None:
    """Give a NIC this many VFs in place of those it has, none of which may be in use; blocks while drivers bind.

    Raises:
        KernelError: the NIC is gone, cannot have VFs, or the kernel refused; then it has none, or those it had.
    """
    file = sysfs / "bus" / "pci" / "devices" / pci_address / "sriov_numvfs"
    subject = f"{count} VFs of NIC {pci_address}"
    try:
        now = int(file.read_text())
        if now == count:
            return
        if now:
            file.write_text("0")
        file.write_text(str(count))
    except FileNotFoundError as error:
        raise KernelError(f"{subject}: no such NIC, or one that can have none", errno.ENODEV) from error
    except OSError as error:
        way_out = "make them by hand, or use the SR-IOV operator and leave out manageVfs"
        raise KernelError(subject, error.errno or 0, details=way_out) from error
