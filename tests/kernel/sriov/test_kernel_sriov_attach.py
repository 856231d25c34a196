"""VFs of real drivers go into pods with their settings and come back as they were, whatever happens in between."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trio
from multinic_daemon.discovery.discovery import Discovery
from multinic_daemon.podlinks.apply import apply_plan, differences, remove_links, return_devices
from multinic_daemon.podlinks.drivers import driver_of
from multinic_daemon.podlinks.marks import GROUPS
from multinic_daemon.testing.crashing import killed_at
from multinic_lab.emulator.testing import Pf, wait_until
from multinic_lab.provision import tools
from multinic_plugin_host_device import HostDevice
from multinic_plugin_sriov import Sriov

from multinic_core import KernelError, NodeView, Plan
from multinic_core.testing import example_request

pytestmark = pytest.mark.sriov

Ip = Callable[..., list[dict[str, Any]]]
GROUP = GROUPS[7]
MAC = "02:00:00:00:00:77"
ALL = {"vlan": 210, "vlanQoS": 3, "spoofchk": "off", "trust": "on", "mtu": 1400}


@pytest.fixture
def port(pf: Pf, ip: Ip) -> Iterator[Pf]:
    """The PF as a NIC of the node: up, with an address."""
    name = pf.ifname
    ip("link", "set", name, "up")
    ip("address", "add", "10.9.0.1/24", "dev", name)
    yield pf
    ip("address", "flush", "dev", name)
    ip("link", "set", name, "down")


@pytest.fixture
def pods() -> Iterator[Callable[[], str]]:
    """Makes network namespaces; gives their paths."""
    names: list[str] = []

    def make() -> str:
        names.append(f"vf-{uuid4().hex[:8]}")
        in_shell("ip", "netns", "add", names[-1])
        return f"/run/netns/{names[-1]}"

    yield make
    for name in names:
        if Path("/run/netns", name).exists():
            in_shell("ip", "netns", "del", name)


def in_shell(*command: str) -> str:
    done = subprocess.run(command, env=tools.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def node() -> NodeView:
    """What the daemon sees of this machine now."""
    return trio.run(Discovery("pc").look)


def plan_for(pf: Pf, block: dict[str, Any], *, plugin: Any = None, **link: Any) -> Plan:
    request = example_request(block, (pf.ifname,))
    request = replace(request, links=tuple(replace(each, **link) for each in request.links))
    plan: Plan = (plugin or Sriov()).plan(request, node())
    return plan


def vf_info(pf: Pf, ip: Ip, index: int = 0) -> dict[str, Any]:
    """What the PF says of a VF."""
    (shown,) = ip("link", "show", pf.ifname)
    return next(vf for vf in shown["vfinfo_list"] if vf["vf"] == index)


def shown(ip: Ip, ifname: str) -> dict[str, Any]:
    """What must be as before, of a link on the node."""
    (link,) = ip("link", "show", ifname)
    kept = {key: link.get(key) for key in ("ifname", "mtu", "address", "group", "ifalias", "altnames")}
    return kept | {"up": "UP" in link["flags"]}  # the emulated carrier comes in its own time


def test_a_vf_goes_into_a_pod_with_all_its_settings_and_comes_back(port: Pf, ip: Ip, pods: Any):
    """VLAN and priority, spoof check, trust and MAC address are the PF's word, read back with ``ip -d link``."""
    vf = port.make_vfs(2)[0]
    name, pod = vf.ifname, pods()
    ip("link", "property", "add", "dev", name, "altname", "myvf")
    before, info = shown(ip, name), vf_info(port, ip)
    plan = plan_for(port, ALL, mac_address=MAC)
    before_all = plan.vfs[0].before
    assert (before_all.vlan, before_all.qos, before_all.spoof_check, before_all.trust) == (0, 0, True, False)
    assert plan.devices[0].pci_address == vf.pci_address
    (made,) = apply_plan(plan, pod, GROUP)
    assert (made.ifname, made.mac_address, made.mtu) == ("net1-0", MAC, 1400)
    found = vf_info(port, ip)
    assert found["vlan_list"] == [{"vlan": 210, "qos": 3}]
    assert (found["address"], found["spoofchk"], found["trust"]) == (MAC, False, True)
    (inside,) = ip("-n", pod.rpartition("/")[2], "address", "show", "net1-0")
    assert (inside["address"], inside["mtu"], inside["parentdev"]) == (MAC, 1400, vf.pci_address)
    assert "192.168.0.1" in [each["local"] for each in inside["addr_info"]]
    assert vf.ifname == ""
    assert differences(plan, pod) == []
    assert return_devices(plan, pod, GROUP) == 1
    assert not remove_links(pod, GROUP)
    assert shown(ip, name) == before
    assert vf_info(port, ip) == info
    assert return_devices(plan, pod, GROUP) == 0
    assert shown(ip, name) == before


def test_a_vf_without_settings_keeps_those_it_has(port: Pf, ip: Ip, pods: Any):
    """What the network says nothing about is left alone, also on the way back."""
    name, pod = port.make_vfs(1)[0].ifname, pods()
    ip("link", "set", port.ifname, "vf", "0", "vlan", "9")
    before, info = shown(ip, name), vf_info(port, ip)
    plan = plan_for(port, {})
    assert plan.vfs == ()
    apply_plan(plan, pod, GROUP)
    assert vf_info(port, ip) == info
    return_devices(plan, pod, GROUP)
    assert (shown(ip, name), vf_info(port, ip)) == (before, info)


def test_the_next_pod_gets_the_next_vf(port: Pf, pods: Any):
    """The lowest index that is on the node; what has gone into a pod shows without a link."""
    first, second = port.make_vfs(2)
    plan, pod = plan_for(port, {}), pods()
    assert plan.devices[0].pci_address == first.pci_address
    apply_plan(plan, pod, GROUP)
    assert plan_for(port, {}).devices[0].pci_address == second.pci_address
    return_devices(plan, pod, GROUP)
    assert plan_for(port, {}).devices[0].pci_address == first.pci_address


def test_a_namespace_that_vanishes_brings_its_vf_back(port: Pf, ip: Ip, pods: Any):
    """The kernel names it anew on the node, as the pod's name is taken there; its PCI address tells which it is."""
    name, pod = port.make_vfs(1)[0].ifname, pods()
    before, info = shown(ip, name), vf_info(port, ip)
    plan = plan_for(port, ALL, mac_address=MAC)
    apply_plan(plan, pod, GROUP)
    ip("link", "add", "net1-0", "type", "dummy")
    try:
        in_shell("ip", "netns", "del", pod.rpartition("/")[2])
        return_devices(plan, pod, GROUP)
        assert (shown(ip, name), vf_info(port, ip)) == (before, info)
    finally:
        ip("link", "del", "net1-0")


POINTS = ["devices.configured", "devices.moved"]
RETURNING = ["devices.returned"]
"""Where VFs have more to be restored than other devices, which are killed at every point."""


@pytest.mark.parametrize("name", [*POINTS, *RETURNING])
def test_killed_on_the_way(port: Pf, ip: Ip, pods: Any, name: str):
    """Whoever reads the plan brings VF and settings back from wherever they are; the next pod finds all in order."""
    link, pod = port.make_vfs(1)[0].ifname, pods()
    before, info = shown(ip, link), vf_info(port, ip)
    plan = plan_for(port, ALL, mac_address=MAC)
    if name in POINTS:
        killed_at(name, lambda: apply_plan(plan, pod, GROUP))
    else:
        apply_plan(plan, pod, GROUP)
        killed_at(name, lambda: return_devices(plan, pod, GROUP))
    for _ in range(2):
        return_devices(plan, pod, GROUP)
        assert (shown(ip, link), vf_info(port, ip)) == (before, info)
    apply_plan(plan, pod, GROUP)
    assert differences(plan, pod) == []
    return_devices(plan, pod, GROUP)


def test_check_names_each_change(port: Pf, ip: Ip, pods: Any):
    """What somebody changes on the PF or in the pod is one sentence each."""
    port.make_vfs(1)
    plan, pod, nic = plan_for(port, ALL), pods(), port.ifname
    apply_plan(plan, pod, GROUP)
    ip("link", "set", nic, "vf", "0", "vlan", "211", "qos", "1", "spoofchk", "on", "trust", "off")
    ip("-n", pod.rpartition("/")[2], "link", "set", "net1-0", "down", "mtu", "1300")
    assert differences(plan, pod) == [
        "link 'net1-0' has mtu 1300, expected 1400",
        "link 'net1-0' is down, expected up",
        f"VF 0 of NIC {nic!r} has vlan 211, expected 210",
        f"VF 0 of NIC {nic!r} has qos 1, expected 3",
        f"VF 0 of NIC {nic!r} has spoof check True, expected False",
        f"VF 0 of NIC {nic!r} has trust False, expected True",
    ]
    return_devices(plan, pod, GROUP)


def test_check_names_a_vf_that_is_gone(port: Pf, pods: Any):
    """Without VFs neither link nor settings are there, and giving back is done at once."""
    port.make_vfs(1)
    plan, pod = plan_for(port, ALL), pods()
    apply_plan(plan, pod, GROUP)
    port.make_vfs(0)
    found = differences(plan, pod)
    assert found[0].startswith("link 'net1-0' is missing, the device")
    assert found[-1] == f"VF 0 of NIC {port.ifname!r} is missing"
    assert return_devices(plan, pod, GROUP) == 0


@pytest.mark.parametrize(
    ("block", "words"),
    [({"min_tx_rate": 10}, "a rate without support"), ({"link_state": "enable"}, "the NIC's driver cannot do this")],
)
def test_what_the_driver_refuses_is_named_and_undone(port: Pf, ip: Ip, pods: Any, block: dict[str, Any], words: str):
    """igb knows no least rate and no link state of VFs: the refusal says so, and all is as it was."""
    name, pod = port.make_vfs(1)[0].ifname, pods()
    before, info = shown(ip, name), vf_info(port, ip)
    with pytest.raises(KernelError, match=f"of VF 0 of NIC '{port.ifname}'") as refused:
        apply_plan(plan_for(port, {**ALL, **block}), pod, GROUP)
    assert words in refused.value.details
    assert (shown(ip, name), vf_info(port, ip)) == (before, info)


def test_a_vf_for_user_space_is_set_up_and_left_where_it_is(port: Pf, ip: Ip, pods: Any):
    """Bound to vfio-pci it has no link: its settings are laid down, and its driver is the same afterwards."""
    vf, pod = port.make_vfs(2)[1], pods()
    bind_to_vfio(vf.pci_address)
    plan = plan_for(port, {"vlan": 210}, device=vf.pci_address)
    assert plan.devices[0].device == ""
    assert apply_plan(plan, pod, GROUP) == ()
    assert vf_info(port, ip, 1)["vlan_list"] == [{"vlan": 210}]
    assert differences(plan, pod) == []
    return_devices(plan, pod, GROUP)
    assert vf_info(port, ip, 1)["vlan_list"] == [{}]
    assert driver_of(vf.pci_address) == "vfio-pci"


def test_a_vf_that_was_given_another_driver_gets_its_own_again(port: Pf, ip: Ip, pods: Any):
    """What a pod with such rights bound to vfio-pci is a link of the node again, under its name."""
    vf = port.make_vfs(1)[0]
    name, pod = vf.ifname, pods()
    plan = plan_for(port, ALL)
    apply_plan(plan, pod, GROUP)
    bind_to_vfio(vf.pci_address)
    return_devices(plan, pod, GROUP)
    assert driver_of(vf.pci_address) == "igbvf"
    wait_until(lambda: vf.ifname == name, f"link {name} of {vf.pci_address}")


def bind_to_vfio(pci_address: str) -> None:
    folder = Path("/sys/bus/pci/devices", pci_address)
    (folder / "driver" / "unbind").write_text(pci_address)
    (folder / "driver_override").write_text("vfio-pci")
    Path("/sys/bus/pci/drivers_probe").write_text(pci_address)
    assert driver_of(pci_address) == "vfio-pci"


def test_a_whole_port_goes_into_a_pod_and_comes_back_when_it_vanishes(port: Pf, ip: Ip, pods: Any):
    """host-device: with its own address given back, also when its namespace ended without a DEL."""
    name, pod = port.ifname, pods()
    before = shown(ip, name)
    plan = plan_for(port, {}, plugin=HostDevice())
    apply_plan(plan, pod, GROUP)
    assert differences(plan, pod) == []
    in_shell("ip", "netns", "del", pod.rpartition("/")[2])
    return_devices(plan, pod, GROUP)
    (found,) = ip("address", "show", name)
    assert "10.9.0.1" in [each["local"] for each in found["addr_info"]]
    assert shown(ip, name) == before


def test_a_port_that_no_record_tells_of_is_sent_home(port: Pf, ip: Ip, pods: Any):
    """The kernel deletes no group with a device in it: a daemon without its journal finds the name on the device."""
    name, pod = port.ifname, pods()
    apply_plan(plan_for(port, {}, plugin=HostDevice()), pod, GROUP)
    assert remove_links(pod, GROUP)
    (found,) = ip("link", "show", name)
    assert (found["group"], found.get("ifalias")) == ("default", None)
    assert not remove_links(pod, GROUP)
