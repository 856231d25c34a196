"""Devices that came home with a mark of which no record tells are the node's again, as ``ip`` sees it."""

from typing import Any

import pytest
from multinic_daemon.podlinks.marks import GROUPS
from multinic_daemon.podlinks.strays import free_devices, marked_groups

LOST, HELD = GROUPS[5], GROUPS[6]
pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth")]


def come_home(ground: Any, device: str, ifname: str, group: int) -> None:
    """Leave a NIC as the kernel does whose pod has ended: with its name there, group and alias."""
    ground.nic(device)
    ground.ip(ground.node, "link", "set", device, "down")
    ground.ip(ground.node, "link", "set", device, "name", ifname)
    ground.ip(ground.node, "link", "set", ifname, "group", str(group), "alias", f"multinic:{device}")


def names_and_marks(ground: Any) -> set[tuple[str, str, str | None]]:
    links = [ground.link(ground.node, name) for name in ground.names(ground.node)]
    return {(link["ifname"], link["group"], link.get("ifalias")) for link in links}


def test_a_mark_that_is_nobodys_goes_and_the_name_comes_back(ground: Any):
    """A device with another mark stays as it is, and a link in that group without an alias of ours."""
    come_home(ground, "eth1", "net1-0", LOST)
    come_home(ground, "eth2", "net1-1", HELD)
    ground.nic("eth3")
    ground.ip(ground.node, "link", "set", "eth3", "group", str(LOST), "alias", "uplink")
    assert marked_groups(ground.node) == {LOST, HELD}
    assert free_devices({LOST}, node_netns=ground.node) == 1
    assert names_and_marks(ground) == {
        ("eth1", "default", None),
        ("net1-1", str(HELD), "multinic:eth2"),
        ("eth3", str(LOST), "uplink"),
    }
    assert marked_groups(ground.node) == {HELD}
    assert free_devices({LOST}, node_netns=ground.node) == 0


def test_a_name_that_another_link_has_by_now_is_left_to_it(ground: Any):
    """The device is free all the same, under the name that it has."""
    come_home(ground, "eth1", "net1-0", LOST)
    ground.nic("other")
    ground.ip(ground.node, "link", "set", "other", "down")
    ground.ip(ground.node, "link", "set", "other", "name", "eth1")
    assert free_devices({LOST}, node_netns=ground.node) == 1
    assert names_and_marks(ground) == {("net1-0", "default", None), ("eth1", "default", None)}
