"""What stands in the emulated PC, as QEMU's command line.

Two NUMA nodes with a processor each. Below each node's own PCI host bridge are two root ports: one with an Intel 82576,
an SR-IOV NIC (its driver is ``igb``, that of its VFs ``igbvf``), and one with a display controller, which stands for a
GPU. A further NIC without SR-IOV stands for the node's primary network. An IOMMU lets VFs be given to vfio-pci. No NIC
reaches anything outside of the PC, nor another of its NICs.
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
class NumaNode:
    """One NUMA node with its own PCI host bridge."""

    number: int
    bus: int
    """Number of the host bridge's bus; the NIC is on the next one, the display controller on that after."""
    mac: str
    """Of the NIC."""


NODES = (NumaNode(0, 0x20, "52:54:00:00:00:01"), NumaNode(1, 0x40, "52:54:00:00:00:02"))


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
    # One thread for all processors: with a thread for each, QEMU 10.0 lost a timer at times, and the guest stood still.
    command = [str(tools.find(emulator.PROGRAM)), *_firmware(), "-accel", "tcg,thread=single", "-cpu", "max"]
    command += ["-M", "q35", "-m", f"{memory_mb}M", "-smp", f"{len(NODES)},sockets={len(NODES)}"]
    command += ["-nodefaults", "-nographic", "-no-reboot", "-kernel", str(image), "-initrd", str(folder / "initrd")]
    # on a busy machine the emulated timer may be too late for the kernel's own test of it, which ends in a panic
    command += ["-append", "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off no_timer_check"]
    command += ["-chardev", f"file,id=console,path=/proc/self/fd/{console_descriptor}", "-serial", "chardev:console"]
    command += ["-virtfs", f"local,path=/,mount_tag={initrd.TAG},security_model=none,readonly=on,multidevs=remap"]
    command += ["-device", "intel-iommu,intremap=on", "-device", "virtio-serial-pci"]
    for name, path in ((OUTPUT, f"/proc/self/fd/{output_descriptor}"), (STATUS, str(folder / "status"))):
        command += ["-chardev", f"file,id={name},path={path}", "-device", f"virtserialport,chardev={name},name={name}"]
    command += ["-netdev", "hubport,id=primary,hubid=0"]
    command += ["-device", f"virtio-net-pci,netdev=primary,mac={PRIMARY_MAC},romfile="]
    for node in NODES:
        command += _numa_node(node, memory_mb // len(NODES))
    return command


def _numa_node(node: NumaNode, memory_mb: int) -> list[str]:
    n = node.number
    root_port, slot = f"pcie-root-port,bus=bridge{n},chassis={n + 1}", 2 * n
    return [
        *("-object", f"memory-backend-ram,id=memory{n},size={memory_mb}M"),
        *("-numa", f"node,nodeid={n},cpus={n},memdev=memory{n}"),
        *("-device", f"pxb-pcie,id=bridge{n},bus=pcie.0,bus_nr={node.bus},numa_node={n}"),
        *("-device", f"{root_port},id=nic{n},slot={slot + 1}"),
        *("-netdev", f"hubport,id=net{n},hubid={n + 1}"),
        *("-device", f"igb,bus=nic{n},netdev=net{n},mac={node.mac}"),
        *("-device", f"{root_port},id=gpu{n},slot={slot + 2}"),
        *("-device", f"bochs-display,bus=gpu{n},romfile="),
    ]


def _firmware() -> list[str]:
    share = tools.checkout() / ".tools" / emulator.FOLDER / "usr" / "share"
    return [part for name in ("qemu", "seabios") for part in ("-L", str(share / name))]
