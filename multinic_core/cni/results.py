"""What a CNI executable prints: results in the shape of each version, and error JSON.

Source: CNI specification 1.1.0, section 5. 0.3.x and 0.4.0 add ``ips[].version``; ``mtu``, ``socketPath`` and ``pciID``
of interfaces came with 1.1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from multinic_core.cni.netconf import SUPPORTED_VERSIONS
from multinic_core.errors import DecodeError, MultinicError
from multinic_core.plan import IPAddress, IPInterface, IPNetwork


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface that exists now; ``sandbox`` is the netns path, "" for one on the node."""

    name: str
    mac: str = ""
    mtu: int | None = None
    sandbox: str = ""
    pci_id: str = ""


@dataclass(frozen=True, slots=True)
class IPConfig:
    """One address; ``interface`` is a position in ``Result.interfaces``."""

    address: IPInterface
    interface: int | None = None
    gateway: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class RouteConfig:
    dst: IPNetwork
    gw: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to an ADD."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[IPConfig, ...] = ()
    routes: tuple[RouteConfig, ...] = ()
    dns: Mapping[str, Any] | None = None

    def to_json(self, version: str) -> dict[str, Any]:
        """The result as ``version`` writes it; empty lists are left out as the specification's own library does."""
        answer: dict[str, Any] = {"cniVersion": version}
        if self.interfaces:
            answer["interfaces"] = [_interface_json(interface, version) for interface in self.interfaces]
        if self.ips:
            answer["ips"] = [_ip_json(ip, version) for ip in self.ips]
        if self.routes:
            answer["routes"] = [
                {"dst": str(route.dst)} | ({"gw": str(route.gw)} if route.gw else {}) for route in self.routes
            ]
        answer["dns"] = dict(self.dns or {})
        return answer


def _interface_json(interface: Interface, version: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"name": interface.name}
    if interface.mac:
        answer["mac"] = interface.mac
    if interface.sandbox:
        answer["sandbox"] = interface.sandbox
    if version == "1.1.0":
        if interface.mtu:
            answer["mtu"] = interface.mtu
        if interface.pci_id:
            answer["pciID"] = interface.pci_id
    return answer


def _ip_json(ip: IPConfig, version: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"address": str(ip.address)}
    if version.startswith("0."):
        answer["version"] = str(ip.address.version)
    if ip.interface is not None:
        answer["interface"] = ip.interface
    if ip.gateway:
        answer["gateway"] = str(ip.gateway)
    return answer


def parse_result(document: Mapping[str, Any], subject: str = "prevResult") -> Result:
    """Read a result of any supported version.

    Args:
        subject: as an error shall name it.

    Raises:
        DecodeError: a field is missing or is not what the specification says.
    """
    try:
        return Result(
            tuple(
                Interface(i["name"], i.get("mac", ""), i.get("mtu"), i.get("sandbox", ""), i.get("pciID", ""))
                for i in document.get("interfaces") or ()
            ),
            tuple(
                IPConfig(
                    ip_interface(ip["address"]),
                    ip.get("interface"),
                    ip_address(ip["gateway"]) if ip.get("gateway") else None,
                )
                for ip in document.get("ips") or ()
            ),
            tuple(
                RouteConfig(
                    ip_network(route["dst"], strict=False), ip_address(route["gw"]) if route.get("gw") else None
                )
                for route in document.get("routes") or ()
            ),
            document.get("dns"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DecodeError(f"{subject}: {error!r}, expected a CNI result") from error


def error_json(error: MultinicError, version: str) -> dict[str, Any]:
    """The error as a CNI executable prints it."""
    answer: dict[str, Any] = {"cniVersion": version, "code": error.cni_code, "msg": str(error)}
    if error.details:
        answer["details"] = error.details
    return answer


def version_json(version: str) -> dict[str, Any]:
    """The answer to VERSION."""
    return {"cniVersion": version, "supportedVersions": list(SUPPORTED_VERSIONS)}
