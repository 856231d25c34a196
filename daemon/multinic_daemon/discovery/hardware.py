"""The hardware behind the NICs of a node, read once and again when it was announced to have changed.

Three things are kept, each for as long as nothing was announced about it: what sysfs says of a link's device, for as
long as the link has that device; the settings of VFs, which the kernel tells of their physical function; and the speed
of a link, for as long as the link is as it was. A link without carrier has no speed to tell; it keeps the one it had,
so that a pulled cable changes nothing that is published.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from multinic_core.devices import Vf, VfSettings
from multinic_core.errors import KernelError
from multinic_daemon.discovery.pci import SYSFS
from multinic_daemon.discovery.sysfs import (
    HARDWARE_KINDS,
    NO_DEVICE,
    DeviceFacts,
    VirtualFunction,
    device_facts,
    link_speed,
)
from multinic_daemon.discovery.virtualtopology import VIRTUAL_TOPOLOGY, VirtualTopology
from multinic_daemon.netlink import Conversation, Link, NetnsFile
from multinic_daemon.netlink.devices import read_vfs
from multinic_daemon.netlink.ethtool import read_speeds
from multinic_daemon.podlinks.marks import without_mark

_DeviceKey = tuple[str, int, str, str]


@dataclass(frozen=True, slots=True)
class Hardware:
    """Of one NIC."""

    device: DeviceFacts = NO_DEVICE
    speed: int = 0
    """Mbit/s; 0: unknown."""
    vfs: tuple[Vf, ...] = ()
    """By index."""


NO_HARDWARE = Hardware()


@dataclass(slots=True)
class _Known:
    """What was read; replaced when it may be wrong, so that a reading under way cannot put back what was dropped."""

    devices: dict[_DeviceKey, DeviceFacts] = field(default_factory=dict)
    settings: dict[int, dict[int, VfSettings]] = field(default_factory=dict)
    """ifindex of a physical function to VF index to settings."""


class HardwareReader:
    """Reads what it does not know; ``read`` in any one thread at a time, the rest in the trio thread."""

    def __init__(self, sysfs: Path = SYSFS, topology: Path = VIRTUAL_TOPOLOGY) -> None:
        self._sysfs = sysfs
        self._topology = VirtualTopology(topology)
        self._known = _Known()
        self._speeds: dict[int, tuple[Link, int]] = {}
        self._with_vfs: frozenset[int] = frozenset()

    def has_vfs(self, ifindex: int) -> bool:
        """Whether an announcement about this link may be about a setting of its VFs."""
        return ifindex in self._with_vfs

    def forget_devices(self) -> None:
        """Devices came, went or have other drivers."""
        self._known = _Known()

    def forget_settings(self) -> None:
        """Settings of VFs may have changed."""
        self._known = _Known(devices=self._known.devices)

    def read(
        self, links: Sequence[Link], names: Iterable[str], kernel: Conversation, netns: NetnsFile | None
    ) -> dict[str, Hardware]:
        """ifname to hardware of the links that are named. Blocks.

        Args:
            links: all of the namespace.
            kernel: a conversation with the namespace.
            netns: that namespace; None: that of the thread.

        Raises:
            KernelError: the kernel does not answer.
        """
        wanted, known = frozenset(names), self._known
        nics = [link for link in links if link.ifname in wanted]
        keys = {link.ifname: (link.ifname, link.ifindex, link.bus, link.bus_device) for link in nics}
        devices = {nic.ifname: known.devices.get(keys[nic.ifname]) or self._look(nic) for nic in nics}
        known.devices = {keys[ifname]: device for ifname, device in devices.items()}
        self._with_vfs = frozenset(nic.ifindex for nic in nics if devices[nic.ifname].vfs)
        settings = known.settings
        known.settings = {
            each: settings[each] if each in settings else _settings(kernel, each) for each in self._with_vfs
        }
        speeds = self._read_speeds(nics, netns)
        return {
            nic.ifname: Hardware(
                devices[nic.ifname],
                speeds[nic.ifindex],
                join_vfs(devices[nic.ifname], links, known.settings.get(nic.ifindex, {})),
            )
            for nic in nics
        }

    def _look(self, nic: Link) -> DeviceFacts:
        return device_facts(nic, self._sysfs, self._topology.places())

    def _read_speeds(self, nics: list[Link], netns: NetnsFile | None) -> dict[int, int]:
        changed = [nic for nic in nics if self._speeds.get(nic.ifindex, (None,))[0] != nic]
        told = read_speeds(netns, [nic.ifindex for nic in changed]) if changed else {}
        speeds = {nic.ifindex: self._speeds.get(nic.ifindex, (nic, 0)) for nic in nics}
        for nic in changed:
            now = told.get(nic.ifindex) or link_speed(nic, self._sysfs)
            _, last = speeds[nic.ifindex]
            speeds[nic.ifindex] = (nic, now if now or nic.carrier else last)
        self._speeds = speeds
        return {ifindex: speed for ifindex, (_, speed) in speeds.items()}


def join_vfs(device: DeviceFacts, links: Iterable[Link], settings: Mapping[int, VfSettings]) -> tuple[Vf, ...]:
    """The VFs of a device with the links that they have among these, and their settings by VF index."""
    addresses = {vf.address for vf in device.vfs}
    netdevs = {
        link.bus_device: link for link in links if link.bus_device in addresses and link.link_kind in HARDWARE_KINDS
    }
    return tuple(_vf(vf, netdevs.get(vf.address), settings.get(vf.index, VfSettings())) for vf in device.vfs)


def _settings(kernel: Conversation, ifindex: int) -> dict[int, VfSettings]:
    """None known of a link that is gone, and where there are more VFs than fit the kernel's answer."""
    try:
        return read_vfs(kernel, ifindex)
    except KernelError as error:
        if error.errno not in (errno.ENODEV, errno.EMSGSIZE):
            raise
        return {}


def _vf(found: VirtualFunction, link: Link | None, settings: VfSettings) -> Vf:
    vf = Vf(found.index, found.address, found.driver, rdma_devices=found.rdma_devices, settings=settings)
    if link is None:
        return vf
    group, alias = without_mark(link.group, link.alias)
    return replace(
        vf,
        ifname=link.ifname,
        ifindex=link.ifindex,
        mac_address=link.mac_address,
        mtu=link.mtu,
        altnames=link.altnames,
        up=link.up,
        alias=alias,
        group=group,
    )
