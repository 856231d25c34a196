"""Queueing disciplines that hold what a link sends to a rate: the kernel's token bucket filter.

Source: linux/pkt_sched.h and tc-tbf(8). The bucket is given in bytes (``TCA_TBF_BURST``), so that no conversion to the
kernel's clock ticks is needed, and the rate in 64 bits, as 32 bits end at 34 Gbit/s.
"""

from __future__ import annotations

import struct

from multinic_daemon.netlink import wire
from multinic_daemon.netlink.conversation import Conversation, Request

RTM_NEWQDISC = 36
RTM_GETQDISC = 38

TCMSG = struct.Struct("=BxxxiIII")
"""family, link index, handle, parent, info"""
TC_H_ROOT = 0xFFFFFFFF
TCA_KIND = 1
TCA_OPTIONS = 2
TBF = "tbf"
_HANDLE = 0x4D4E0000
"""Ours: ``4d4e:``."""
_RATESPEC = struct.Struct("=BBHhHI")
"""cell log, link layer, overhead, cell align, smallest packet, bytes per second"""
_QOPT = struct.Struct("=III")
"""limit in bytes, bucket and peak bucket in ticks"""
TCA_TBF_PARMS = 1
TCA_TBF_RATE64 = 4
TCA_TBF_BURST = 6
_MOST_32 = 0xFFFFFFFF
BUCKET_SECONDS = 0.001
"""How long a link may send at full speed after a rest, at least eight packets of 64 KiB, as segments are sent whole."""
SMALLEST_BUCKET = 8 << 16
QUEUE_SECONDS = 0.05
"""How long a packet may wait before packets are dropped."""


def bucket(rate: int) -> int:
    """Bytes of the bucket for a rate.

    Args:
        rate: bit/s.
    """
    return max(int(rate / 8 * BUCKET_SECONDS), SMALLEST_BUCKET)


def shape(ifindex: int, rate: int, subject: str) -> Request:
    """Hold what a link sends to a rate, in place of what held it before.

    Args:
        rate: bit/s, above 0.
    """
    per_second, burst = max(rate // 8, 1), bucket(rate)
    limit = min(burst + int(per_second * QUEUE_SECONDS), _MOST_32)
    spec = _RATESPEC.pack(0, 0, 0, 0, 0, min(per_second, _MOST_32))
    parameters = spec + _RATESPEC.pack(0, 0, 0, 0, 0, 0) + _QOPT.pack(limit, 0, 0)
    options = wire.attribute(TCA_TBF_PARMS, parameters) + wire.attribute_u32(TCA_TBF_BURST, burst)
    if per_second > _MOST_32:
        options += wire.attribute(TCA_TBF_RATE64, struct.pack("=Q", per_second))
    body = TCMSG.pack(0, ifindex, _HANDLE, TC_H_ROOT, 0)
    body += wire.attribute_text(TCA_KIND, TBF) + wire.attribute(TCA_OPTIONS, options)
    return Request(RTM_NEWQDISC, wire.NLM_F_CREATE | wire.NLM_F_REPLACE, body, subject)


def read_shapes(kernel: Conversation) -> dict[int, int]:
    """ifindex to the rate in bit/s, of every link that a token bucket filter holds."""
    request = Request(RTM_GETQDISC, wire.NLM_F_DUMP, TCMSG.pack(0, 0, 0, 0, 0), "listing queueing disciplines")
    found: dict[int, int] = {}
    for body in (message.body for message in kernel.dump(request)):
        _family, ifindex, _handle, parent, _info = TCMSG.unpack_from(body)
        attributes = wire.attributes(body, TCMSG.size)
        if parent == TC_H_ROOT and attributes.get(TCA_KIND, b"").rstrip(b"\0") == TBF.encode():
            options = wire.attributes(attributes.get(TCA_OPTIONS, b""))
            per_second = _RATESPEC.unpack_from(options[TCA_TBF_PARMS])[-1]
            if TCA_TBF_RATE64 in options:
                (per_second,) = struct.unpack("=Q", options[TCA_TBF_RATE64])
            found[ifindex] = per_second * 8
    return found
