"""What sysfs says of the hardware behind links, from trees laid out as kernels lay them out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multinic_daemon.discovery.pci import normal_address
from multinic_daemon.discovery.sysfs import NO_DEVICE, device_facts, link_speed
from multinic_daemon.netlink import Link
from multinic_daemon.testing.machines import MACHINES, Machine, build

from multinic_core import Vf


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[str], Machine]:
    """Lays out a machine by name."""
    return lambda name: build(name, tmp_path)


def link_of(machine: Machine, ifname: str, **changes: Any) -> Link:
    (found,) = (link for link in machine.links if link.ifname == ifname)
    return found._replace(**changes)


def test_a_nic_of_a_large_machine_is_told_with_its_place(machine: Callable[[str], Machine]):
    """Ids, driver, NUMA node, RDMA device, speed and the bridges from the root port down."""
    nics = machine("hgx").nics()
    assert list(nics) == [f"fabric{number}" for number in range(8)]
    nic = nics["fabric5"]
    assert (nic.vendor, nic.product, nic.driver, nic.speed) == ("15b3", "1021", "mlx5_core", 400_000)
    assert (nic.pci_address, nic.numa_node, nic.rdma_devices) == ("0000:aa:00.0", 1, ("mlx5_5",))
    assert nic.pci_path == ("0000:a7:01.0", "0000:a8:00.0", "0000:a9:00.0")
    assert (nic.vfs, nic.vfs_possible, nic.physical_function) == ((), 16, "")


def test_vfs_are_told_with_their_physical_function(machine: Callable[[str], Machine]):
    """Each with its driver, and with its link where it has one on the node; one in a pod has a driver and no link."""
    nics = machine("sriov").nics()
    first, second, third, fourth = nics["ens1f0"].vfs
    assert (first.index, first.pci_address, first.driver, first.ifname) == (0, "0000:17:01.0", "iavf", "ens1f0v0")
    assert (second.mtu, second.altnames, second.ifindex > 0) == (9000, ("enp23s0f0v1",), True)
    assert third == Vf(2, "0000:17:01.2", "vfio-pci")
    assert fourth == Vf(3, "0000:17:01.3")
    assert nics["ens5f0np0"].vfs[1] == Vf(1, "0000:81:00.3", "mlx5_core", rdma_devices=("mlx5_3",))
    assert (nics["ens1f0"].altnames, nics["ens1f0"].vfs_possible) == (("enp23s0f0",), 64)
    assert nics["ens1f1"].vfs == ()


def test_more_than_ten_vfs_are_in_the_order_of_their_numbers(tmp_path: Path, machine: Callable[[str], Machine]):
    """VF 10 comes after VF 9 and not after VF 1."""
    made = machine("sriov")
    folder = made.sysfs / "bus/pci/devices/0000:17:00.0"
    for index in range(4, 12):
        (tmp_path / f"0000:17:02.{index % 8}").mkdir()
        (folder / f"virtfn{index}").symlink_to(tmp_path / f"0000:17:02.{index % 8}")
    assert [vf.index for vf in made.nics()["ens1f0"].vfs] == list(range(12))


def test_a_vf_knows_its_physical_function(machine: Callable[[str], Machine]):
    """Also where it serves the node as a NIC."""
    made = machine("sriov")
    facts = device_facts(link_of(made, "ens1f0v0"), made.sysfs)
    assert (facts.physical_function, facts.function.address) == ("0000:17:00.0", "0000:17:01.0")
    assert device_facts(link_of(made, "ens1f0"), made.sysfs).physical_function == ""


def test_a_virtio_nic_has_the_place_of_the_function_it_sits_on(machine: Callable[[str], Machine]):
    """Address and ids are the function's, the driver is the NIC's; a root bus has no bridges, this kernel no nodes."""
    nic = machine("cloud").nics()["eth1"]
    assert (nic.pci_address, nic.vendor, nic.product, nic.driver) == ("0000:00:04.0", "1af4", "1041", "virtio_net")
    assert (nic.pci_path, nic.numa_node, nic.speed) == ((), None, 0)


def test_a_machine_that_does_not_tell_its_nodes_has_none(machine: Callable[[str], Machine]):
    """-1 in sysfs is not a NUMA node, and -1 is not a speed."""
    nics = machine("plain").nics()
    assert [nic.numa_node for nic in nics.values()] == [None, None]
    assert (nics["eth1"].speed, nics["eth2"].speed, nics["eth2"].up) == (100_000, 0, False)


def test_a_usb_nic_is_not_the_function_of_its_host_controller(machine: Callable[[str], Machine]):
    """Its driver and its node are told; it has no PCI address."""
    made = machine("hgx")
    device = made.sysfs / "devices/pci0000:15/0000:15:01.0/usb1/1-1/1-1:1.0"
    device.mkdir(parents=True)
    (device / "numa_node").write_text("0\n")
    (device / "driver").symlink_to("/sys/bus/usb/drivers/cdc_ether")
    (made.sysfs / "bus/usb/devices").mkdir(parents=True)
    (made.sysfs / "bus/usb/devices/1-1:1.0").symlink_to(device)
    facts = device_facts(link_of(made, "eth0", bus="usb", bus_device="1-1:1.0"), made.sysfs)
    assert facts == replace(NO_DEVICE, driver="cdc_ether", numa_node=0)


def test_a_device_that_is_gone_has_no_facts(machine: Callable[[str], Machine]):
    """What netlink names and sysfs does not have is not an error."""
    made = machine("cloud")
    gone = link_of(made, "eth1", bus="pci", bus_device="0000:99:00.0")
    assert (device_facts(gone, made.sysfs), link_speed(gone, made.sysfs)) == (NO_DEVICE, 0)


@pytest.mark.parametrize("name", MACHINES)
def test_without_the_names_of_netlink_the_netdev_entry_is_used(machine: Callable[[str], Machine], name: str):
    """Older kernels name no bus device; what is told of a link stays the same."""
    made = machine(name)
    for link in made.links:
        nameless = link._replace(bus="", bus_device="")
        assert device_facts(nameless, made.sysfs) == device_facts(link, made.sysfs) != NO_DEVICE


@pytest.mark.parametrize("other", [{"ifindex": 99}, {"mac_address": "02:00:00:00:00:99"}, {"link_kind": "veth"}])
def test_an_entry_of_another_namespaces_link_is_not_believed(machine: Callable[[str], Machine], other: dict[str, Any]):
    """A sysfs mounted in another namespace shows a link of the same name that is not ours."""
    made = machine("cloud")
    assert device_facts(link_of(made, "eth1", bus="", bus_device="", **other), made.sysfs) == NO_DEVICE


def test_an_entry_of_an_infiniband_link_is_believed(machine: Callable[[str], Machine]):
    """Its kind is told though it has a device of its own."""
    made = machine("hgx")
    found = device_facts(link_of(made, "fabric0", bus="", bus_device="", link_kind="ipoib"), made.sysfs)
    assert found.function.rdma_devices == ("mlx5_0",)


def test_no_sysfs_at_all_means_no_facts(machine: Callable[[str], Machine], tmp_path: Path):
    """A missing mount is not an error."""
    assert device_facts(link_of(machine("hgx"), "fabric0"), tmp_path / "nothing") == NO_DEVICE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0000:0c:05.0", "0000:0c:05.0"),
        ("00000000:0C:05.0", "0000:0c:05.0"),
        ("0C:05.0", "0000:0c:05.0"),
        (" 10000:E1:1f.7\n", "10000:e1:1f.7"),
        ("00010000:e1:1f.7", "10000:e1:1f.7"),
        ("0000:0c:05.8", ""),
        ("0000:0c:25.0", ""),
        ("0000:0c:05", ""),
        ("pci0000:0c", ""),
        ("GPU-0000:0c:05.0", ""),
        ("", ""),
    ],
)
def test_pci_addresses_are_written_one_way(text: str, expected: str):
    """As sysfs writes them, from whatever other tools write; what is none stays none."""
    assert normal_address(text) == expected


@given(st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(0, 31), st.integers(0, 7), st.booleans())
def test_every_pci_address_is_its_own_normal_form(domain: int, bus: int, device: int, function: int, capitals: bool):
    """Writing it in eight digits or capitals changes nothing, and writing it again neither."""
    written = f"{domain:08x}:{bus:02x}:{device:02x}.{function}"
    normal = normal_address(written.upper() if capitals else written)
    assert normal == f"{domain:04x}:{bus:02x}:{device:02x}.{function}" == normal_address(normal)
