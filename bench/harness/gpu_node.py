"""A node with GPUs and NICs below PCI switches, half of them on each of two NUMA nodes, as values."""

from __future__ import annotations

from ipaddress import ip_interface

from multinic_core import Nic, PodDevice

SPEED = 100_000
"""Mbit/s of a NIC."""


def make_nics(count: int, gpus: int = 8) -> list[Nic]:
    """NICs ``fabric00`` and on, as many below each GPU's switch, with one address each."""
    return [
        Nic(
            f"fabric{number:02}",
            10 + number,
            9000,
            addresses=(ip_interface(f"10.{number}.0.1/16"),),
            vendor="15b3",
            product="1021",
            pci_address=f"{_bus(number * gpus // count)}{8 + number * gpus % count // gpus:x}.0",
            speed=SPEED,
            numa_node=_numa(number * gpus // count, gpus),
            pci_path=_path(number * gpus // count, f"{8 + number:02x}"),
        )
        for number in range(count)
    ]


def make_gpus(count: int = 8) -> tuple[PodDevice, ...]:
    """One GPU below each switch."""
    return tuple(
        PodDevice(f"GPU-{number}", "gpu", f"{_bus(number)}1.0", _path(number, "01"), _numa(number, count))
        for number in range(count)
    )


def _bus(switch: int) -> str:
    return f"0000:{16 * (switch + 1) + 3:02x}:0"


def _path(switch: int, port: str) -> tuple[str, ...]:
    """Root port, switch, and the switch's port to the device."""
    base = 16 * (switch + 1)
    return f"0000:{base:02x}:01.0", f"0000:{base + 1:02x}:00.0", f"0000:{base + 2:02x}:{port}.0"


def _numa(switch: int, switches: int) -> int:
    return 2 * switch // switches
