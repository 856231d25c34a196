"""What is read of the hardware behind NICs, how often, and what is kept."""

import errno
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing
from multinic_daemon.discovery import hardware as hardware_module
from multinic_daemon.discovery.hardware import Hardware, HardwareReader
from multinic_daemon.netlink import Conversation, Link, Request, ethtool, wire
from multinic_daemon.netlink.uevents import DeviceEvents
from multinic_daemon.netlink.wire import Message
from multinic_daemon.testing.machines import Machine, build

from multinic_core import KernelError, VfSettings


class FakeKernel:
    """Speeds by ifindex and settings of VFs by ifindex of their PF, and which were asked for."""

    def __init__(self) -> None:
        self.speeds: dict[int, int] = {}
        self.settings: dict[int, dict[int, VfSettings]] = {}
        self.asked: list[tuple[str, Any]] = []
        self.refused = 0

    def read_speeds(self, netns: Any, ifindexes: list[int]) -> dict[int, int]:
        self.asked.append(("speeds", tuple(ifindexes)))
        return {ifindex: self.speeds[ifindex] for ifindex in ifindexes if ifindex in self.speeds}

    def read_vfs(self, kernel: Any, ifindex: int) -> dict[int, VfSettings]:
        self.asked.append(("vfs", ifindex))
        if self.refused:
            raise KernelError("VFs", self.refused)
        return self.settings.get(ifindex, {})


class Node:
    """The machine ``sriov`` with a reader, and a kernel that the test tells what to say."""

    def __init__(self, machine: Machine, kernel: FakeKernel) -> None:
        self.machine, self.kernel = machine, kernel
        self.reader = HardwareReader(machine.sysfs)
        self.links = list(machine.links)

    def change(self, name: str, **changes: Any) -> None:
        self.links = [link._replace(**changes) if link.ifname == name else link for link in self.links]

    def read(self, *names: str) -> dict[str, Hardware]:
        self.kernel.asked.clear()
        return self.reader.read(self.links, names, cast(Conversation, None), None)

    def link(self, ifname: str) -> Link:
        return next(link for link in self.links if link.ifname == ifname)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """No speed is told but by sysfs."""
    kernel = FakeKernel()
    monkeypatch.setattr(hardware_module, "read_speeds", kernel.read_speeds)
    monkeypatch.setattr(hardware_module, "read_vfs", kernel.read_vfs)
    return Node(build("sriov", tmp_path), kernel)


def test_nothing_is_read_twice_while_nothing_changes(node: Node, monkeypatch: pytest.MonkeyPatch):
    """Neither sysfs nor the kernel, until a link is another one than before."""
    first = node.read("ens1f0", "ens1f1")
    monkeypatch.setattr(hardware_module, "device_facts", None)
    monkeypatch.setattr(hardware_module, "link_speed", None)
    assert node.read("ens1f0", "ens1f1") == first
    assert node.kernel.asked == []


def test_the_kernels_word_on_speed_comes_before_that_of_sysfs(node: Node):
    """Its answer is about this namespace; where it has none, sysfs is asked."""
    assert node.read("ens1f0")["ens1f0"].speed == 100_000
    node.kernel.speeds[node.link("ens1f1").ifindex] = 25_000
    assert {name: found.speed for name, found in node.read("ens1f0", "ens1f1").items()} == {
        "ens1f0": 100_000,
        "ens1f1": 25_000,
    }


def test_a_pulled_cable_leaves_the_speed_and_one_that_is_slower_changes_it(node: Node):
    """While there is no carrier the last speed counts; with one the kernel's word does, also when it knows none."""
    file = node.machine.sysfs / "class/net/ens1f0/speed"
    node.read("ens1f0")
    file.write_text("-1\n")
    node.change("ens1f0", carrier=False)
    assert node.read("ens1f0")["ens1f0"].speed == 100_000
    file.write_text("40000\n")
    node.change("ens1f0", carrier=True)
    assert node.read("ens1f0")["ens1f0"].speed == 40_000
    file.write_text("-1\n")
    node.change("ens1f0", mtu=9000)
    assert node.read("ens1f0")["ens1f0"].speed == 0


def test_settings_of_vfs_are_read_again_when_they_were_announced(node: Node):
    """And those alone: what sysfs says is kept."""
    ifindex = node.link("ens1f0").ifindex
    node.kernel.settings[ifindex] = {1: VfSettings(vlan=5)}
    assert [vf.settings.vlan for vf in node.read("ens1f0")["ens1f0"].vfs] == [None, 5, None, None]
    assert node.reader.has_vfs(ifindex)
    assert not node.reader.has_vfs(node.link("ens1f1").ifindex)
    node.kernel.settings[ifindex] = {1: VfSettings(vlan=6)}
    (node.machine.sysfs / "bus/pci/devices/0000:17:01.0/driver").unlink()
    assert node.read("ens1f0")["ens1f0"].vfs[1].settings.vlan == 5
    node.reader.forget_settings()
    vfs = node.read("ens1f0")["ens1f0"].vfs
    assert (vfs[1].settings.vlan, vfs[0].driver) == (6, "iavf")
    node.reader.forget_devices()
    assert node.read("ens1f0")["ens1f0"].vfs[0].driver == ""


def test_what_is_dropped_during_a_reading_is_not_put_back_by_it(node: Node, monkeypatch: pytest.MonkeyPatch):
    """An announcement that comes while the old settings are on their way counts."""
    ifindex = node.link("ens1f0").ifindex

    def interrupted(kernel: Any, asked: int) -> dict[int, VfSettings]:
        node.reader.forget_settings()
        return {0: VfSettings(vlan=1)}

    monkeypatch.setattr(hardware_module, "read_vfs", interrupted)
    assert node.read("ens1f0")["ens1f0"].vfs[0].settings.vlan == 1
    monkeypatch.setattr(hardware_module, "read_vfs", lambda kernel, asked: {0: VfSettings(vlan=2)})
    assert node.reader.has_vfs(ifindex)
    assert node.read("ens1f0")["ens1f0"].vfs[0].settings.vlan == 2


@pytest.mark.parametrize("number", [errno.ENODEV, errno.EMSGSIZE])
def test_vfs_whose_settings_the_kernel_cannot_tell_have_none(node: Node, number: int):
    """Of a PF that is just gone, and of one with more VFs than an answer holds; anything else is an error."""
    node.kernel.refused = number
    assert [vf.settings for vf in node.read("ens1f0")["ens1f0"].vfs] == [VfSettings()] * 4
    node.reader.forget_settings()
    node.kernel.refused = errno.ETIMEDOUT
    with pytest.raises(KernelError):
        node.read("ens1f0")


def test_a_vf_has_the_link_that_it_has_now(node: Node):
    """Links are taken from the list at hand: one that went to a pod is gone, one that was renamed has its new name."""
    node.read("ens1f0")
    node.links = [link for link in node.links if link.ifname != "ens1f0v0"]
    node.change("ens1f0v1", ifname="fast", flags=0)
    first, second = node.read("ens1f0")["ens1f0"].vfs[:2]
    assert (first.ifname, first.ifindex, first.driver) == ("", 0, "iavf")
    assert (second.ifname, second.mtu, second.up) == ("fast", 9000, False)


def test_a_link_on_top_of_a_vf_is_not_the_vfs_own(node: Node):
    """Links made of software may name the device below them."""
    macvlan = node.link("ens1f0v0")._replace(ifindex=99, ifname="upper", link_kind="macvlan")
    node.links.append(macvlan)
    assert node.read("ens1f0")["ens1f0"].vfs[0].ifname == "ens1f0v0"


def refusing(number: int, *, family: bool) -> Callable[..., int]:
    def refuse(*_: Any) -> int:
        raise KernelError("family" if family else "speed", number)

    return refuse


def test_a_kernel_without_the_family_tells_no_speeds(monkeypatch: pytest.MonkeyPatch):
    """Before Linux 5.6 there is none; any other refusal is an error."""
    monkeypatch.setattr(ethtool, "_family", refusing(errno.ENOENT, family=True))
    assert ethtool.read_speeds(None, [1]) == {}
    monkeypatch.setattr(ethtool, "_family", refusing(errno.EPERM, family=True))
    with pytest.raises(KernelError):
        ethtool.read_speeds(None, [1])


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENODEV, errno.EIO, errno.ETIMEDOUT, errno.EBUSY])
def test_a_driver_that_fails_to_tell_a_speed_is_nobody_elses_trouble(monkeypatch: pytest.MonkeyPatch, number: int):
    """As while its firmware starts anew: that link has no speed, the others have theirs."""

    def get(self: Conversation, request: Request) -> Message:
        if request.subject == "speed of link 1":
            raise KernelError(request.subject, number)
        return Message(0, 0, 0, 0, bytes(4) + wire.attribute_u32(5, 25000))

    monkeypatch.setattr(ethtool, "_family", lambda kernel: 20)
    monkeypatch.setattr(Conversation, "get", get)
    assert ethtool.read_speeds(None, [1, 2]) == {2: 25000}


@pytest.fixture
def events() -> Iterator[tuple[DeviceEvents, socket.socket]]:
    """Device events with the test in the place of the kernel."""
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.setblocking(False)
    made = DeviceEvents()
    made._socket.close()
    made._socket = near
    with made, far:
        yield made, far


def uevent(action: str, subsystem: str) -> bytes:
    return f"{action}@/devices/x\0ACTION={action}\0DEVPATH=/devices/x\0SUBSYSTEM={subsystem}\0SEQNUM=1\0".encode()


@pytest.mark.parametrize(
    ("subsystem", "counts"),
    [("net", False), ("queues", False), ("block", False), ("pci", True), ("infiniband", True)],
)
def test_only_devices_of_interest_count(events: tuple[DeviceEvents, socket.socket], subsystem: str, counts: bool):
    """PCI functions and RDMA devices do; links, their queues and block devices do not."""
    found, far = events
    far.send(uevent("add", subsystem))
    assert found._take() is counts
    assert not found._take()


async def test_a_reader_wakes_for_the_one_of_interest_among_others(events: tuple[DeviceEvents, socket.socket]):
    """Others that come before it are passed over; nothing is left for the next time."""
    found, far = events
    async with trio.open_nursery() as nursery:
        nursery.start_soon(found.wait)
        await trio.testing.wait_all_tasks_blocked()
        for subsystem in ("block", "pci", "net"):
            far.send(uevent("bind", subsystem))
    assert not found._take()
