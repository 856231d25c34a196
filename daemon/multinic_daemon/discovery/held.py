"""NICs that sit in pods: gone from the node's links, and still the node's own.

What they are like is known from when they were here; after a restart of the daemon, from what the journal wrote down
for giving them back, and from sysfs, which shows hardware whatever namespace its link is in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from multinic_core.devices import TakeDevice
from multinic_core.plan import Nic, NodeView
from multinic_daemon.discovery import pci
from multinic_daemon.journal.held import HeldDevices


def held_nics(held: HeldDevices, view: Callable[[], NodeView], root: Path = pci.SYSFS) -> dict[str, Nic]:
    """ifname on the node to each NIC that a pod has itself; VFs are their physical function's.

    Args:
        view: the node as it was seen last.
        root: where sysfs is mounted.
    """
    nics: Mapping[str, Nic] = view().nics
    found: dict[str, Nic] = {}
    for step in held.devices:
        if step.device != step.parent:
            continue
        last = nics.get(step.device)
        known = last is not None and last.pci_address == step.pci_address
        found[step.device] = replace(last, vfs=()) if known and last is not None else _recorded(step, root)
    return found


def _recorded(step: TakeDevice, root: Path) -> Nic:
    folder = pci.resolved(root / "bus" / "pci" / "devices" / step.pci_address) if step.pci_address else None
    function = pci.read_function(folder) if folder is not None else pci.NO_FUNCTION
    return Nic(
        ifname=step.device,
        ifindex=0,
        mtu=step.mtu_before,
        mac_address=step.mac_address_before,
        addresses=step.addresses_shown or step.addresses_before,
        vendor=function.vendor,
        product=function.product,
        pci_address=step.pci_address,
        altnames=step.altnames_before,
        driver=step.driver_before,
        numa_node=function.numa_node,
        pci_path=function.path,
        rdma_devices=step.rdma_devices,
        own_addresses=step.addresses_before,
        switched_on=step.up_before,
        alias=step.alias_before,
        group=step.group_before,
    )
