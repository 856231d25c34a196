"""topology on machines as their kernels show them: read by discovery, chosen by the strategy."""

from dataclasses import replace
from pathlib import Path

import pytest
from multinic_daemon.devices import GivenDevice, PodDevices
from multinic_daemon.devices.places import cpu_numa_nodes, pod_devices
from multinic_daemon.discovery.sysfs import device_facts
from multinic_daemon.discovery.virtualtopology import NO_PLACES, Places, parse_places
from multinic_daemon.testing.machines import Machine, build
from multinic_plugin_policies.topology import Topology

from multinic_core import Nic, PodReference, Selection, SelectionRequest

SHARED = b"""
<system version="1">
  <cpu numaid="0">
    <pci busid="ffff:ff:01.0"><pci busid="0000:00:0a.0"/><pci busid="0000:00:08.0"/></pci>
    <pci busid="ffff:ff:02.0"><pci busid="0000:00:0b.0"/><pci busid="0000:00:07.0"/></pci>
  </cpu>
  <cpu numaid="1">
    <pci busid="ffff:ff:03.0"><pci busid="0000:00:0c.0"/><pci busid="0000:00:06.0"/></pci>
    <pci busid="ffff:ff:04.0"><pci busid="0000:00:0d.0"/><pci busid="0000:00:05.0"/></pci>
  </cpu>
</system>
"""


def choose(
    machine: Machine,
    gpus: tuple[int, ...] = (),
    nics: int | None = None,
    cpus: tuple[int, ...] = (),
    places: Places = NO_PLACES,
) -> Selection:
    """What a pod with these of the machine's GPUs, in order of their addresses, and these processors gets."""
    by_address = {address: id_ for id_, address in machine.gpus.items()}
    ids = [by_address[sorted(by_address)[number]] for number in gpus]
    given = PodDevices(devices=tuple(GivenDevice("nvidia.com/gpu", id_) for id_ in ids), cpus=frozenset(cpus))
    request = SelectionRequest(
        "net-a",
        PodReference("default", "pod-1"),
        nics=nics,
        devices=pod_devices(given, sysfs=machine.sysfs, proc=machine.proc, places=places),
        cpu_numa_nodes=cpu_numa_nodes(given.cpus, sysfs=machine.sysfs),
    )
    return Topology().select(request, candidates(machine, places))


def candidates(machine: Machine, places: Places) -> list[Nic]:
    """The NICs that are up, where ``places`` puts them."""
    facts = {link.ifname: device_facts(link, machine.sysfs, places) for link in machine.links}
    return [
        replace(nic, pci_path=facts[nic.ifname].function.path, numa_node=facts[nic.ifname].numa_node)
        for nic in machine.nics().values()
        if nic.up
    ]


@pytest.mark.parametrize(
    ("gpus", "nics", "chosen"),
    [
        pytest.param((0,), 1, ("fabric0",), id="its-own"),
        pytest.param((6,), 1, ("fabric6",), id="its-own-on-the-other-socket"),
        pytest.param((3, 5), 2, ("fabric3", "fabric5"), id="one-for-each"),
        pytest.param((5,), 3, ("fabric5", "fabric4", "fabric6"), id="then-those-of-its-socket"),
        pytest.param((0, 1, 2, 3), 4, ("fabric0", "fabric1", "fabric2", "fabric3"), id="one-socket"),
        pytest.param((0, 7), 4, ("fabric0", "fabric7", "fabric1", "fabric4"), id="two-for-each"),
        pytest.param((0, 7), 3, ("fabric0", "fabric7", "fabric1"), id="an-odd-one"),
        pytest.param(tuple(range(8)), 8, tuple(f"fabric{number}" for number in range(8)), id="all"),
    ],
)
def test_gpus_get_the_nics_of_their_switches(
    tmp_path: Path, gpus: tuple[int, ...], nics: int, chosen: tuple[str, ...]
) -> None:
    """Eight GPUs, each with a NIC below the same switch: in proportion, the nearest first."""
    assert choose(build("hgx", tmp_path), gpus, nics).chosen == chosen


@pytest.mark.parametrize(("cpus", "first"), [((48, 144), "fabric4"), ((0, 143), "fabric0")])
def test_a_pod_without_gpus_gets_the_nics_of_its_processors(tmp_path: Path, cpus: tuple[int, ...], first: str) -> None:
    """Those of the socket that its exclusive CPUs are on."""
    selection = choose(build("hgx", tmp_path), nics=4, cpus=cpus)
    assert selection.chosen[0] == first
    assert len({ifname for ifname in selection.chosen if (ifname >= "fabric4") == (first == "fabric4")}) == 4


def test_ports_on_two_sockets_are_told_apart(tmp_path: Path) -> None:
    """A machine with SR-IOV and no GPU: by the processors alone, and any where the pod has none of its own."""
    machine = build("sriov", tmp_path)
    assert set(choose(machine, nics=2, cpus=(20,)).chosen) == {"ens5f0np0", "ens5f1np1"}
    assert set(choose(machine, nics=2, cpus=(3,)).chosen) == {"ens1f0", "ens1f1"}
    anywhere = choose(machine, nics=1)
    assert anywhere.chosen == ("ens1f0",)
    assert set(anywhere.reasons.values()) == {
        "the pod has neither GPUs nor CPUs of its own",
        "the pod has neither GPUs nor CPUs of its own, beyond the 1 asked for",
    }


def test_where_nothing_is_known_the_order_is_that_of_equals(tmp_path: Path) -> None:
    """A virtual machine with one root bus and no NUMA nodes: by use and name, and no failure."""
    selection = choose(build("cloud", tmp_path), nics=2, cpus=(0,))
    assert selection.chosen == ("eth1", "eth2")


def test_a_firmware_that_tells_no_nodes_leaves_the_switches(tmp_path: Path) -> None:
    """The kernel says -1 for the node, and the bridges are as they are; a NIC without cable is not chosen."""
    machine = build("plain", tmp_path)
    selection = choose(machine, (0,), 1)
    assert selection.chosen == ("eth1",)
    assert selection.reasons["eth1"] == "below the same PCI switch as GPU 0000:04:00.0"
    far = choose(machine, (1,), 1)
    assert far.reasons["eth1"] == "at the same root complex as GPU 0000:05:00.0"


def test_the_file_of_a_virtual_machine_tells_what_its_bus_does_not(tmp_path: Path) -> None:
    """Without it all NICs are alike to a GPU; with it each GPU gets the NIC of its switch, then of its node."""
    machine = build("gpucloud", tmp_path)
    places = parse_places(SHARED)
    assert choose(machine, (0,), 1).chosen == ("rdma0",)
    assert [choose(machine, (gpu,), 1, places=places).chosen for gpu in range(4)] == [
        ("rdma3",),
        ("rdma2",),
        ("rdma1",),
        ("rdma0",),
    ]
    assert set(choose(machine, (0,), 2, places=places).chosen) == {"rdma3", "rdma2"}
    assert set(choose(machine, (2,), 2, places=places).chosen) == {"rdma1", "rdma0"}
