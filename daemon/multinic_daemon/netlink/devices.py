"""Requests about whole devices: changing a link, moving it to another namespace, and the VFs of a physical function.

Each VF setting is a message of its own, because the kernel works through the settings of one message up to the first
that the driver refuses and would not say which. Source: linux/if_link.h, IFLA_VF_*, and net/core/rtnetlink.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from multinic_core.devices import LinkState, VfSettings
from multinic_daemon.netlink import requests as rq
from multinic_daemon.netlink import wire
from multinic_daemon.netlink.conversation import Conversation, Request
from multinic_daemon.netlink.netns import NetnsFile

RTM_NEWLINKPROP = 108
RTM_DELLINKPROP = 109
IFLA_IFALIAS = 20
IFLA_VFINFO_LIST = 22
IFLA_PROP_LIST = 52
IFLA_ALT_IFNAME = 53
_NESTED = 0x8000
_RTEXT_FILTER_VF = 1
_VF_INFO = 1
_VF_MAC, _VF_VLAN, _VF_SPOOFCHK, _VF_LINK_STATE, _VF_RATE, _VF_TRUST = 1, 2, 4, 5, 6, 9
_MAC_BYTES = 32
"""Room for a hardware address in ``struct ifla_vf_mac``."""
_PAIR = struct.Struct("=II")
_TRIPLE = struct.Struct("=III")
_UNKNOWN = 0xFFFFFFFF
"""What the kernel says of a setting that the driver does not tell."""
LINK_STATES: Mapping[LinkState, int] = MappingProxyType({"auto": 0, "enable": 1, "disable": 2})
"""Source: linux/if_link.h, IFLA_VF_LINK_STATE_*."""


def change_link(
    ifindex: int,
    subject: str,
    *,
    ifname: str = "",
    mtu: int = 0,
    mac_address: str = "",
    group: int | None = None,
    alias: str | None = None,
    up: bool | None = None,
) -> Request:
    """Change what is given of a link; a link must be down to be renamed."""
    flags = rq.IFF_UP if up else 0
    body = rq.IFINFO.pack(rq.AF_UNSPEC, 0, ifindex, flags, 0 if up is None else rq.IFF_UP)
    if ifname:
        body += wire.attribute_text(rq.IFLA_IFNAME, ifname)
    if mtu:
        body += wire.attribute_u32(rq.IFLA_MTU, mtu)
    if mac_address:
        body += wire.attribute(rq.IFLA_ADDRESS, _packed(mac_address))
    if group is not None:
        body += wire.attribute_u32(rq.IFLA_GROUP, group)
    if alias is not None:
        body += wire.attribute(IFLA_IFALIAS, alias.encode(errors="surrogateescape"))
    return Request(rq.RTM_NEWLINK, 0, body, subject)


def move_link(ifindex: int, netns: NetnsFile, ifname: str, group: int, subject: str) -> Request:
    """Move a link to another namespace, where it gets this name and group, down and without addresses.

    Where the name is taken there, EEXIST, and the link may have moved under the name that it had.
    """
    body = rq.IFINFO.pack(rq.AF_UNSPEC, 0, ifindex, 0, 0)
    body += wire.attribute_u32(rq.IFLA_NET_NS_FD, netns) + wire.attribute_text(rq.IFLA_IFNAME, ifname)
    return Request(rq.RTM_NEWLINK, 0, body + wire.attribute_u32(rq.IFLA_GROUP, group), subject)


def decode_alias(body: bytes) -> str:
    """The alias of a link, of a message about it; "" for none."""
    found = wire.attributes(body, rq.IFINFO.size).get(IFLA_IFALIAS, b"")
    return wire.text(found)


def add_altname(ifindex: int, altname: str, subject: str) -> Request:
    """Give a link a further name. EEXIST when it, or another link, has it."""
    return Request(RTM_NEWLINKPROP, wire.NLM_F_CREATE | wire.NLM_F_EXCL, _altname(ifindex, altname), subject)


def delete_altname(ifindex: int, altname: str, subject: str) -> Request:
    return Request(RTM_DELLINKPROP, 0, _altname(ifindex, altname), subject)


def _altname(ifindex: int, altname: str) -> bytes:
    names = wire.attribute_text(IFLA_ALT_IFNAME, altname)
    return rq.IFINFO.pack(rq.AF_UNSPEC, 0, ifindex, 0, 0) + wire.attribute(IFLA_PROP_LIST | _NESTED, names)


def set_vf(ifindex: int, index: int, wanted: VfSettings, now: VfSettings, subject: str) -> list[Request]:
    """One request for each setting that is wanted, in the order in which drivers take them.

    Args:
        ifindex: of the physical function.
        now: as it is; one of two numbers that the kernel knows as a pair only, when the other one alone is wanted.
        subject: such as ``VF 3 of NIC 'eth1'``.
    """
    settings: list[tuple[str, int, bytes]] = []
    if wanted.trust is not None:  # first, as a VF that is not trusted is denied other things
        settings.append((f"trust {_word(wanted.trust)}", _VF_TRUST, _PAIR.pack(index, wanted.trust)))
    if wanted.mac_address:
        packed = _packed(wanted.mac_address).ljust(_MAC_BYTES, b"\0")
        settings.append((f"MAC address {wanted.mac_address}", _VF_MAC, struct.pack("=I", index) + packed))
    if wanted.vlan is not None or wanted.qos is not None:
        vlan, qos = _first(wanted.vlan, now.vlan), _first(wanted.qos, now.qos if wanted.vlan is None else 0)
        settings.append((f"VLAN {vlan} with priority {qos}", _VF_VLAN, _TRIPLE.pack(index, vlan, qos)))
    if wanted.spoof_check is not None:
        word = _word(wanted.spoof_check)
        settings.append((f"spoof check {word}", _VF_SPOOFCHK, _PAIR.pack(index, wanted.spoof_check)))
    if wanted.link_state is not None:
        value = _PAIR.pack(index, LINK_STATES[wanted.link_state])
        settings.append((f"link state {wanted.link_state}", _VF_LINK_STATE, value))
    if wanted.min_tx_rate is not None or wanted.max_tx_rate is not None:
        low, high = _first(wanted.min_tx_rate, now.min_tx_rate), _first(wanted.max_tx_rate, now.max_tx_rate)
        settings.append((f"rate of {low} to {high} Mbit/s", _VF_RATE, _TRIPLE.pack(index, low, high)))
    header = rq.IFINFO.pack(rq.AF_UNSPEC, 0, ifindex, 0, 0)
    return [
        Request(
            rq.RTM_NEWLINK,
            0,
            header + wire.attribute(IFLA_VFINFO_LIST, wire.attribute(_VF_INFO, wire.attribute(number, value))),
            f"{text} of {subject}",
        )
        for text, number, value in settings
    ]


def read_vfs(kernel: Conversation, ifindex: int) -> dict[int, VfSettings]:
    """VF index to its settings, of one physical function; what its driver does not tell is None.

    Raises:
        KernelError: ENODEV: there is no such link.
    """
    body = rq.IFINFO.pack(rq.AF_UNSPEC, 0, ifindex, 0, 0)
    body += wire.attribute_u32(rq.IFLA_EXT_MASK, _RTEXT_FILTER_VF | rq.RTEXT_FILTER_SKIP_STATS)
    return decode_vfs(kernel.get(Request(rq.RTM_GETLINK, 0, body, f"VFs of link {ifindex}")).body)


def decode_vfs(body: bytes) -> dict[int, VfSettings]:
    """The same, of a message about a link that was asked for with its VFs."""
    listed = wire.attributes(body, rq.IFINFO.size).get(IFLA_VFINFO_LIST, b"")
    return dict(_decode_vf(wire.attributes(each)) for each in wire.repeated(listed, _VF_INFO))


def _decode_vf(found: Mapping[int, bytes]) -> tuple[int, VfSettings]:
    def values(number: int, count: int = 1) -> Iterator[int | None]:
        """What follows the VF's index."""
        payload = found.get(number, b"")
        for position in range(1, count + 1):
            there = len(payload) >= 4 * position + 4
            value = wire.u32(payload[4 * position :]) if there else _UNKNOWN
            yield None if value == _UNKNOWN else value

    def flag(number: int) -> bool | None:
        (value,) = values(number)
        return None if value is None else bool(value)

    index = next((wire.u32(payload) for payload in found.values() if len(payload) >= 4), 0)
    vlan, qos = values(_VF_VLAN, 2)
    low, high = values(_VF_RATE, 2)
    (state,) = values(_VF_LINK_STATE)
    states: dict[int | None, LinkState] = {number: name for name, number in LINK_STATES.items()}
    return index, VfSettings(
        mac_address=found.get(_VF_MAC, b"")[4:10].hex(":"),
        vlan=vlan,
        qos=qos,
        spoof_check=flag(_VF_SPOOFCHK),
        trust=flag(_VF_TRUST),
        link_state=states.get(state),
        min_tx_rate=low,
        max_tx_rate=high,
    )


def _packed(mac_address: str) -> bytes:
    return bytes.fromhex(mac_address.replace(":", ""))


def _first(*values: int | None) -> int:
    return next((value for value in values if value is not None), 0)


def _word(on: bool) -> str:
    return "on" if on else "off"
