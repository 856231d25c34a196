"""Devices of a node that go into pods whole: virtual functions of a NIC, and NICs themselves.

A step knows what the device was like before, so that DEL, undo and a restart after a crash bring it back from the
journal alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import Literal

LinkState = Literal["auto", "enable", "disable"]


@dataclass(frozen=True, slots=True)
class VfSettings:
    """What a physical function lays down for one of its virtual functions: ``ip link set PF vf N …``."""

    mac_address: str = ""
    """"" leaves it alone, as None does below."""
    vlan: int | None = None
    """0: none; 1 to 4094."""
    qos: int | None = None
    """VLAN priority, 0 to 7."""
    spoof_check: bool | None = None
    trust: bool | None = None
    link_state: LinkState | None = None
    min_tx_rate: int | None = None
    """Mbit/s; 0: none."""
    max_tx_rate: int | None = None
    """Mbit/s; 0: no limit."""


@dataclass(frozen=True, slots=True)
class Vf:
    """One virtual function of a NIC of this node."""

    index: int
    pci_address: str
    driver: str = ""
    """Such as ``iavf`` or ``vfio-pci``; "" when none is bound."""
    ifname: str = ""
    """On the node; "" where it has no netdev there: it is in a pod, or bound to a driver for user space."""
    ifindex: int = 0
    mac_address: str = ""
    mtu: int = 0
    """Bytes."""
    altnames: tuple[str, ...] = ()
    rdma_devices: tuple[str, ...] = ()
    settings: VfSettings = VfSettings()
    """As they are now."""
    up: bool = False
    """Administratively up."""
    alias: str = ""
    group: int = 0
    """The link group of its link."""


@dataclass(frozen=True, slots=True)
class ConfigureVf:
    """Give a virtual function settings; undone by giving it those it had."""

    ifname: str
    """The pod's link that it becomes."""
    parent: str
    """ifname of the physical function on the node."""
    parent_ifindex: int
    index: int
    settings: VfSettings
    before: VfSettings
    """Each of ``settings``' fields as it was."""


@dataclass(frozen=True, slots=True)
class TakeDevice:
    """Move a device of the node into the pod as ``ifname`` and set it up; undone by moving it back as it was."""

    ifname: str
    parent: str
    """ifname of the chosen NIC on the node: the physical function of a VF, or the device itself."""
    device: str
    """ifname of the device on the node, restored when it comes back; "" for one bound to a driver for user space,
    which is passed to the pod by its PCI address alone."""
    pci_address: str = ""
    mtu: int = 0
    """Bytes, inside the pod; 0: as it is."""
    mac_address: str = ""
    """Inside the pod; "": as it is."""
    mtu_before: int = 0
    mac_address_before: str = ""
    altnames_before: tuple[str, ...] = ()
    rdma_devices: tuple[str, ...] = ()
    up_before: bool = False
    """Administratively up."""
    addresses_before: tuple[IPv4Interface | IPv6Interface, ...] = ()
    """On the node, for good; moving takes them off, and they are given back. One with a lease is not among them: by
    then it may be somebody else's."""
    driver_before: str = ""
    """Bound again when another one is when the device comes back; "" for whichever it is."""
    addresses_shown: tuple[IPv4Interface | IPv6Interface, ...] = ()
    """What the node tells of a NIC while a pod has it, where that is more than ``addresses_before``; else ()."""
    alias_before: str = ""
    group_before: int = 0
    """Alias and link group, in whose place the device has its mark meanwhile."""
