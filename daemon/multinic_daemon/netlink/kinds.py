"""The attributes inside ``IFLA_INFO_DATA``, by kind of link and by the kernel's name.

The kinds that our plugins make are listed here. For any other kind pyroute2's table is read, which takes 0.15 s the
first time; it lists whole numbers and much else, of which only the whole numbers can stand in a plan.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from multinic_core.errors import ConfigError
from multinic_daemon.netlink import wire

_OURS: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "ipvlan": {"IFLA_IPVLAN_MODE": (1, 2), "IFLA_IPVLAN_FLAGS": (2, 2)},
    "macvlan": {"IFLA_MACVLAN_MODE": (1, 4), "IFLA_MACVLAN_FLAGS": (2, 2), "IFLA_MACVLAN_BC_QUEUE_LEN": (7, 4)},
    "vlan": {"IFLA_VLAN_ID": (1, 2)},
}
"""Kind to attribute name to (number, bytes). Source: linux/if_link.h. pyroute2 0.9 knows no IFLA_IPVLAN_FLAGS."""

_BYTE_ORDER = sys.byteorder
_SIZES = {"uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8}


_PASSTHRU = 8
"""A macvlan mode. Source: linux/if_link.h, MACVLAN_MODE_PASSTHRU."""


def takes_mac_address(link_kind: str, attributes: Mapping[str, int]) -> bool:
    """Whether a link of this kind, one that our plugins make, keeps a MAC address that it is made with."""
    # ipvlan, vlan and a passthru link have that of their parent
    return link_kind == "macvlan" and attributes.get("IFLA_MACVLAN_MODE") != _PASSTHRU


@cache
def attribute_table(link_kind: str) -> Mapping[str, tuple[int, int]]:
    """Attribute name to (number, bytes) of the whole-number attributes of a kind; empty for an unknown kind."""
    if (ours := _OURS.get(link_kind)) is not None:
        return ours
    # only here: a daemon that makes none of those links never pays for the import
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

    known = ifinfmsg.ifinfo.data_map.get(link_kind)
    if known is None:
        return MappingProxyType({})
    # entries are (name, type) counted from 0, or (number, name, type)
    numbered = (entry if len(entry) == 3 else (number, *entry) for number, entry in enumerate(known.nla_map))
    return {name: (number, _SIZES[type_]) for number, name, type_ in numbered if type_ in _SIZES}


def encode_attributes(link_kind: str, values: Mapping[str, int]) -> bytes:
    """The content of ``IFLA_INFO_DATA``.

    Raises:
        ConfigError: an attribute that this kind does not have, or a value that it cannot hold.
    """
    table = attribute_table(link_kind) if values else {}
    encoded: list[bytes] = []
    for name, value in values.items():
        if name not in table:
            raise ConfigError(f"{link_kind} link: attribute {name!r} is not one of {sorted(table)}")
        number, size = table[name]
        try:
            payload = value.to_bytes(size, _BYTE_ORDER)
        except OverflowError as error:
            raise ConfigError(f"{link_kind} link: {name} is {value}, expected 0 to {(1 << 8 * size) - 1}") from error
        encoded.append(wire.attribute(number, payload))
    return b"".join(encoded)


def decode_attributes(link_kind: str, data: bytes) -> dict[str, int]:
    """Attribute name to value, of those that a plan could set."""
    found = wire.attributes(data)
    return {
        name: int.from_bytes(found[number][:size], _BYTE_ORDER)
        for name, (number, size) in attribute_table(link_kind).items()
        if number in found
    }
