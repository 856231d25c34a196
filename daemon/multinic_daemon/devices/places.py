"""Where a pod's devices and processors sit in the machine, as far as it can be told and no further."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from multinic_core.selection import PodDevice
from multinic_daemon.devices.given import GivenDevice, PodDevices
from multinic_daemon.devices.gpus import PROC, gpu_addresses, whole_id
from multinic_daemon.discovery.pci import SYSFS, function_folder, normal_address, read_function, text
from multinic_daemon.discovery.virtualtopology import NO_PLACES, Places, placed

Kind = Literal["gpu", "nic", "other"]

_KINDS: Mapping[str, Kind] = {"0x02": "nic", "0x03": "gpu", "0x12": "gpu"}
"""PCI base classes: network controllers, display controllers, processing accelerators. Source: PCI Code and ID
Assignment Specification."""
_GPU_RESOURCE = re.compile(r"[^/]+/(gpu|mig-)")
"""Of a device whose place is not known, such as a slice of a GPU."""


def pod_devices(
    given: PodDevices, *, sysfs: Path = SYSFS, proc: Path = PROC, places: Places = NO_PLACES
) -> tuple[PodDevice, ...]:
    """The devices of a pod with their places, by PCI address, those without one last. Blocks on sysfs and proc only.

    A device is looked up when its id is a PCI address or that of a GPU of NVIDIA's driver; several shares of one GPU
    are one device. Of any other the kubelet's word on its NUMA node is all that is known.

    Args:
        places: what is known better than sysfs does.
    """
    gpus = gpu_addresses(proc)
    found: dict[str, PodDevice] = {}
    for device in given.devices:
        id_ = whole_id(device.id)
        address = normal_address(id_) or gpus.get(id_, "")
        found.setdefault(address or id_, _placed(device, address, sysfs, places))
    return tuple(sorted(found.values(), key=lambda device: (not device.pci_address, device.pci_address, device.id)))


def cpu_numa_nodes(cpus: frozenset[int], *, sysfs: Path = SYSFS) -> tuple[int, ...]:
    """NUMA nodes of processors, ascending; () where the machine does not tell. Blocks on sysfs only."""
    found = []
    for file in sysfs.glob("devices/system/node/node*/cpulist"):
        number = file.parent.name.removeprefix("node")
        if number.isdecimal() and not cpus.isdisjoint(_cpus(text(file))):
            found.append(int(number))
    return tuple(sorted(found))


def _placed(device: GivenDevice, address: str, sysfs: Path, places: Places) -> PodDevice:
    told = device.numa_nodes[0] if len(device.numa_nodes) == 1 else None
    folder = function_folder(address, sysfs) if address else None
    if folder is None:
        kind: Kind = "gpu" if _GPU_RESOURCE.match(device.resource) else "other"
        return PodDevice(device.id, kind, address, numa_node=told)
    function = placed(read_function(folder), places)
    node = told if function.numa_node is None else function.numa_node
    kind = _KINDS.get(text(folder / "class")[:4], "other")
    return PodDevice(device.id, kind, address, function.path, node)


def _cpus(listed: str) -> frozenset[int]:
    """``0-2,8`` as 0, 1, 2 and 8."""
    ranges = [part.partition("-") for part in listed.split(",") if part]
    return frozenset(cpu for first, _, last in ranges for cpu in range(int(first), int(last or first) + 1))
