"""What an audit says of attachments that have devices of the node: a VF in its pod, with settings on its NIC."""

from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

import pytest
from multinic_daemon.audit.attachments import judge_rows
from multinic_daemon.audit.findings import Kind, Verdict
from multinic_daemon.audit.world import KernelSeen, NamespaceSeen, PodsSeen, Row, Sandbox, World
from multinic_daemon.hostroutes.desired import RoutingState
from multinic_daemon.journal.codec import encode_plan
from multinic_daemon.journal.journal import GROUP_BASE
from multinic_daemon.journal.records import AttachmentKey, Record
from multinic_daemon.netlink import Address, Link
from multinic_daemon.podlinks.compare import Observed

from multinic_core.devices import ConfigureVf, TakeDevice, VfSettings
from multinic_core.plan import AddAddress, Plan, PodReference

INODE, PATH, GROUP = 4026532100, "/run/netns/c1", GROUP_BASE + 1
ADDRESS = ip_interface("192.168.0.1/18")
WANTED, BEFORE = VfSettings(vlan=210, trust=True), VfSettings(vlan=0, trust=False)
PLAN = Plan(
    (
        ConfigureVf("net1-0", "eth1", 11, 3, WANTED, BEFORE),
        TakeDevice("net1-0", "eth1", "eth1v3", "0000:01:10.3", mtu=1400),
        AddAddress("net1-0", ADDRESS),
    )
)
LINK = Link(
    ifindex=9,
    ifname="net1-0",
    hardware=1,
    flags=1,
    mtu=1400,
    mac_address="02:00:00:00:00:01",
    link_kind="",
    info_data=b"",
    parent_ifindex=0,
    parent_netns_id=None,
    master_ifindex=0,
    group=GROUP,
    carrier=True,
    bus="pci",
    bus_device="0000:01:10.3",
)


def world(*links: Link, vfs: Any = None, held: Any = ADDRESS) -> World:
    """A look at a node with one attachment."""
    pod = PodReference("default", "p1", "u1")
    key = AttachmentKey("multi-nic", "net-a", "c1", "net1")
    record = Record(1, key, PATH, pod, "ready", GROUP, "", encode_plan(PLAN), "{}", 1, 1, "boot-1")
    seen = NamespaceSeen(INODE, PATH, Observed(links, (Address(9, held, 0, 0x80),), ()), 0)
    told = {11: {3: replace(WANTED, mac_address="00:00:00:00:00:00", spoof_check=True)}} if vfs is None else vfs
    kernel = KernelSeen({INODE: seen}, {PATH: Sandbox(INODE)}, RoutingState({}, [], []), told)
    return World(1000.0, "boot-1", True, (Row(record),), kernel, PodsSeen({"u1": "default/p1"}, frozenset()), {}, ())


def test_a_vf_as_it_was_made_is_fine():
    """What the network did not ask for may be anything."""
    (found,) = judge_rows(world(LINK))
    assert (found.kind, found.verdict, found.kernel) == (Kind.AGREED, Verdict.FINE, "net1-0")


@pytest.mark.parametrize(
    ("seen", "kind", "words"),
    [
        (world(), Kind.LINKS_MISSING, "net1-0 is missing"),
        (world(LINK._replace(mtu=1500)), Kind.LINK_DIFFERS, "link 'net1-0' has mtu 1500, expected 1400"),
        (
            world(LINK._replace(bus_device="0000:01:10.4")),
            Kind.LINK_DIFFERS,
            "link 'net1-0' is the device 0000:01:10.4, expected 0000:01:10.3",
        ),
        (
            world(LINK._replace(bus="", bus_device="", link_kind="dummy")),
            Kind.LINK_DIFFERS,
            "link 'net1-0' is of kind 'dummy', expected the device 0000:01:10.3",
        ),
        (
            world(LINK, vfs={11: {3: replace(WANTED, vlan=7)}}),
            Kind.LINK_DIFFERS,
            "VF 3 of NIC 'eth1' has vlan 7, expected 210",
        ),
        (world(LINK, vfs={}), Kind.LINK_DIFFERS, "VF 3 of NIC 'eth1' is missing"),
        (world(LINK, held=ip_interface("10.9.9.9/32")), Kind.ADDRESS_DIFFERS, "net1-0 lacks 192.168.0.1/18"),
    ],
)
def test_each_difference_is_named(seen: World, kind: Kind, words: str):
    """In the pod or on the NIC."""
    found = {each.kind: each for each in judge_rows(seen)}
    assert words in found[kind].kernel
    assert found[kind].verdict is Verdict.DIFFERENCE
