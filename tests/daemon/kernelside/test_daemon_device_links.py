"""Which link is the device of an attachment, by its mark and its PCI address."""

import pytest
from multinic_daemon.journal.journal import GROUP_BASE
from multinic_daemon.netlink import Link
from multinic_daemon.podlinks.devicelinks import match

from multinic_core.devices import TakeDevice

PCI, GROUP = "0000:8a:10.1", GROUP_BASE + 7
STEP = TakeDevice("net1-0", "eth1", "eth1v1", PCI)


def vf(group: int, ifname: str = "net7") -> Link:
    return Link(5, ifname, 1, 0, 1500, "", "", b"", 0, None, 0, group, True, "pci", PCI)


@pytest.mark.parametrize("certain", [False, True])
def test_a_marked_device_is_found_under_any_name(certain: bool) -> None:
    """Wherever it has been moved to."""
    assert match([STEP], [(vf(GROUP), PCI)], GROUP, certain=certain) == {"net1-0": vf(GROUP)}


def test_a_device_without_the_mark_is_taken_from_its_own_places_only() -> None:
    """Elsewhere somebody else has it by now, such as a pod of another CNI plugin, which would lose it."""
    unmarked = [(vf(0), PCI)]
    assert match([STEP], unmarked, GROUP) == {"net1-0": vf(0)}
    assert match([STEP], unmarked, GROUP, certain=True) == {}


@pytest.mark.parametrize("certain", [False, True])
def test_a_device_with_another_attachments_mark_is_left_alone(certain: bool) -> None:
    """It has been given again."""
    assert match([STEP], [(vf(GROUP + 1), PCI)], GROUP, certain=certain) == {}


def test_the_other_port_of_a_function_is_left_alone() -> None:
    """Some NICs have one PCI function for all their ports; ours has the mark, or the name where nothing is marked."""
    port, other = vf(0, "eth1v1"), vf(0, "eth0")
    assert match([STEP], [(other, PCI), (port, PCI)], GROUP) == {"net1-0": port}
    assert match([STEP], [(port, PCI), (vf(GROUP, "eth7"), PCI)], GROUP) == {"net1-0": vf(GROUP, "eth7")}
    both = [(vf(GROUP, "net1-1"), PCI), (vf(GROUP, "net1-0"), PCI)]
    assert match([STEP], both, GROUP, certain=True) == {"net1-0": vf(GROUP, "net1-0")}
