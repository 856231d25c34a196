"""VF settings as messages, and messages as VF settings."""

import struct

import pytest
from multinic_daemon.netlink import wire
from multinic_daemon.netlink.devices import IFLA_VFINFO_LIST, decode_vfs, set_vf
from multinic_daemon.netlink.requests import IFINFO

from multinic_core.devices import VfSettings

AS_IT_WAS = VfSettings("00:00:00:00:00:00", 0, 0, True, False, "auto", 0, 0)


def test_only_what_is_wanted_is_asked_for():
    """A setting that is None makes no request, and one that is 0 or off does."""
    assert set_vf(7, 3, VfSettings(), AS_IT_WAS, "VF 3") == []
    wanted = VfSettings(vlan=0, spoof_check=False, trust=True, link_state="enable", max_tx_rate=0)
    assert [request.subject for request in set_vf(7, 3, wanted, AS_IT_WAS, "VF 3 of NIC 'eth1'")] == [
        "trust on of VF 3 of NIC 'eth1'",
        "VLAN 0 with priority 0 of VF 3 of NIC 'eth1'",
        "spoof check off of VF 3 of NIC 'eth1'",
        "link state enable of VF 3 of NIC 'eth1'",
        "rate of 0 to 0 Mbit/s of VF 3 of NIC 'eth1'",
    ]


@pytest.mark.parametrize(
    ("wanted", "subject"),
    [
        (VfSettings(max_tx_rate=500), "rate of 20 to 500 Mbit/s of VF 0"),
        (VfSettings(min_tx_rate=5), "rate of 5 to 90 Mbit/s of VF 0"),
        (VfSettings(qos=3), "VLAN 7 with priority 3 of VF 0"),
        (VfSettings(vlan=9), "VLAN 9 with priority 0 of VF 0"),
    ],
)
def test_half_of_a_pair_keeps_the_other_half(wanted: VfSettings, subject: str):
    """The kernel knows rates only as a pair, and a priority only with its VLAN; a new VLAN begins without priority."""
    now = VfSettings(vlan=7, qos=5, min_tx_rate=20, max_tx_rate=90)
    (request,) = set_vf(7, 0, wanted, now, "VF 0")
    assert request.subject == subject


def test_what_is_asked_for_is_what_is_read():
    """The settings of a request, put where the kernel answers, decode to the settings that were wanted."""
    wanted = VfSettings("02:00:00:00:00:05", 210, 3, False, True, "disable", 10, 500)
    asked = set_vf(7, 4, wanted, AS_IT_WAS, "VF 4")
    parts = []
    for request in asked:
        (listed,) = wire.repeated(request.body[IFINFO.size :], IFLA_VFINFO_LIST)
        (info,) = wire.repeated(listed, 1)
        parts.append(info)
    other = wire.attribute(1, wire.attribute(2, struct.pack("=III", 0, 9, 0)))
    listed = other + wire.attribute(1, b"".join(parts))
    found = decode_vfs(IFINFO.pack(0, 0, 7, 0, 0) + wire.attribute(IFLA_VFINFO_LIST, listed))
    assert found == {0: VfSettings(vlan=9, qos=0), 4: wanted}


def test_what_a_driver_does_not_tell_is_unknown():
    """The kernel fills in all ones, and older kernels leave settings out."""
    info = wire.attribute(4, struct.pack("=II", 2, 0xFFFFFFFF)) + wire.attribute(2, struct.pack("=II", 2, 7))
    body = IFINFO.pack(0, 0, 7, 0, 0) + wire.attribute(IFLA_VFINFO_LIST, wire.attribute(1, info))
    assert decode_vfs(body) == {2: VfSettings(vlan=7)}
