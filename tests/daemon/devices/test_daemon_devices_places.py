"""Where a pod's devices and processors sit, told from machines laid out as their kernels would."""

from collections.abc import Callable
from pathlib import Path

import pytest
from multinic_daemon.devices import GivenDevice, PodDevices
from multinic_daemon.devices.gpus import gpu_addresses
from multinic_daemon.devices.places import cpu_numa_nodes, pod_devices
from multinic_daemon.testing.machines import Machine, build

from multinic_core.selection import PodDevice

GPU, SRIOV = "nvidia.com/gpu", "example.com/sriov"


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[str], Machine]:
    """Lays out a machine by name."""
    return lambda name: build(name, tmp_path)


def places(made: Machine, *devices: GivenDevice) -> tuple[PodDevice, ...]:
    return pod_devices(PodDevices(devices=devices), sysfs=made.sysfs, proc=made.proc)


def test_a_gpu_is_found_by_its_id_below_the_switch_of_its_nic(machine: Callable[[str], Machine]):
    """Its bridges and its NUMA node are told; all but the last bridge are those of the NIC beside it."""
    made = machine("hgx")
    id_ = next(id_ for id_, address in made.gpus.items() if address == "0000:bc:00.0")
    (gpu,) = places(made, GivenDevice(GPU, id_))
    assert gpu == PodDevice(id_, "gpu", "0000:bc:00.0", ("0000:b7:01.0", "0000:b8:00.0", "0000:b9:02.0"), 1)
    assert made.nics()["fabric6"].pci_path[:2] == gpu.pci_path[:2]


def test_devices_come_by_pci_address_and_those_without_place_last(machine: Callable[[str], Machine]):
    """In whatever order the kubelet names them."""
    made = machine("hgx")
    ids = [GivenDevice(GPU, id_) for id_ in sorted(made.gpus, reverse=True)]
    found = places(made, GivenDevice("example.com/fpga", "a"), *ids)
    assert [device.pci_address for device in found] == [*sorted(made.gpus.values()), ""]


def test_a_vf_is_found_by_its_address_however_it_is_written(machine: Callable[[str], Machine]):
    """Device plugins for NICs use PCI addresses as ids."""
    made = machine("sriov")
    (vf,) = places(made, GivenDevice(SRIOV, "00000000:17:01.0"))
    assert (vf.kind, vf.pci_address, vf.numa_node) == ("nic", "0000:17:01.0", 0)
    assert vf.pci_path == ("0000:16:02.0",)


def test_shares_of_one_gpu_are_one_device(machine: Callable[[str], Machine]):
    """Its replicas are in one place, which counts once."""
    made = machine("plain")
    (id_, address), _ = made.gpus.items()
    (gpu,) = places(made, GivenDevice(GPU, f"{id_}::1"), GivenDevice(GPU, f"{id_}::4"))
    assert (gpu.pci_address, gpu.kind) == (address, "gpu")


@pytest.mark.parametrize(
    ("resource", "id_", "kind"),
    [
        ("nvidia.com/mig-1g.10gb", "MIG-4f1d2b1e-0000-0000-0000-000000000000", "gpu"),
        (GPU, "GPU-ffffffff-0000-0000-0000-000000000000", "gpu"),
        (GPU, "0", "gpu"),
        ("example.com/sf", "mlx5_core.sf.4", "other"),
        (SRIOV, "0000:ff:00.0", "other"),
    ],
)
def test_what_cannot_be_told_is_not_guessed(machine: Callable[[str], Machine], resource: str, id_: str, kind: str):
    """A slice, a GPU that is gone, an index, a device of another bus: no path, and the node that the kubelet names."""
    made = machine("hgx")
    for nodes, expected in (((1,), 1), ((), None), ((0, 1), None)):
        (device,) = places(made, GivenDevice(resource, id_, numa_nodes=nodes))
        assert (device.kind, device.pci_path, device.numa_node) == (kind, (), expected)


def test_the_kernel_knows_the_node_better_than_the_kubelet(machine: Callable[[str], Machine]):
    """Where both tell, sysfs is believed; where the firmware is silent, the device plugin's word is taken."""
    made = machine("sriov")
    assert places(made, GivenDevice(SRIOV, "0000:81:00.2", numa_nodes=(0,)))[0].numa_node == 1
    (made.sysfs / "bus/pci/devices/0000:81:00.2/numa_node").write_text("-1\n")
    assert places(made, GivenDevice(SRIOV, "0000:81:00.2", numa_nodes=(0,)))[0].numa_node == 0


def test_an_accelerator_that_is_no_display_is_a_gpu(machine: Callable[[str], Machine]):
    """Some vendors' have PCI class 12, processing accelerators, and an address as their id."""
    made = machine("hgx")
    (made.sysfs / "bus/pci/devices/0000:1a:00.0/class").write_text("0x120000\n")
    (device,) = places(made, GivenDevice("example.com/accelerator", "0000:1a:00.0"))
    assert device.kind == "gpu"


def test_a_gpu_of_which_the_driver_knows_no_id_is_left_out(machine: Callable[[str], Machine], tmp_path: Path):
    """Of a GPU that nobody uses the driver writes question marks; without the driver there is nothing."""
    made = machine("plain")
    first, _ = made.gpus.values()
    file = made.proc / "driver/nvidia/gpus" / first / "information"
    file.write_text("GPU UUID: \t GPU-????????-????-????-????-????????????\nBus Location: \t 0000:04:00.0\n")
    assert list(gpu_addresses(made.proc).values()) == [address for address in made.gpus.values() if address != first]
    assert gpu_addresses(tmp_path / "nothing") == {}


@pytest.mark.parametrize(
    ("cpus", "nodes"), [({0}, (0,)), ({143, 144}, (0, 1)), ({191}, (1,)), ({500}, ()), (set(), ())]
)
def test_processors_are_on_their_nodes(machine: Callable[[str], Machine], cpus: set[int], nodes: tuple[int, ...]):
    """By the lists that the kernel writes for each node."""
    made = machine("hgx")
    assert cpu_numa_nodes(frozenset(cpus), sysfs=made.sysfs) == nodes


def test_a_machine_without_nodes_tells_none(machine: Callable[[str], Machine]):
    """A virtual machine without NUMA has no such folders."""
    assert cpu_numa_nodes(frozenset({0}), sysfs=machine("cloud").sysfs) == ()
