"""NICs that sit in pods stay NICs of the node: as they were seen, or as the journal and sysfs tell."""

from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

from multinic_daemon.discovery.held import held_nics
from multinic_daemon.journal.held import HeldDevices

from multinic_core import NodeView
from multinic_core.devices import TakeDevice
from multinic_core.testing import example_nic

NIC = replace(example_nic(1), altnames=("enp1s0",))
ADDRESSES = (ip_interface("10.0.1.1/24"),)


def held(**changes: str) -> HeldDevices:
    """A row that has the NIC, and one that has a VF of another."""
    step = TakeDevice(
        "net1-0",
        "eth1",
        "eth1",
        "0000:01:00.0",
        mtu_before=1500,
        mac_address_before="02:00:00:00:00:01",
        altnames_before=("enp1s0",),
        addresses_before=ADDRESSES,
        driver_before="mlx5_core",
    )
    found = HeldDevices()
    found.set(1, [replace(step, **changes)])
    found.set(2, [TakeDevice("net1-0", "eth2", "eth2v0", "0000:02:10.0")])
    return found


def test_a_nic_in_a_pod_is_as_it_was_seen_last(tmp_path: Path):
    """Nothing that is published of it changes; only its VFs are not there to be given."""
    view = NodeView("node-1", {"eth1": NIC})
    assert held_nics(held(), lambda: view, tmp_path) == {"eth1": replace(NIC, vfs=())}


def test_a_new_daemon_knows_it_from_journal_and_sysfs(tmp_path: Path):
    """Name, addresses and MTU from the journal, and the hardware from where sysfs shows it to everybody."""
    folder = tmp_path / "devices/pci0000:00/0000:00:01.0/0000:01:00.0"
    folder.mkdir(parents=True)
    for name, text in (("vendor", "0x15b3\n"), ("device", "0x1019\n"), ("numa_node", "1\n")):
        (folder / name).write_text(text)
    (tmp_path / "bus/pci/devices").mkdir(parents=True)
    (tmp_path / "bus/pci/devices/0000:01:00.0").symlink_to(folder)
    (nic,) = held_nics(held(), lambda: NodeView("node-1", {}), tmp_path).values()
    assert (nic.ifname, nic.addresses, nic.mtu, nic.mac_address) == ("eth1", ADDRESSES, 1500, NIC.mac_address)
    assert (nic.vendor, nic.product, nic.numa_node, nic.pci_path) == ("15b3", "1019", 1, ("0000:00:01.0",))


def test_a_new_daemon_shows_what_the_old_one_showed(tmp_path: Path):
    """Addresses with a lease, or written by hand, are told of it all the same; its own are those that come back."""
    shown, rows = (ip_interface("10.0.1.9/24"),), HeldDevices()
    rows.set(1, [TakeDevice("net1-0", "eth1", "eth1", up_before=True, addresses_shown=shown)])
    (nic,) = held_nics(rows, lambda: NodeView("node-1", {}), tmp_path).values()
    assert (nic.addresses, nic.own_addresses, nic.switched_on) == (shown, (), True)


def test_a_nic_that_took_its_name_is_another_one(tmp_path: Path):
    """What is seen under the name counts for the NIC of this PCI address alone."""
    view = NodeView("node-1", {"eth1": replace(NIC, pci_address="0000:09:00.0", vendor="8086")})
    (nic,) = held_nics(held(), lambda: view, tmp_path).values()
    assert (nic.pci_address, nic.vendor) == ("0000:01:00.0", "")


def test_rows_that_are_gone_hold_nothing(tmp_path: Path):
    """A device is held as long as its row lives."""
    rows = held()
    assert rows.keys == {"0000:01:00.0", "0000:02:10.0"}
    assert (rows.holder("0000:02:10.0"), rows.holder("0000:03:00.0")) == (2, None)
    rows.remove(1)
    rows.remove(1)
    assert rows.keys == {"0000:02:10.0"}
    assert held_nics(rows, lambda: NodeView("node-1", {}), tmp_path) == {}
