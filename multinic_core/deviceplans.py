"""Planning devices: what every main plugin does that gives a pod a NIC, or a virtual function of one, whole.

The kubelet's choice comes first: a link that names a device gets that one. Otherwise it gets the chosen NIC itself, or
the free virtual function of the lowest index.
"""

from __future__ import annotations

from collections.abc import Sequence

from multinic_core.devices import ConfigureVf, TakeDevice, Vf, VfSettings
from multinic_core.errors import ConfigError, SelectionError
from multinic_core.links import LOOSE_FILTER, MIN_MTU, OWN_ARP
from multinic_core.plan import AddAddress, AttachmentRequest, LinkRequest, Nic, NodeView, Plan, SetSysctl, Step

USER_SPACE_DRIVERS = frozenset({"vfio-pci", "uio_pci_generic", "igb_uio"})
"""Drivers that hand a function to a process: it has no netdev."""


def nic_key(nic: Nic) -> str:
    """By what a NIC is known to be held: its PCI address, or its name where it has none."""
    return nic.pci_address or nic.ifname


def device_key(step: TakeDevice) -> str:
    """The same of a device that is taken."""
    return step.pci_address or step.device


def free_vfs(nic: Nic, node: NodeView) -> tuple[Vf, ...]:
    """Virtual functions that a pod may have, by index: held by nobody, with a netdev on the node that is none of its
    NICs."""
    return tuple(
        vf for vf in nic.vfs if vf.ifname and vf.ifname not in node.nics and vf.pci_address not in node.devices_held
    )


def no_vf_reason(nic: Nic, node: NodeView) -> str:
    """Why a NIC has no virtual function to give now, or ""."""
    if nic_key(nic) in node.devices_held:
        return f"no VF on {nic.ifname!r}: the NIC itself sits in a pod"
    if not nic.vfs:
        possible = f"it can have {nic.vfs_possible}" if nic.vfs_possible else "it can have none"
        return f"no VF on {nic.ifname!r}: {possible}, and has none"
    if free_vfs(nic, node):
        return ""
    bound = [vf for vf in nic.vfs if vf.driver in USER_SPACE_DRIVERS and vf.pci_address not in node.devices_held]
    others = f", {len(bound)} bound to a driver for user space" if bound else ""
    return f"no free VF on {nic.ifname!r}: {len(nic.vfs) - len(bound)} of {len(nic.vfs)} in use{others}"


def no_nic_reason(nic: Nic, node: NodeView) -> str:
    """Why a NIC cannot be given to a pod itself now, or ""."""
    if nic_key(nic) in node.devices_held:
        return f"NIC {nic.ifname!r} is in use: it sits in another pod"
    if held := [vf for vf in nic.vfs if vf.pci_address in node.devices_held]:
        return f"NIC {nic.ifname!r} is in use: {len(held)} of its {len(nic.vfs)} VFs are in use by pods"
    return ""


def find_nic(link: LinkRequest, node: NodeView) -> Nic:
    """The chosen NIC.

    Raises:
        ConfigError: the node has none of this name.
    """
    nic = node.nics.get(link.parent)
    if nic is None:
        raise ConfigError(f"{link.ifname!r}: no NIC {link.parent!r} on {node.name!r}, found {sorted(node.nics)!r}")
    return nic


def choose_vf(link: LinkRequest, nic: Nic, node: NodeView, taken: Sequence[TakeDevice] = ()) -> Vf:
    """The virtual function that the link names, else a free one.

    Args:
        taken: devices that earlier links of the same attachment get.

    Raises:
        ConfigError: it names one that this NIC does not have.
        SelectionError: it names one that is in use, or there is no free one.
    """
    held = {step.pci_address for step in taken}
    if nic_key(nic) in node.devices_held:
        raise SelectionError(no_vf_reason(nic, node))
    if link.device:
        vf = next((each for each in nic.vfs if each.pci_address == link.device), None)
        if vf is None:
            found = [each.pci_address for each in nic.vfs]
            raise ConfigError(f"device {link.device!r}: not a VF of NIC {nic.ifname!r}, expected one of {found!r}")
        require_free(link.device, node, held)
        if not vf.ifname and vf.driver not in USER_SPACE_DRIVERS:
            raise SelectionError(
                f"device {link.device!r}: VF {vf.index} of NIC {nic.ifname!r} is in use: its link is not on the node,"
                f" though it has driver {vf.driver!r}; expected one that nobody has moved away"
            )
        return vf
    free = [vf for vf in free_vfs(nic, node) if vf.pci_address not in held]
    if not free:
        reason = no_vf_reason(nic, node) or f"no free VF on {nic.ifname!r}: this pod gets the last {len(held)}"
        raise SelectionError(reason)
    return free[0]


def require_free(device: str, node: NodeView, taken: set[str]) -> None:
    """Raises SelectionError when a device that the kubelet named is held by an attachment, or named twice."""
    if device in node.devices_held:
        raise SelectionError(f"device {device!r}: in use by another attachment, expected a free one")
    if device in taken:
        raise SelectionError(f"device {device!r}: given twice, expected a device of its own for each link")


def take_nic(link: LinkRequest, nic: Nic, mtu: int) -> TakeDevice:
    """The step that gives a pod the NIC itself; ``mtu``: bytes inside the pod, 0: as it is."""
    return TakeDevice(
        link.ifname,
        nic.ifname,
        nic.ifname,
        nic.pci_address,
        mtu,
        link.mac_address,
        mtu_before=nic.mtu,
        mac_address_before=nic.mac_address,
        altnames_before=nic.altnames,
        rdma_devices=nic.rdma_devices,
        up_before=nic.switched_on,
        addresses_before=nic.own_addresses,
        driver_before=nic.driver if nic.pci_address else "",
        addresses_shown=() if nic.addresses == nic.own_addresses else nic.addresses,
        alias_before=nic.alias,
        group_before=nic.group,
    )


def take_vf(link: LinkRequest, nic: Nic, vf: Vf, mtu: int) -> TakeDevice:
    """The step that gives a pod a virtual function; one without a netdev is passed by its PCI address."""
    netdev = bool(vf.ifname)
    return TakeDevice(
        link.ifname,
        nic.ifname,
        vf.ifname,
        vf.pci_address,
        mtu if netdev else 0,
        link.mac_address,
        mtu_before=vf.mtu,
        mac_address_before=vf.mac_address,
        altnames_before=vf.altnames,
        rdma_devices=vf.rdma_devices,
        up_before=vf.up,
        driver_before=vf.driver,
        alias_before=vf.alias,
        group_before=vf.group,
    )


def set_vf_up(link: LinkRequest, nic: Nic, vf: Vf, settings: VfSettings) -> tuple[ConfigureVf, ...]:
    """The step that gives a virtual function its settings; none where none is asked for."""
    if settings == VfSettings():
        return ()
    return (ConfigureVf(link.ifname, nic.ifname, nic.ifindex, vf.index, settings, vf.settings),)


def mtu_problem(mtu: int, highest: int, subject: str) -> str:
    """What is wrong with an MTU in bytes, or ""; 0 is as the device is."""
    if not mtu or MIN_MTU <= mtu <= highest:
        return ""
    return f"plugin.mtu: found {mtu}, expected {MIN_MTU} to {highest} bytes, {subject}; or 0 for the device's own"


def plan_taken(request: AttachmentRequest, taken: Sequence[tuple[TakeDevice, tuple[ConfigureVf, ...]]]) -> Plan:
    """The plan for devices that are chosen: settings, devices, addresses, and what a pod with several links needs."""
    steps: list[Step] = []
    settings = (*LOOSE_FILTER.items(), *OWN_ARP.items()) if len(request.links) > 1 else ()
    for link, (step, setting_up) in zip(request.links, taken, strict=True):
        steps += [*setting_up, step]
        if step.device:
            steps += [AddAddress(link.ifname, address) for address in link.addresses]
            steps += [SetSysctl(f"net/ipv4/conf/{link.ifname}/{name}", value) for name, value in settings]
    return Plan(tuple(steps))
