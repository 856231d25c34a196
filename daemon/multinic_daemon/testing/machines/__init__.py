"""Machines as data: what hangs below which bridge, told by the YAML files beside this module.

:func:`build` lays a machine out in a folder as its kernel would show it below ``/sys`` and ``/proc``, together with the
links that rtnetlink would tell. Tests of what a node knows of its hardware, and of choices that depend on it, start
from these rather than from trees of their own.

A file has the member ``pci``: root bus to what lies on it. A function is a PCI address (without ``0000:``) with the
members below, and with the functions behind it when it is a bridge. Other members of the file are for YAML's own
references, except ``numa`` (node to its processors) and ``gpu_id`` (what begins the id of each GPU).

=====================================  ================================================================================
member                                 what it is
=====================================  ================================================================================
``numa``                               node of all that lies below; -1 is what a kernel says that does not know;
                                       without it the kernel has no such file
``vendor``, ``product``, ``class``     as sysfs shows them, the first two without ``0x``
``driver``, ``rdma``                   names; without a driver none is bound
``link``, ``altnames``, ``mtu``,       the function's link; that of the name ``eth0`` or ``eno1`` has the default route
``address``, ``speed``, ``carrier``
``virtio``                             number of the virtio device that is the function's child and has the link
``possible``, ``vfs``                  how many VFs it can have, and those it has: functions with ``at``, an address
``gpu``                                last digit of the id of a GPU
=====================================  ================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

import yaml

from multinic_core.devices import Vf
from multinic_core.plan import Nic
from multinic_daemon.discovery.hardware import Hardware, join_vfs
from multinic_daemon.discovery.nics import NodeFacts, secondary_nics
from multinic_daemon.discovery.pci import normal_address
from multinic_daemon.discovery.sysfs import device_facts, link_speed
from multinic_daemon.netlink import Address, Link, Route

MACHINES = ("hgx", "sriov", "cloud", "gpucloud", "plain")
_PRIMARY = ("eth0", "eno1")


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine, laid out."""

    sysfs: Path
    proc: Path
    links: tuple[Link, ...]
    addresses: tuple[Address, ...]
    gpus: Mapping[str, str]
    """Id of each GPU, such as ``GPU-…``, to its PCI address."""

    def nics(self) -> dict[str, Nic]:
        """ifname to the secondary NICs, as discovery finds them here; VFs have no settings."""
        hardware = {}
        for link in self.links:
            device = device_facts(link, self.sysfs)
            vfs: tuple[Vf, ...] = join_vfs(device, self.links, {})
            hardware[link.ifname] = Hardware(device, link_speed(link, self.sysfs), vfs)
        (primary,) = (link.ifindex for link in self.links if link.ifname in _PRIMARY)
        default = Route(ip_network("0.0.0.0/0"), None, (primary,), 254, 4, 0, 1)
        facts = NodeFacts(self.links, self.addresses, [default], hardware)
        return {nic.ifname: nic for nic in secondary_nics(facts)}


def build(name: str, folder: Path) -> Machine:
    """Lay out the machine of this name, one of ``MACHINES``, in an empty folder.

    Raises:
        OSError: the folder cannot be written, or there is no such machine.
    """
    described = yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text())
    builder = _Builder(folder / "sys", folder / "proc", described.get("gpu_id", ""))
    for bus, below in described["pci"].items():
        builder.add_below(builder.sysfs / "devices" / bus, below, None)
    for node, cpus in described.get("numa", {}).items():
        _write(builder.sysfs / f"devices/system/node/node{node}/cpulist", cpus)
    return Machine(builder.sysfs, builder.proc, tuple(builder.links), tuple(builder.addresses), dict(builder.gpus))


class _Builder:
    def __init__(self, sysfs: Path, proc: Path, gpu_id: str) -> None:
        self.sysfs, self.proc = sysfs, proc
        self.links: list[Link] = []
        self.addresses: list[Address] = []
        self.gpus: dict[str, str] = {}
        self._gpu_id = gpu_id

    def add_below(self, folder: Path, described: Mapping[str, Any], numa: int | None) -> None:
        numa = described.get("numa", numa)
        for address, function in _functions(described):
            self._add_function(folder / address, function, numa)
            for index, vf in enumerate(function.get("vfs", ())):
                child = folder / normal_address(vf["at"])
                ids = {"vendor": function["vendor"], "product": function["product"]}
                self._add_function(child, {**ids, **vf}, numa)
                (child / "physfn").symlink_to(folder / address)
                (folder / address / f"virtfn{index}").symlink_to(child)
            self.add_below(folder / address, function, numa)

    def _add_function(self, folder: Path, described: Mapping[str, Any], numa: int | None) -> None:
        for name, key, otherwise in (("vendor", "vendor", "8086"), ("device", "product", "0000")):
            _write(folder / name, f"0x{described.get(key, otherwise)}")
        _write(folder / "class", described.get("class", "0x020000" if "link" in described else "0x060400"))
        if numa is not None:
            _write(folder / "numa_node", numa)
        _link(self.sysfs / "bus/pci/devices" / folder.name, folder)
        if driver := described.get("driver"):
            self._bind(folder, "pci", driver)
        if rdma := described.get("rdma"):
            (folder / "infiniband" / rdma).mkdir(parents=True)
        if "possible" in described:
            _write(folder / "sriov_totalvfs", described["possible"])
            _write(folder / "sriov_numvfs", len(described.get("vfs", ())))
        if "virtio" in described:
            device = folder / f"virtio{described['virtio']}"
            device.mkdir()
            _link(self.sysfs / "bus/virtio/devices" / device.name, device)
            self._bind(device, "virtio", "virtio_net")
            self._add_link(device, "virtio", described)
        elif "link" in described:
            self._add_link(folder, "pci", described)
        if "gpu" in described:
            self._add_gpu(folder.name, f"{self._gpu_id}{described['gpu']}")

    def _bind(self, device: Path, bus: str, driver: str) -> None:
        target = self.sysfs / "bus" / bus / "drivers" / driver
        target.mkdir(parents=True, exist_ok=True)
        (device / "driver").symlink_to(target)

    def _add_link(self, device: Path, bus: str, described: Mapping[str, Any]) -> None:
        ifindex = len(self.links) + 2
        carrier = described.get("carrier", True)
        link = Link(
            ifindex=ifindex,
            ifname=described["link"],
            hardware=1,
            flags=1,
            mtu=described.get("mtu", 1500),
            mac_address=f"02:00:00:00:00:{ifindex:02x}",
            link_kind="",
            info_data=b"",
            parent_ifindex=0,
            parent_netns_id=None,
            master_ifindex=0,
            group=0,
            carrier=carrier,
            bus=bus,
            bus_device=device.name,
            altnames=tuple(described.get("altnames", ())),
        )
        self.links.append(link)
        if "address" in described:
            self.addresses.append(Address(ifindex, ip_interface(described["address"]), 0, 0x80))
        entry = device / "net" / link.ifname
        for name, value in (("ifindex", ifindex), ("address", link.mac_address), ("speed", described.get("speed", -1))):
            _write(entry / name, value)
        (entry / "device").symlink_to(device)
        _link(self.sysfs / "class/net" / link.ifname, entry)

    def _add_gpu(self, address: str, id_: str) -> None:
        self.gpus[id_] = address
        lines = ("Model: \t\t Test GPU", "IRQ:   \t\t 42", f"GPU UUID: \t {id_}", f"Bus Location: \t {address}")
        _write(self.proc / "driver/nvidia/gpus" / address / "information", "\n".join(lines))


def _functions(described: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, value in described.items():
        if isinstance(value, dict) and (address := normal_address(key)):
            yield address, value


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{value}\n")


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
