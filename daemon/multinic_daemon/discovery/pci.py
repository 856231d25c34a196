"""PCI functions as sysfs shows them: where they sit, what they are and who drives them.

The folder of a function lies below those of the bridges that lead to it, so its resolved path is its place: two
functions are as near to each other as their paths are long in common. A GPU is looked up here like a NIC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

SYSFS = Path("/sys")

_ADDRESS = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}:[01][0-9a-f]\.[0-7])")


@dataclass(frozen=True, slots=True)
class PciFunction:
    """One function of the PCI bus."""

    address: str = ""
    """Such as ``0000:8a:00.0``; "" for a device that is on no PCI bus."""
    vendor: str = ""
    """Four lower-case hex digits."""
    product: str = ""
    """Four lower-case hex digits."""
    driver: str = ""
    """"" when none is bound."""
    numa_node: int | None = None
    """None where the machine has no such nodes or does not tell."""
    path: tuple[str, ...] = ()
    """PCI addresses from the root port down to, and without, the function; () on the root bus."""
    rdma_devices: tuple[str, ...] = ()
    """By name, such as ``mlx5_0``."""


NO_FUNCTION = PciFunction()


def normal_address(text: str) -> str:
    """A PCI address as sysfs writes it, from one in capitals, without domain or with eight digits; "" for other text.

    NVML writes ``00000000:0C:05.0`` for what sysfs calls ``0000:0c:05.0``.
    """
    found = _ADDRESS.fullmatch(text.strip().lower())
    if found is None:
        return ""
    return f"{(found[1] or '').lstrip('0').rjust(4, '0')}:{found[2]}"


def function_folder(address: str, root: Path = SYSFS) -> Path | None:
    """The folder of a function, with links resolved; None when there is no such function. Blocks on sysfs only."""
    return resolved(root / "bus" / "pci" / "devices" / address)


def read_function(folder: Path) -> PciFunction:
    """What the resolved folder of a function says. Blocks on sysfs only; what cannot be read counts as not told."""
    return PciFunction(
        address=folder.name,
        vendor=_id(folder / "vendor"),
        product=_id(folder / "device"),
        driver=driver(folder),
        numa_node=numa_node(folder),
        path=tuple(part for part in folder.parts[:-1] if normal_address(part) == part),
        rdma_devices=rdma_devices(folder),
    )


def driver(folder: Path) -> str:
    """Name of the driver of a device, or ""."""
    try:
        return (folder / "driver").readlink().name
    except OSError:
        return ""


def numa_node(folder: Path) -> int | None:
    """NUMA node of a device; the kernel writes -1 for none."""
    found = number(folder / "numa_node", -1)
    return found if found >= 0 else None


def rdma_devices(folder: Path) -> tuple[str, ...]:
    """Names of the RDMA devices of a PCI function, sorted."""
    try:
        return tuple(sorted(entry.name for entry in (folder / "infiniband").iterdir()))
    except OSError:
        return ()


def resolved(path: Path) -> Path | None:
    """The path without links in it; None when it leads nowhere."""
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError):
        return None


def text(path: Path) -> str:
    """Content without blanks around it; "" for a file that is away or gives an error, as some do."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def number(path: Path, otherwise: int = 0) -> int:
    """A whole number."""
    try:
        return int(text(path))
    except ValueError:
        return otherwise


def _id(path: Path) -> str:
    """``0x15b3`` as ``15b3``."""
    return text(path).removeprefix("0x").lower()
