"""The file in which a pod can read what device a network gave it: the action ``device-info``.

A runtime that speaks the Network Plumbing Working Group's device information specification names a file; whoever gives
a pod a device writes there which one it is, and the runtime hands it on to the pod. It goes when the device goes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from multinic_core.devices import TakeDevice
from multinic_core.errors import ActionError, ConfigError
from multinic_core.hookspecs import Action, hookimpl
from multinic_core.outside import Act
from multinic_core.plan import NodeView

NAME = "device-info"
FIELD = "CNIDeviceInfoFile"
"""Of ``runtimeConfig``. Source: Device Information Specification 1.1.0, "CNI Plugin Behavior"."""
VERSION = "1.1.0"
FOLDERS = ("/var/run/k8s.cni.cncf.io/devinfo/cni", "/run/k8s.cni.cncf.io/devinfo/cni")
"""The one place of such files, by its two names. Source: the same."""


def device_info(asked: object, devices: Sequence[TakeDevice], node: NodeView) -> tuple[Act, ...]:
    """The step that tells a pod of its device; none where nobody asks, or nothing on the PCI bus is taken.

    Args:
        asked: what the runtime says in ``FIELD``; one file tells of one device, so of several it is the first.

    Raises:
        ConfigError: it names no file in the place of such files.
    """
    if not asked:
        return ()
    if not isinstance(asked, str) or not _in_place(asked):
        raise ConfigError(f"runtimeConfig.{FIELD}: found {asked!r}, expected the path of a file in {FOLDERS[0]!r}")
    step = next((step for step in devices if step.pci_address), None)
    if step is None:
        return ()
    pci: dict[str, str] = {"pci-address": step.pci_address}
    physical = node.nics[step.parent].pci_address
    if physical and physical != step.pci_address:
        pci["pf-pci-address"] = physical
    if step.rdma_devices:
        pci["rdma-device"] = ",".join(step.rdma_devices)
    arguments = {"path": asked, "device": {"type": "pci", "version": VERSION, "pci": pci}}
    return (Act(NAME, arguments, step.ifname),)


class DeviceInfo:
    """Writes and removes such files."""

    name = NAME

    def do(self, arguments: Mapping[str, Any]) -> None:
        file = Path(arguments["path"])
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_name(f".{file.name}.part")
            part.write_text(_text(arguments))
            part.replace(file)
        except OSError as error:
            raise ActionError(f"runtimeConfig.{FIELD}: {str(file)!r} cannot be written: {error}") from error

    def undo(self, arguments: Mapping[str, Any]) -> None:
        file = Path(arguments["path"])
        try:
            with suppress(NotADirectoryError):
                file.with_name(f".{file.name}.part").unlink(missing_ok=True)
                file.unlink(missing_ok=True)
        except OSError as error:
            raise ActionError(f"runtimeConfig.{FIELD}: {str(file)!r} cannot be removed: {error}") from error

    def check(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """That the file tells of this device. It may be gone: runtimes move its content to where the pod reads it."""
        file = Path(arguments["path"])
        try:
            found = file.read_text()
        except FileNotFoundError:
            return ()
        except OSError as error:
            return (f"device information {str(file)!r} cannot be read: {error.strerror or error}",)
        return () if found == _text(arguments) else (f"device information {str(file)!r} tells of something else",)


def _text(arguments: Mapping[str, Any]) -> str:
    return json.dumps(arguments["device"], indent=2) + "\n"


def _in_place(path: str) -> bool:
    file = Path(path)
    return str(file.parent) in FOLDERS and ".." not in file.parts and not file.name.startswith(".")


@hookimpl
def multinic_register_actions() -> Sequence[Action]:
    return [DeviceInfo()]
