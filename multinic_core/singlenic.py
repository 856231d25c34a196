"""The ipam block as an IPAM executable gets it, one for each NIC.

Such an IPAM knows one interface at a time. All NICs of a network have the same block, or with type ``multi-config``
each its own: ``{"type": "multi-config", "ipam_type": "whereabouts", "args": {"eth1": {"range": "192.168.0.0/18"}}}``.
Its ``args`` also say which NICs belong to the network: one without an entry does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from multinic_core.errors import ConfigError

MULTI_CONFIG = "multi-config"
"""``type`` of a block with one configuration for each NIC."""
PER_NIC: Mapping[str, str] = {"whereabouts": "network_name"}
"""IPAM to the key that keeps the pools of its NICs apart, given the NIC's name. Source: the original, and whereabouts,
whose pools of one range are shared unless they are named."""


def nics_named(ipam: Mapping[str, Any]) -> frozenset[str] | None:
    """The NICs that a ``multi-config`` block has entries for; None: it is of another type."""
    return frozenset(read_multi_config(ipam)[1]) if ipam.get("type") == MULTI_CONFIG else None


def nic_block(ipam: Mapping[str, Any], parent: str) -> dict[str, Any]:
    """The ipam block for one NIC.

    Raises:
        ConfigError: a ``multi-config`` block that cannot be read, or has no entry for the NIC.
    """
    if ipam.get("type") != MULTI_CONFIG:
        return _kept_apart(dict(ipam), parent)
    ipam_type, entries = read_multi_config(ipam)
    if parent not in entries:
        raise ConfigError(f"ipam.args: found entries for {sorted(entries)!r}, expected one for NIC {parent!r}")
    return _kept_apart({"type": ipam_type, **entries[parent]}, parent)


def _kept_apart(block: dict[str, Any], parent: str) -> dict[str, Any]:
    key = PER_NIC.get(str(block.get("type")))
    return {key: parent, **block} if key else block


def read_multi_config(ipam: Mapping[str, Any], path: str = "ipam") -> tuple[str, Mapping[str, Mapping[str, Any]]]:
    """The IPAM of a ``multi-config`` block, and NIC to that NIC's own settings.

    Raises:
        ConfigError: every problem, with its field path.
    """
    problems: list[str] = []
    ipam_type, entries = ipam.get("ipam_type"), ipam.get("args")
    if not isinstance(ipam_type, str) or not ipam_type or ipam_type == MULTI_CONFIG:
        problems.append(f"{path}.ipam_type: found {ipam_type!r}, expected the name of an IPAM such as 'whereabouts'")
    if not isinstance(entries, Mapping) or not entries:
        problems.append(f"{path}.args: found {entries!r}, expected NIC names with an object of settings for each")
        entries = {}
    problems += _misshapen(entries, f"{path}.args")
    if problems:
        raise ConfigError(*problems)
    return str(ipam_type), entries


def _misshapen(entries: Mapping[str, Any], path: str) -> Iterable[str]:
    for nic, entry in entries.items():
        if not isinstance(entry, Mapping):
            yield f"{path}.{nic}: found {entry!r}, expected an object of settings"
        elif "type" in entry:
            yield f"{path}.{nic}.type: found {entry['type']!r}, expected none, as ipam_type is for all NICs"
