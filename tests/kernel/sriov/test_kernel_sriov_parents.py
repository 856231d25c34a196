"""A VF of the node as the parent of pod links: a NIC as any other."""

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from multinic_daemon.discovery.discovery import Discovery
from multinic_daemon.podlinks.apply import apply_plan, differences, remove_links, remove_vlan
from multinic_daemon.podlinks.kernel import parent_of
from multinic_lab.emulator.testing import Pf
from multinic_lab.provision import tools

from multinic_core import CreateLink, Plan

pytestmark = pytest.mark.sriov

Ip = Callable[..., list[dict[str, Any]]]
GROUP = 0x5A0001
USES = {
    "macvlan": ("macvlan", {"IFLA_MACVLAN_MODE": 4}),
    "ipvlan": ("ipvlan", {"IFLA_IPVLAN_MODE": 1, "IFLA_IPVLAN_FLAGS": 0}),
}


@pytest.fixture
def pod() -> Iterator[str]:
    environment = tools.environment()
    subprocess.run(["ip", "netns", "add", "on-a-vf"], env=environment, check=True)
    yield "/run/netns/on-a-vf"
    subprocess.run(["ip", "netns", "del", "on-a-vf"], env=environment, check=True)


@pytest.mark.parametrize("vlan", [0, 100], ids=["itself", "a VLAN on it"])
@pytest.mark.parametrize("kind", USES)
async def test_pod_links_lie_on_a_vf(pf: Pf, ip: Ip, pod: str, kind: str, vlan: int) -> None:
    """A VF with an address is found as a NIC; links of both kinds, and VLAN links, can be made on it and removed."""
    ip("link", "set", pf.ifname, "up")
    (vf,) = pf.make_vfs(1)
    ip("link", "set", vf.ifname, "up")
    ip("address", "add", "10.0.9.1/24", "dev", vf.ifname)
    nic = (await Discovery("n1").look()).nics[vf.ifname]
    step = CreateLink("net1-0", USES[kind][0], nic.ifname, nic.ifindex, nic.mtu, USES[kind][1], vlan=vlan)
    apply_plan(Plan((step,)), pod, GROUP)
    assert differences(Plan((step,)), pod) == []
    assert remove_links(pod, GROUP)
    if vlan:
        assert remove_vlan(parent_of(step))
