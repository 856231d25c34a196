"""The link kinds multinic makes exist in the kernel these tests run in, and mean there what we think."""

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from multinic_lab.kernel.probe import native_link_kinds
from multinic_lab.provision import tools

Ip = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def ip() -> Iterator[Ip]:
    """``ip`` in a fresh network namespace; gives back its JSON answer as a list."""
    name, environment = f"mn-{uuid4().hex[:10]}", tools.environment()

    def run(*arguments: str) -> list[dict[str, Any]]:
        command = ["ip", "-n", name, "-details", "-json", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        return json.loads(done.stdout or "[]")

    subprocess.run(["ip", "netns", "add", name], env=environment, check=True, timeout=60)
    yield run
    subprocess.run(["ip", "netns", "del", name], env=environment, check=True, timeout=60)


@pytest.mark.needs_root
@pytest.mark.link_kind("veth", "ipvlan")
@pytest.mark.parametrize("mode", ["l2", "l3", "l3s"])
def test_an_ipvlan_link_shows_its_mode_and_its_parents_mac(ip: Ip, mode: str):
    """ipvlan links take each of the three modes and share the parent's hardware address."""
    ip("link", "add", "parent0", "type", "veth", "peer", "name", "peer0")
    ip("link", "add", "link", "parent0", "name", "pod0", "type", "ipvlan", "mode", mode)
    (parent,), (pod,) = ip("link", "show", "parent0"), ip("link", "show", "pod0")
    assert pod["linkinfo"]["info_kind"] == "ipvlan"
    assert pod["linkinfo"]["info_data"]["mode"] == mode
    assert pod["address"] == parent["address"]
    assert pod["link"] == "parent0"


@pytest.mark.needs_root
@pytest.mark.link_kind("veth", "macvlan")
def test_a_macvlan_link_has_a_mac_of_its_own(ip: Ip):
    """macvlan links differ from their parent in the hardware address."""
    ip("link", "add", "parent0", "type", "veth", "peer", "name", "peer0")
    ip("link", "add", "link", "parent0", "name", "pod0", "type", "macvlan", "mode", "bridge")
    (parent,), (pod,) = ip("link", "show", "parent0"), ip("link", "show", "pod0")
    assert pod["linkinfo"]["info_kind"] == "macvlan"
    assert pod["address"] != parent["address"]


@pytest.mark.needs_root
@pytest.mark.link_kind("dummy", "vrf", "vlan", "bond")
def test_the_kinds_a_test_was_sent_here_for_are_made_here():
    """The kernel that was chosen for a test makes every kind the test named; probing leaves no link behind."""
    assert native_link_kinds() >= {"dummy", "vrf", "vlan", "bond"}
    assert not [ifname for _, ifname in socket.if_nameindex() if ifname.startswith("try")]
