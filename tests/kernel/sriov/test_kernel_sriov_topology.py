"""topology on the emulated PC: NICs as discovery sees them, its display controllers as the GPUs of a pod."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from multinic_daemon.devices import GivenDevice, PodDevices
from multinic_daemon.devices.places import cpu_numa_nodes, pod_devices
from multinic_daemon.testing.discovering import discovering, shows
from multinic_lab.emulator.testing import PCI_DEVICES, Pf
from multinic_plugin_policies.topology import Topology

from multinic_core import Nic, PodReference, Selection, SelectionRequest

pytestmark = pytest.mark.sriov

Ip = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def used(pfs: list[Pf], ip: Ip) -> Iterator[list[Pf]]:
    """Both PFs, up and with an address each, so that they are secondary NICs."""
    for number, pf in enumerate(pfs):
        ip("address", "add", f"10.0.{number + 1}.5/24", "dev", pf.ifname)
        ip("link", "set", pf.ifname, "up")
    yield pfs
    for pf in pfs:
        ip("address", "flush", "dev", pf.ifname)
        ip("link", "set", pf.ifname, "down")


async def seen(pfs: list[Pf]) -> list[Nic]:
    """The NICs of the machine once both are up."""
    names = [pf.ifname for pf in pfs]
    async with discovering() as found:
        await shows(found, lambda f: all(name in f.view().nics and f.view().nics[name].up for name in names))
        return [found.view().nics[name] for name in names]


def gpus() -> list[str]:
    """PCI addresses of the display controllers, that of NUMA node 0 first."""
    found = [path for path in PCI_DEVICES.iterdir() if (path / "class").read_text().startswith("0x03")]
    return [path.name for path in sorted(found, key=lambda path: int((path / "numa_node").read_text()))]


def choose(nics: list[Nic], gpus: tuple[str, ...] = (), cpus: tuple[int, ...] = (), count: int = 1) -> Selection:
    given = PodDevices(devices=tuple(GivenDevice("example.com/gpu", gpu) for gpu in gpus), cpus=frozenset(cpus))
    nodes = cpu_numa_nodes(given.cpus)
    pod = PodReference("default", "pod-1")
    request = SelectionRequest("net-a", pod, nics=count, devices=pod_devices(given), cpu_numa_nodes=nodes)
    return Topology().select(request, nics)


@pytest.mark.parametrize("node", [0, 1])
async def test_a_gpu_gets_the_nic_of_its_host_bridge(used: list[Pf], node: int):
    """Not that of the other NUMA node, whichever comes first by name."""
    nics, gpu = await seen(used), gpus()[node]
    selection = choose(nics, (gpu,))
    assert selection.chosen == (used[node].ifname,)
    near, far = used[node].ifname, used[1 - node].ifname
    assert selection.reasons[near].endswith(f"GPU {gpu}")
    assert selection.figures[near]["nearness"] in ("switch", "root", "numa")
    assert selection.figures[far]["nearness"] == "other"


async def test_gpus_of_both_nodes_get_a_nic_each(used: list[Pf]):
    """In proportion, so that neither goes to the other's."""
    nics = await seen(used)
    first, second = gpus()
    assert set(choose(nics, (first, second), count=2).chosen) == {pf.ifname for pf in used}


@pytest.mark.parametrize("node", [0, 1])
async def test_processors_get_the_nic_of_their_node(used: list[Pf], node: int):
    """A pod without GPUs; the PC has one processor on each node."""
    nics = await seen(used)
    assert choose(nics, cpus=(node,)).chosen == (used[node].ifname,)
