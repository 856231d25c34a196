"""On the node: which device a link gets, the chosen NIC itself or a virtual function that the kubelet gave. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multinic_core import AttachmentRequest, ConfigError, NodeView, Plan
from multinic_core.deviceplans import (
    choose_vf,
    find_nic,
    mtu_problem,
    no_nic_reason,
    plan_taken,
    require_free,
    set_vf_up,
    take_nic,
    take_vf,
)
from multinic_core.devices import ConfigureVf, TakeDevice, VfSettings
from multinic_core.errors import SelectionError
from multinic_core.plan import LinkRequest, Nic
from multinic_plugin_host_device.args import PCI_ADDRESS, HostDeviceArgs, host_device_block


def unavailable(config: Mapping[str, Any], nic: Nic, node: NodeView) -> str:
    """Why a NIC is not what the network means, or cannot be given to a pod now; "" when it can."""
    return _not_meant(host_device_block(config), nic) or no_nic_reason(nic, node)


def plan_devices(request: AttachmentRequest, node: NodeView) -> Plan:
    """One device per link: the one that the kubelet gave the pod, else the chosen NIC itself.

    Raises:
        ConfigError: arguments that do not fit, or a NIC that is not what they name; all links at once.
        SelectionError: a device is in use.
    """
    args = host_device_block(request.config)
    taken: list[tuple[TakeDevice, tuple[ConfigureVf, ...]]] = []
    problems: list[str] = []
    for link in request.links:
        nic = find_nic(link, node)
        step, settings, problem = _choose(args, link, nic, node, [step for step, _ in taken])
        problems += [problem] if problem else []
        taken.append((step, settings))
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    return plan_taken(request, taken)


def _choose(
    args: HostDeviceArgs, link: LinkRequest, nic: Nic, node: NodeView, taken: list[TakeDevice]
) -> tuple[TakeDevice, tuple[ConfigureVf, ...], str]:
    """The device with the settings of its VF, and what is wrong with its MTU."""
    mtu = args.mtu or 0
    if link.device and link.device != nic.pci_address:
        vf = choose_vf(link, nic, node, taken)
        problem = mtu_problem(mtu, nic.mtu, f"the MTU of {nic.ifname!r}") if vf.ifname else ""
        settings = VfSettings(mac_address=link.mac_address)
        return take_vf(link, nic, vf, mtu), set_vf_up(link, nic, vf, settings), problem
    if reason := _not_meant(args, nic):
        return take_nic(link, nic, 0), (), reason
    if link.device:
        require_free(link.device, node, {step.pci_address for step in taken})
    if reason := no_nic_reason(nic, node):
        raise SelectionError(f"{link.ifname!r}: {reason}, expected one that no pod has")
    return take_nic(link, nic, mtu), (), mtu_problem(mtu, 65535, "what the kernel knows")


def _not_meant(args: HostDeviceArgs, nic: Nic) -> str:
    """Why the NIC is not the device that the arguments name, or ""."""
    found = f"NIC {nic.ifname!r} is not the one that is named"
    if args.device and args.device not in (nic.ifname, *nic.altnames):
        return f"plugin.device: found {args.device!r}, {found}"
    if args.hwaddr and args.hwaddr.lower() != nic.mac_address.lower():
        return f"plugin.hwaddr: found {args.hwaddr!r}, {found}: it has {nic.mac_address!r}"
    if args.pci_bus_id and args.pci_bus_id != nic.pci_address:
        return f"plugin.pciBusID: found {args.pci_bus_id!r}, {found}: it is {nic.pci_address!r}"
    if args.kernelpath:
        # the folder may be that of the NIC's link, below that of its PCI function
        functions = [part for part in args.kernelpath.split("/") if PCI_ADDRESS.fullmatch(part)]
        if not functions or functions[-1] != nic.pci_address:
            return f"plugin.kernelpath: found {args.kernelpath!r}, {found}: it is {nic.pci_address!r}"
    return ""
