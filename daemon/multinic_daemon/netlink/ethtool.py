"""Speeds of links, by the kernel's generic netlink family ``ethtool`` (Linux 5.6 and newer).

Unlike ``/sys/class/net``, which shows the namespace of whoever mounted it, it answers about the namespace of the
socket. Source: linux/genetlink.h, linux/ethtool_netlink.h.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable

from multinic_core.errors import KernelError
from multinic_daemon.netlink import wire
from multinic_daemon.netlink.conversation import Conversation, Request
from multinic_daemon.netlink.netns import NETLINK_GENERIC, NetnsFile

_GENL = struct.Struct("=BBH")
"""command, version, reserved"""
_U16 = struct.Struct("=H")
_CONTROLLER = 0x10
_GETFAMILY = 3
_FAMILY_ID, _FAMILY_NAME = 1, 2
_LINKMODES_GET = 4
_NESTED = 0x8000
_HEADER = 1
_DEV_INDEX, _FLAGS = 1, 3
_COMPACT_BITSETS = 1
_SPEED = 5
_UNKNOWN = 0xFFFFFFFF


def read_speeds(netns: NetnsFile | None, ifindexes: Iterable[int]) -> dict[int, int]:
    """ifindex to Mbit/s; absent where the link does not tell, all where the kernel has no such family. Blocks.

    Drivers refuse with whatever number they like, as while their firmware starts anew; that is nobody else's trouble.

    Raises:
        KernelError: the kernel does not answer, or does not say whether it has the family.
    """
    with Conversation(netns, protocol=NETLINK_GENERIC) as kernel:
        try:
            family = _family(kernel)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return {}
            raise
        found = {ifindex: _read_speed(kernel, family, ifindex) for ifindex in ifindexes}
    return {ifindex: speed for ifindex, speed in found.items() if speed}


def _family(kernel: Conversation) -> int:
    body = _GENL.pack(_GETFAMILY, 1, 0) + wire.attribute_text(_FAMILY_NAME, "ethtool")
    answer = kernel.get(Request(_CONTROLLER, 0, body, "netlink family 'ethtool'")).body
    return int(_U16.unpack_from(wire.attributes(answer, _GENL.size)[_FAMILY_ID])[0])


def _read_speed(kernel: Conversation, family: int, ifindex: int) -> int:
    header = wire.attribute_u32(_DEV_INDEX, ifindex) + wire.attribute_u32(_FLAGS, _COMPACT_BITSETS)
    body = _GENL.pack(_LINKMODES_GET, 1, 0) + wire.attribute(_HEADER | _NESTED, header)
    try:
        answer = kernel.get(Request(family, 0, body, f"speed of link {ifindex}")).body
    except KernelError:
        return 0
    told = wire.attributes(answer, _GENL.size).get(_SPEED)
    speed = wire.u32(told) if told else _UNKNOWN
    return 0 if speed == _UNKNOWN else speed
