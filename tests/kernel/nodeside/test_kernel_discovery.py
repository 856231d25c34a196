"""Discovery against a real kernel: what is done to the node's links shows in the view, soon and without polling."""

import errno
import sys
import threading
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
import trio
import trio.testing
from multinic_daemon.discovery import discovery as discovery_module
from multinic_daemon.discovery.discovery import Discovery
from multinic_daemon.netlink import Conversation, open_netns
from multinic_daemon.netlink.events import Events
from multinic_daemon.netlink.statistics import read_carried
from multinic_daemon.testing.discovering import SHOWN_WITHIN_SECONDS, discovering, shows

from multinic_core import KernelError, Nic

pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth")]


def names(found: Discovery) -> list[str]:
    return list(found.view().nics)


def primary(ground: Any) -> None:
    ground.nic("eth0", "10.0.0.5/24")
    ground.ip(ground.node, "route", "add", "default", "via", "10.0.0.1")


async def test_what_is_there_at_start_is_in_the_first_view(ground: Any):
    """Secondary NICs are there with their facts once discovery has started; primary NIC and loopback are not."""
    primary(ground)
    ifindex = ground.nic("eth1", "10.0.1.5/24", "fd00:1::5/64")
    ground.nic("eth2", "10.0.1.6/24")
    ground.nic("bare")
    async with discovering(netns=ground.node) as found:
        assert names(found) == ["eth1", "eth2"]
        nic = found.view().nics["eth1"]
    shown = ground.link(ground.node, "eth1")
    assert (nic.ifindex, nic.mac_address, nic.mtu, nic.up) == (ifindex, shown["address"], shown["mtu"], True)
    assert [str(address) for address in nic.addresses] == ["10.0.1.5/24", "fd00:1::5/64"]


async def test_every_change_of_a_nic_shows(ground: Any):
    """A NIC that appears, is readdressed, renamed, set down, set up or removed shows within two seconds each."""
    primary(ground)
    node = ground.node
    async with discovering(netns=ground.node) as found:
        await trio.to_thread.run_sync(ground.nic, "eth1", "10.0.1.5/24")
        await shows(found, lambda f: names(f) == ["eth1"])
        ground.ip(node, "address", "add", "10.0.9.5/24", "dev", "eth1")
        ground.ip(node, "address", "del", "10.0.1.5/24", "dev", "eth1")
        await shows(found, lambda f: str(f.view().nics["eth1"].network) == "10.0.9.0/24")
        ground.ip(node, "link", "set", "eth1", "down")
        await shows(found, lambda f: names(f) == [])
        ground.ip(node, "link", "set", "eth1", "name", "fast0")
        ground.ip(node, "link", "set", "fast0", "up")
        await shows(found, lambda f: names(f) == ["fast0"])
        ground.ip(node, "link", "set", "fast0", "mtu", "1400")
        await shows(found, lambda f: f.view().nics["fast0"].mtu == 1400)
        ground.ip(ground.fabric, "link", "set", "far-eth1", "down")
        await shows(found, lambda f: not f.view().nics["fast0"].up)
        ground.ip(node, "link", "del", "fast0")
        await shows(found, lambda f: names(f) == [])


async def test_speed_and_alternative_names_are_those_of_the_nodes_own_namespace(ground: Any):
    """A veth says 10 Gbit/s; a name that is added shows, and a pulled cable leaves the speed that was known."""
    primary(ground)
    ground.nic("eth1", "10.0.1.5/24")
    ground.ip(ground.node, "link", "property", "add", "dev", "eth1", "altname", "enp9s0", "altname", "fast-network-0")
    async with discovering(netns=ground.node) as found:
        nic = found.view().nics["eth1"]
        assert (nic.speed, nic.altnames) == (10_000, ("enp9s0", "fast-network-0"))
        ground.ip(ground.node, "link", "property", "del", "dev", "eth1", "altname", "enp9s0")
        await shows(found, lambda f: f.view().nics["eth1"].altnames == ("fast-network-0",))
        ground.ip(ground.fabric, "link", "set", "far-eth1", "down")
        await shows(found, lambda f: not f.view().nics["eth1"].up)
        assert found.view().nics["eth1"].speed == 10_000


SEND_8000 = """
import socket
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
for _ in range(8):
    sender.sendto(bytes(1000), ("10.0.1.255", 9))
"""


def test_what_a_nic_carried_is_read_as_other_tools_read_it(ground: Any):
    """The counters are those of the NIC in the node's namespace, sent and received in their places."""
    ground.nic("eth1", "10.0.1.5/24")
    ground.run(ground.node, sys.executable, "-S", "-c", SEND_8000)
    ground.ip(ground.node, "link", "set", "eth1", "down")  # so that nothing is sent meanwhile
    ifindex = ground.link(ground.node, "eth1")["ifindex"]
    counted = ground.ip(ground.node, "-s", "link", "show", "eth1")[0]["stats64"]
    with open_netns(ground.node) as netns, Conversation(netns) as kernel:
        carried = read_carried(kernel, ifindex)
        with pytest.raises(KernelError) as caught:
            read_carried(kernel, ifindex + 1000)
    assert carried == (counted["tx"]["bytes"], counted["rx"]["bytes"])
    assert carried.transmitted > 8000 > 2 * carried.received
    assert caught.value.errno == errno.ENODEV


async def test_the_default_route_decides_the_primary_as_it_moves(ground: Any):
    """When the default route moves to another NIC the two change places; when it is lost nothing moves."""
    primary(ground)
    ground.nic("eth1", "10.0.1.5/24")
    async with discovering(netns=ground.node) as found:
        assert names(found) == ["eth1"]
        ground.ip(ground.node, "route", "del", "default")
        ground.nic("eth2", "10.0.2.5/24")
        await shows(found, lambda f: names(f) == ["eth1", "eth2"])
        ground.ip(ground.node, "route", "add", "default", "via", "10.0.1.1")
        await shows(found, lambda f: names(f) == ["eth0", "eth2"])


async def test_the_internal_address_takes_a_nic_out(ground: Any):
    """Without a default route the InternalIP, told later, marks the primary NIC."""
    ground.nic("eth0", "10.0.0.5/24")
    ground.nic("eth1", "10.0.1.5/24")
    async with discovering(netns=ground.node) as found:
        assert names(found) == ["eth0", "eth1"]
        found.set_internal_addresses(frozenset({ip_address("10.0.0.5")}))
        await found.settled()
        assert names(found) == ["eth1"]


async def test_a_nic_moved_into_a_pod_stays_while_it_is_held(ground: Any):
    """The journal says that the NIC sits in a pod: it does not leave, and comes back as it is."""
    held: dict[str, Nic] = {}
    ground.nic("eth1", "10.0.1.5/24")
    pod = ground.namespace("pod")
    async with discovering(netns=ground.node, held=lambda: held) as found:
        nic = found.view().nics["eth1"]
        held["eth1"] = nic
        ground.ip(ground.node, "link", "set", "eth1", "netns", pod.rpartition("/")[2])
        ground.nic("eth2", "10.0.2.5/24")
        await shows(found, lambda f: names(f) == ["eth1", "eth2"])
        assert found.view().nics["eth1"] == nic
        held.clear()
        found.refresh()
        await found.settled()
        assert names(found) == ["eth2"]


async def say_nothing(self: Events) -> None:
    await trio.sleep_forever()


async def test_a_reading_that_is_asked_for_shows_all_that_was_done_before(ground: Any, monkeypatch: pytest.MonkeyPatch):
    """Without any announcement, and without waiting for one; those who ask at once share a reading."""
    monkeypatch.setattr(Events, "read", say_nothing)
    ground.nic("eth1", "10.0.1.5/24")
    readings: list[int] = []
    links = discovery_module.read_links

    def counted(kernel: Any) -> Any:
        readings.append(1)
        return links(kernel)

    async with discovering(netns=ground.node) as found:
        monkeypatch.setattr(discovery_module, "read_links", counted)
        for mtu in (1400, 1300):
            ground.ip(ground.node, "link", "set", "eth1", "mtu", str(mtu))
            await found.renew()
            assert found.view().nics["eth1"].mtu == mtu
        assert len(readings) == 2
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(found.renew)
        assert len(readings) == 3


async def test_one_who_asks_while_a_reading_is_under_way_gets_the_next(ground: Any, monkeypatch: pytest.MonkeyPatch):
    """What was read before the question may be older than what was done before it."""
    monkeypatch.setattr(Events, "read", say_nothing)
    ground.nic("eth1", "10.0.1.5/24")
    addresses = discovery_module.read_addresses
    reached, released = threading.Event(), threading.Event()

    def held_up(kernel: Any) -> Any:
        reached.set()
        assert released.wait(SHOWN_WITHIN_SECONDS)
        return addresses(kernel)

    async with discovering(netns=ground.node) as found, trio.open_nursery() as nursery:
        monkeypatch.setattr(discovery_module, "read_addresses", held_up)
        nursery.start_soon(found.renew)
        assert await trio.to_thread.run_sync(reached.wait, SHOWN_WITHIN_SECONDS, abandon_on_cancel=True)
        # its links are read
        ground.ip(ground.node, "link", "set", "eth1", "mtu", "1400")
        monkeypatch.setattr(discovery_module, "read_addresses", addresses)
        nursery.start_soon(_let_go_once_waiting, released)
        await found.renew()
        assert found.view().nics["eth1"].mtu == 1400


async def _let_go_once_waiting(released: threading.Event) -> None:
    await trio.testing.wait_all_tasks_blocked()
    released.set()


async def test_lost_announcements_cause_a_full_reading(ground: Any, monkeypatch: pytest.MonkeyPatch):
    """When the receive buffer ran over, the view is read afresh all the same."""
    read = Events.read
    lost = trio.Event()

    async def forgetful(self: Events) -> Any:
        await read(self)
        lost.set()

    monkeypatch.setattr(Events, "read", forgetful)
    async with discovering(netns=ground.node) as found:
        await trio.to_thread.run_sync(ground.nic, "eth1", "10.0.1.5/24")
        await shows(found, lambda f: names(f) == ["eth1"])
    assert lost.is_set()


async def test_a_receive_buffer_that_runs_over_is_reported_as_a_loss(ground: Any):
    """The kernel's word for lost announcements reaches the reader, and reading goes on afterwards."""
    from multinic_daemon.netlink import events as ev
    from multinic_daemon.netlink import open_netns

    with open_netns(ground.node) as netns, Events(ev.LINKS, netns=netns) as events:
        events._socket.setsockopt(ev.socket.SOL_SOCKET, ev.socket.SO_RCVBUF, 2304)
        for _ in range(5):
            ground.ip(ground.node, "link", "set", "lo", "up")
            ground.ip(ground.node, "link", "set", "lo", "down")
        with trio.fail_after(60):
            seen = []
            while None not in seen:
                seen.append(await events.read())
            ground.ip(ground.node, "link", "set", "lo", "up")
            while not seen[-1]:
                seen.append(await events.read())


def foreign_routes(ground: Any) -> None:
    for i in range(3):
        ground.ip(ground.node, "route", "add", f"10.77.{i}.0/24", "via", "10.0.1.1")


def pod_links(ground: Any) -> None:
    pod = ground.namespace("pod")
    for _ in range(3):
        inside = ["netns", pod.rpartition("/")[2], "name", "net1-0", "type", "macvlan"]
        ground.ip(ground.node, "link", "add", "link", "eth1", *inside)
        ground.ip(pod, "link", "set", "net1-0", "up")
        ground.ip(pod, "link", "del", "net1-0")


@pytest.mark.link_kind("macvlan")
@pytest.mark.parametrize("noise", [foreign_routes, pod_links])
async def test_nothing_is_read_while_nothing_changes(
    ground: Any, monkeypatch: pytest.MonkeyPatch, noise: Callable[[Any], None]
):
    """There is no polling: neither silence, nor other routes than default ones, nor pods' links cause a reading."""
    # a link-local address would announce itself when it likes
    ground.ip(ground.node, "link", "add", "eth1", "type", "veth", "peer", "name", "far")
    for ifname in ("eth1", "far"):
        ground.ip(ground.node, "link", "set", ifname, "addrgenmode", "none")
        ground.ip(ground.node, "link", "set", ifname, "up")
    ground.ip(ground.node, "address", "add", "10.0.1.5/24", "dev", "eth1")
    readings: list[int] = []
    links = discovery_module.read_links
    quiet_seconds = 3 * discovery_module.SETTLE_SECONDS

    def counted(kernel: Any) -> Any:
        readings.append(1)
        return links(kernel)

    async with discovering(netns=ground.node) as found:
        await trio.testing.wait_all_tasks_blocked(quiet_seconds)
        await found.settled()
        monkeypatch.setattr(discovery_module, "read_links", counted)
        await trio.to_thread.run_sync(noise, ground)
        await trio.testing.wait_all_tasks_blocked(quiet_seconds)
        assert readings == []
        ground.ip(ground.node, "address", "add", "10.0.1.6/24", "dev", "eth1")
        await shows(found, lambda f: len(f.view().nics["eth1"].addresses) == 2)
        assert readings == [1]
