"""SR-IOV NICs for tests that run in the emulated PC: found in sysfs, given VFs, and left without any."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PCI_DEVICES = Path("/sys/bus/pci/devices")
APPEAR_SECONDS = 60.0
"""An emulated PC on a busy machine is slow; what has not come by then does not come."""


@dataclass(frozen=True, slots=True)
class PciFunction:
    """One PCI function that is a NIC."""

    pci_address: str

    @property
    def sysfs(self) -> Path:
        """Its folder in sysfs."""
        return PCI_DEVICES / self.pci_address

    @property
    def ifname(self) -> str:
        """Its link, or "" when there is none in the network namespace that this process is in.

        It has another driver then, or its link is elsewhere.
        """
        return next((path.name for path in self.sysfs.glob("net/*")), "")


@dataclass(frozen=True, slots=True)
class Vf(PciFunction):
    """One VF."""

    vf_index: int


@dataclass(frozen=True, slots=True)
class Pf(PciFunction):
    """One PF."""

    @property
    def numa_node(self) -> int:
        """The NUMA node it is on."""
        return int((self.sysfs / "numa_node").read_text())

    @property
    def max_vfs(self) -> int:
        """How many VFs it can have."""
        return int((self.sysfs / "sriov_totalvfs").read_text())

    def make_vfs(self, count: int) -> list[Vf]:
        """Give it this many VFs in place of those it had; they have links once this returns. 0 takes all away."""
        (self.sysfs / "sriov_numvfs").write_text("0")
        if count:
            (self.sysfs / "sriov_numvfs").write_text(str(count))
        vfs = self.vfs()
        wait_until(lambda: all(vf.ifname for vf in vfs), f"links of the VFs of {self.pci_address}")
        return vfs

    def vfs(self) -> list[Vf]:
        """Its VFs, by index."""
        links = [path for path in self.sysfs.iterdir() if path.name.startswith("virtfn")]
        found = [Vf(path.resolve().name, int(path.name.removeprefix("virtfn"))) for path in links]
        return sorted(found, key=lambda vf: vf.vf_index)


def find_pfs() -> list[Pf]:
    """The PFs of this machine that can have VFs, by PCI address."""
    return [Pf(path.parent.name) for path in sorted(PCI_DEVICES.glob("*/sriov_totalvfs")) if int(path.read_text())]


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Return once `holds`.

    Raises:
        AssertionError: it never did.
    """
    deadline = time.monotonic() + APPEAR_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not there after {APPEAR_SECONDS:.0f} s"
        time.sleep(0.02)
