"""What a runtime makes of a delegate: which verbs its version knows, and what the pod's status says of its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multinic_core.cni.delegates import Delegate
from multinic_core.errors import DecodeError

FIRST_CHECK = (0, 4, 0)
"""Version from which there is CHECK, and the result of ADD comes with DEL. Source: CNI specification 0.4.0."""


def allows_check(config: Mapping[str, Any]) -> bool:
    """Whether this configuration's version knows CHECK, and ``prevResult`` on DEL."""
    parts = str(config.get("cniVersion", "0.1.0")).split(".")
    return tuple(int(part) if part.isdigit() else 0 for part in parts) >= FIRST_CHECK


def network_status(delegate: Delegate, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Entries of the pod's network-status annotation for one network: one for each interface inside the pod.

    Addresses are without prefix length and belong to the interface that ``ips[].interface`` points at; without one,
    to the first.

    Raises:
        DecodeError: the result is not what the specification says.
    """
    try:
        return _entries(delegate, result)
    except (KeyError, TypeError, AttributeError) as error:
        raise DecodeError(f"result of {delegate.status_name}: found {result!r}, expected a CNI result") from error


def _entries(delegate: Delegate, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    places: dict[int, dict[str, Any]] = {}
    for position, interface in enumerate(result.get("interfaces") or ()):
        if not interface.get("sandbox"):
            continue
        entry = {"name": delegate.status_name, "interface": interface["name"], "ips": []}
        if interface.get("mac"):
            entry["mac"] = interface["mac"]
        if interface.get("mtu"):
            entry["mtu"] = interface["mtu"]
        places[position] = entry
        entries.append(entry)
    if not entries:
        entries.append({"name": delegate.status_name, "interface": delegate.selection.ifname, "ips": []})
    for ip in result.get("ips") or ():
        places.get(ip.get("interface", -1), entries[0])["ips"].append(ip["address"].split("/")[0])
    for entry in entries:
        entry["dns"] = dict(result.get("dns") or {})
    return entries
