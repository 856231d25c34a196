"""A socket opened in another namespace sees that namespace, and the thread that opened it is back in its own."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from multinic_daemon.netlink import Conversation, open_netns, open_socket
from multinic_daemon.netlink import netns as module
from multinic_daemon.netlink.observed import read_links

from multinic_core.errors import ContainerGoneError, KernelError

pytestmark = pytest.mark.needs_root
OWN = Path("/proc/thread-self/ns/net")


@pytest.mark.link_kind("veth")
def test_threads_look_into_other_namespaces_at_once_and_all_come_back(ground: Any):
    """Each of eight threads reads the links of its own choice of two namespaces, over and over, and mixes up none."""
    ground.nic("eth1")
    home = OWN.readlink()

    def look(number: int) -> tuple[set[str], Path]:
        path = (ground.node, ground.fabric)[number % 2]
        with open_netns(path) as file, Conversation(file) as talk:
            return {link.ifname for link in read_links(talk) if not link.loopback}, OWN.readlink()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(look, range(200)))
    assert found == [({"eth1"} if number % 2 == 0 else {"far-eth1"}, home) for number in range(200)]


def test_a_thread_comes_back_when_the_socket_cannot_be_opened(ground: Any, monkeypatch: pytest.MonkeyPatch):
    """A refusal on the far side leaves the thread at home."""
    home, seen = OWN.readlink(), []

    def refuse(_: int) -> None:
        seen.append(OWN.readlink())
        raise KernelError("no", 24)

    monkeypatch.setattr(module, "_socket", refuse)
    with open_netns(ground.node) as file, pytest.raises(KernelError):
        open_socket(file)
    assert seen != [home]
    assert OWN.readlink() == home


NO_WAY_BACK = """
import os, resource, sys
from multinic_daemon.netlink import netns
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
with netns.open_netns(sys.argv[1]) as there, netns.open_netns(None) as home:
    os.dup2(os.open("/dev/null", os.O_RDONLY), home)
    netns._enter(there)
    netns._return(home)
"""


def test_no_way_back_ends_the_process(ground: Any):
    """A thread that stays in a pod's namespace would do the node's work there."""
    command = [sys.executable, "-c", NO_WAY_BACK, ground.node]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGABRT
    assert "no way back" in done.stderr


def test_a_plain_file_is_no_namespace(tmp_path: Path):
    """What is left of an unmounted one: the container is gone."""
    (tmp_path / "net").touch()
    with open_netns(str(tmp_path / "net")) as file, pytest.raises(ContainerGoneError):
        open_socket(file)
