"""DHCP by Debian's dhcp executable and its daemon, from the DHCP server of busybox: an IPAM that needs the link."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from multinic_lab.provision import tools

LIMIT_SECONDS = 60

pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth", "macvlan")]


def start(netns: str, log: Path, *command: str | Path) -> subprocess.Popen[bytes]:
    """A process in a namespace."""
    with log.open("wb") as out:
        return subprocess.Popen(
            ["ip", "netns", "exec", netns.rpartition("/")[2], *command],
            env=tools.environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture
def dhcp(host: Any, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A network on ``eth1`` whose far end gives leases: the fields of its configuration."""
    for name in ("dhcp", "macvlan", "static"):
        (host.folder / "bin" / name).symlink_to(tools.find("host-local").parent / name)
    config, socket = tmp_path / "udhcpd.conf", tmp_path / "dhcp.sock"
    host.ground.ip(host.ground.fabric, "address", "add", "172.30.0.1/24", "dev", "far-eth1")
    config.write_text(
        f"start 172.30.0.20\nend 172.30.0.29\ninterface far-eth1\nlease_file {tmp_path}/leases\n"
        f"pidfile {tmp_path}/pid\nopt subnet 255.255.255.0\nopt router 172.30.0.1\nopt lease 3600\n"
    )
    server = start(
        host.ground.fabric, tmp_path / "server.log", tools.find("busybox"), "udhcpd", "-f", "-a", "1", config
    )
    executable = host.folder / "bin" / "dhcp"
    daemon = start(
        host.ground.node, tmp_path / "daemon.log", executable, "daemon", "-socketpath", socket, "-timeout", "40s"
    )
    try:
        end = time.monotonic() + LIMIT_SECONDS
        while not socket.exists():
            assert daemon.poll() is None, (tmp_path / "daemon.log").read_text()
            assert time.monotonic() < end
        yield {
            "subnet": None,
            "masters": ["eth1"],
            "ipam": {"type": "dhcp", "daemonSocketPath": str(socket)},
        }
    finally:
        for process in (daemon, server):
            process.send_signal(signal.SIGKILL)
            process.wait()


@pytest.mark.parametrize(
    "plugin",
    [
        {"type": "macvlan", "args": {"mode": "bridge"}},
        {"type": "delegate", "cniVersion": "1.0.0", "args": {"type": "macvlan", "mode": "bridge"}},
    ],
    ids=["native", "delegate"],
)
def test_lease_of_a_dhcp_server_is_on_the_link(host: Any, dhcp: dict[str, Any], plugin: dict[str, Any]) -> None:
    """The link is made first, asks over itself, and has the lease with its gateway until DEL."""
    result = host.call("ADD", "c1", plugin=plugin, **dhcp)
    (ip,) = result["ips"]
    assert ip["address"].startswith("172.30.0.2")
    assert (ip["interface"], ip["gateway"]) == (0, "172.30.0.1")
    assert host.addresses("c1") == [ip["address"]]
    assert host.pings("c1", "172.30.0.1")
    host.call("DEL", "c1", plugin=plugin, **dhcp)
    assert host.ground.names(host.netns("c1")) == set()
    assert host.rows() == []
