"""What stands in the emulated PC, as QEMU's command line.

Two NUMA nodes with a processor each. Below each node's own PCI host bridge is a root port with one Intel 82576, an
SR-IOV NIC: its driver is ``igb``, that of its VFs ``igbvf``. A further NIC without SR-IOV stands for the node's primary
network. An IOMMU lets VFs be given to vfio-pci. No NIC reaches anything outside of the PC, nor another of its NICs.
"""

from dataclasses import dataclass
from pathlib import Path

from ..provision import debian, emulator, tools
from . import initrd

MAX_VFS = 7
"""That one 82576 has. Source: Intel 82576 datasheet, section 7.10, "IOV"."""
PRIMARY_MAC = "52:54:00:00:01:00"
MODULES = (
    "virtio_net",
    "igb",
    "igbvf",
    "vfio-pci",
    "veth",
    "bridge",
    "ipvlan",
    "macvlan",
    "8021q",
    "vrf",
    "dummy",
    "bonding",
)
"""Loaded at boot; everything else loads when it is asked for, through the kernel's own module loader."""
OUTPUT, STATUS = "multinic.output", "multinic.status"
"""Names of the ports that take what the command prints, and its exit status at the end."""


@dataclass(frozen=True, slots=True)
class Pf:
    """One port with SR-IOV."""

    numa_node: int
    bus: int
    """Number of the NUMA node's own PCI host bridge; the root port below is on it, the NIC on the next."""
    mac: str

    @property
    def pci_address(self) -> str:
        """Where the guest finds it."""
        return f"0000:{self.bus + 1:02x}:00.0"


PFS = (Pf(0, 0x20, "52:54:00:00:00:01"), Pf(1, 0x40, "52:54:00:00:00:02"))


def kernel() -> tuple[Path, Path]:
    """The kernel and the folder of its modules.

    Raises:
        ToolMissingError: they have not been unpacked; the message says what to do.
    """
    root = tools.checkout() / ".tools" / emulator.FOLDER
    try:
        version = emulator.version(root)
    except debian.ProvisionError as error:
        raise tools.ToolMissingError(f"{error}: run 'make emulator'") from error
    return root / "boot" / f"vmlinuz-{version}", root / "usr" / "lib" / "modules" / version


def command_line(folder: Path, memory_mb: int, output_descriptor: int, console_descriptor: int) -> list[str]:
    """The QEMU command.

    Args:
        folder: the machine's own; its ``initrd`` is booted and its ``status`` gets the exit status.
        memory_mb: of the whole PC.
        output_descriptor: gets what the command prints.
        console_descriptor: gets the kernel's messages.

    Raises:
        ToolMissingError: QEMU or the kernel is not there.
    """
    image, _ = kernel()
    # Software emulation everywhere: /dev/kvm may be there and still not work, and what is tested is not speed.
    command = [str(tools.find(emulator.PROGRAM)), *_firmware(), "-accel", "tcg,thread=single", "-cpu", "max"]
    command += ["-M", "q35", "-m", f"{memory_mb}M", "-smp", f"{len(PFS)},sockets={len(PFS)}"]
    command += ["-nodefaults", "-nographic", "-no-reboot", "-kernel", str(image), "-initrd", str(folder / "initrd")]
    command += ["-append", "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off"]
    command += ["-chardev", f"file,id=console,path=/proc/self/fd/{console_descriptor}", "-serial", "chardev:console"]
    command += ["-virtfs", f"local,path=/,mount_tag={initrd.TAG},security_model=none,readonly=on,multidevs=remap"]
    command += ["-device", "intel-iommu,intremap=on", "-device", "virtio-serial-pci"]
    for name, path in ((OUTPUT, f"/proc/self/fd/{output_descriptor}"), (STATUS, str(folder / "status"))):
        command += ["-chardev", f"file,id={name},path={path}", "-device", f"virtserialport,chardev={name},name={name}"]
    command += ["-netdev", "hubport,id=primary,hubid=0"]
    command += ["-device", f"virtio-net-pci,netdev=primary,mac={PRIMARY_MAC},romfile="]
    for number, pf in enumerate(PFS, 1):
        share = memory_mb // len(PFS)
        command += ["-object", f"memory-backend-ram,id=memory{number},size={share}M"]
        command += ["-numa", f"node,nodeid={pf.numa_node},cpus={pf.numa_node},memdev=memory{number}"]
        command += ["-device", f"pxb-pcie,id=bridge{number},bus=pcie.0,bus_nr={pf.bus},numa_node={pf.numa_node}"]
        command += ["-device", f"pcie-root-port,id=port{number},bus=bridge{number},chassis={number},slot={number}"]
        command += ["-netdev", f"hubport,id=net{number},hubid={number}"]
        command += ["-device", f"igb,bus=port{number},netdev=net{number},mac={pf.mac}"]
    return command


def _firmware() -> list[str]:
    share = tools.checkout() / ".tools" / emulator.FOLDER / "usr" / "share"
    return [part for name in ("qemu", "seabios") for part in ("-L", str(share / name))]
