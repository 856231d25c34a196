"""What a link has carried, by its own counters. Source: linux/if_link.h, struct if_stats_msg, rtnl_link_stats64."""

from __future__ import annotations

import struct
from typing import NamedTuple

from multinic_daemon.netlink import wire
from multinic_daemon.netlink.conversation import Conversation, Request

_RTM_GETSTATS = 94
_STATS = struct.Struct("=BBHII")
"""family, padding, padding, link index, filter"""
_LINK_64 = 1
_ONLY_LINK_64 = 1 << (_LINK_64 - 1)
_BYTES = struct.Struct("=16xQQ")
"""After the packets received and sent: bytes received and sent."""


class Carried(NamedTuple):
    """Bytes since the counters began."""

    transmitted: int
    received: int


def read_carried(kernel: Conversation, ifindex: int) -> Carried:
    """The counters of one link. Blocks.

    Raises:
        KernelError: ENODEV: there is no such link.
    """
    body = _STATS.pack(0, 0, 0, ifindex, _ONLY_LINK_64)
    answer = kernel.get(Request(_RTM_GETSTATS, 0, body, f"statistics of link {ifindex}")).body
    received, transmitted = _BYTES.unpack_from(wire.attributes(answer, _STATS.size)[_LINK_64])
    return Carried(transmitted, received)
