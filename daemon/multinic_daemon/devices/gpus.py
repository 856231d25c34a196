"""Which PCI function an NVIDIA GPU is, by the id that its device plugin uses.

The driver writes one file for each GPU below ``/proc/driver/nvidia/gpus``, so no library of the vendor is needed. A
slice of a GPU (MIG) has an id of its own, which is in no file. Source: NVIDIA driver README, "Using the /proc File
System Interface"; k8s-device-plugin, ids of replicas.
"""

from __future__ import annotations

from pathlib import Path

from multinic_daemon.discovery.pci import normal_address, text

PROC = Path("/proc")


def gpu_addresses(proc: Path = PROC) -> dict[str, str]:
    """Id of each GPU that the driver has in use, such as ``GPU-…``, to its PCI address. Blocks on proc only."""
    found = {}
    for file in proc.glob("driver/nvidia/gpus/*/information"):
        lines = dict(line.partition(":")[::2] for line in text(file).splitlines())
        id_ = lines.get("GPU UUID", "").strip()
        address = normal_address(lines.get("Bus Location", "")) or normal_address(file.parent.name)
        # of a GPU that nobody uses the driver knows no id and writes question marks
        if id_ and "?" not in id_ and address:
            found[id_] = address
    return found


def whole_id(id_: str) -> str:
    """The id of the GPU of which this is a share in time: ``GPU-x::3`` is the third of ``GPU-x``."""
    return id_.partition("::")[0]
