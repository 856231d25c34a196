"""In which ways links use the NIC under them, and which of those the kernel lets go together.

The kernel refuses ipvlan beside macvlan and anything beside a passthru link. ipvlan has one mode and one flag for a
whole NIC: a link of another mode is not refused, but changes that of all others. A VLAN link counts as a NIC of its
own. Source: linux/drivers/net, ipvlan_link_new and macvlan_common_newlink.
"""

from __future__ import annotations

from collections.abc import Mapping

_IPVLAN_MODES = {0: "l2", 1: "l3", 2: "l3s"}
_IPVLAN_FLAGS = {0: "bridge", 1: "private", 2: "vepa"}
"""Source: linux/if_link.h, IPVLAN_MODE_* and IPVLAN_F_*."""
_MACVLAN_PASSTHRU = 8
"""Source: linux/if_link.h, MACVLAN_MODE_PASSTHRU."""
PASSTHRU = "macvlan, mode passthru"
"""The use of a NIC beside which there is no other."""


def use_of_parent(link_kind: str, attributes: Mapping[str, int]) -> str:
    """In which way a link of this kind uses its NIC, in words; "" of kinds that go together with all others.

    Args:
        attributes: ``IFLA_INFO_DATA`` by the kernel's attribute name.
    """
    match link_kind:
        case "ipvlan" | "ipvtap":
            mode, flag = attributes.get("IFLA_IPVLAN_MODE", 1), attributes.get("IFLA_IPVLAN_FLAGS", 0)
            return f"ipvlan, mode {_IPVLAN_MODES.get(mode, mode)}, flag {_IPVLAN_FLAGS.get(flag, flag)}"
        case "macvlan" | "macvtap":
            return PASSTHRU if attributes.get("IFLA_MACVLAN_MODE") == _MACVLAN_PASSTHRU else "macvlan"
    return ""


def go_together(one: str, other: str) -> bool:
    """Whether two links of these uses can be on one NIC."""
    return not one or not other or (one == other and one != PASSTHRU)
