"""The arguments of host-device, as users write them and as the netconf carries them.

A device may be named in the four ways of the CNI plugin host-device. Without any of them the attachment policy, or the
device plugin whose resource is named, says which devices a pod gets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from multinic_core.args import PluginArgs, read_args, read_plugin_block, shaped
from multinic_core.errors import ConfigError

DEVICE_KEYS = ("device", "hwaddr", "kernelpath", "pciBusID")
"""Ways to name one device. Source: keys of the CNI plugin host-device."""
OTHER_SPELLINGS = {"deviceID": "pciBusID"}
"""Spelling that is accepted, as runtimes use it, to the one that is used."""
PCI_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")


class HostDeviceArgs(PluginArgs):
    """Arguments of host-device."""

    device: Annotated[str, shaped(r"[^/\s]{1,15}", "a link's name of 1 to 15 characters such as 'eth3'")] | None = None
    """Name of the device on every node: ``ip link set DEVICE netns POD``."""
    hwaddr: (
        Annotated[str, shaped("([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", "a MAC address such as '02:42:ac:11:00:02'")] | None
    ) = None
    """MAC address of the device."""
    kernelpath: Annotated[str, shaped(r"/sys/devices/\S+", "a folder below '/sys/devices/'")] | None = None
    """Folder of the device, such as ``/sys/devices/pci0000:00/0000:00:1f.6``."""
    pci_bus_id: (
        Annotated[str, shaped(PCI_ADDRESS.pattern, "a PCI address such as '0000:3b:00.0', in lower case")] | None
    ) = Field(default=None, alias="pciBusID")
    """PCI address of the device, such as ``0000:00:1f.6``."""
    resource_name: Annotated[
        str,
        shaped(
            "([a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?",
            "a prefix and a name such as 'nvidia.com/hostdev'",
        ),
    ] = Field(default="", alias="resourceName")
    """What a device plugin calls the devices, with its prefix, such as ``nvidia.com/hostdev``."""
    mtu: int | None = Field(default=None, ge=0, le=65535)
    """Bytes inside the pod; 0 or absent: as the device is. ``ip link set DEVICE mtu MTU``."""


class MellanoxArgs(PluginArgs):
    """Mellanox has no arguments: the NicClusterPolicy says it all."""


def _one_spelling(values: Mapping[str, Any], path: str) -> dict[str, Any]:
    read = {key: value for key, value in values.items() if key not in OTHER_SPELLINGS}
    for other, used in OTHER_SPELLINGS.items():
        if other in values and read.setdefault(used, values[other]) != values[other]:
            raise ConfigError(
                f"{path}.{other}: found {values[other]!r} beside {used} {values[used]!r}, expected one of the two"
            )
    return read


def _fitting(args: HostDeviceArgs, path: str) -> HostDeviceArgs:
    named = [key for key in DEVICE_KEYS if key in args.model_dump(exclude_none=True, by_alias=True)]
    if len(named) > 1:
        raise ConfigError(f"{path}.{named[1]}: found beside {named[0]}, expected at most one of {list(DEVICE_KEYS)!r}")
    return args


def host_device_args(values: Mapping[str, Any], path: str = "spec.plugin.args") -> HostDeviceArgs:
    """The arguments that a user wrote, strings all.

    Raises:
        ConfigError: unknown keys, values that do not fit, or several devices, with field paths.
    """
    return _fitting(read_args(HostDeviceArgs, _one_spelling(values, path), path), path)


def host_device_block(block: Mapping[str, Any]) -> HostDeviceArgs:
    """The arguments in a netconf's ``plugin`` block; keys of others are passed over.

    Raises:
        ConfigError: a value does not fit, with its field path.
    """
    return _fitting(read_plugin_block(HostDeviceArgs, _one_spelling(block, "plugin")), "plugin")
