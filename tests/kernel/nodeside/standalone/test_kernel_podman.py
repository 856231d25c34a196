"""podman, a CNI client that nobody here wrote, runs real containers on the example network.

podman, conmon and crun are Debian's, unpacked. The root file system is a busybox, so no registry is asked. All runs in
a mount namespace of its own, in which podman's and the journal's usual folders are empty.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from multinic_cni.install import install
from multinic_lab.provision import tools

pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth", "macvlan")]

EXAMPLE = tools.checkout() / "examples" / "podman.conflist"
LIMIT_SECONDS = 120
SETUP = """
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
test -e /sys/fs/cgroup/cgroup.controllers || mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo ready
exec cat
"""
"""A cgroup tree of one kind: crun works with either, not with both. It ends when its standard input does."""
CONTAINERS = """
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
netns = "private"
seccomp_profile = "unconfined"
[engine]
cgroup_manager = "cgroupfs"
conmon_path = ["{folder}/conmon"]
events_logger = "file"
lock_type = "file"
runtime = "crun"
tmp_dir = "{folder}/tmp"
[engine.runtimes]
crun = ["{folder}/crun"]
[network]
cni_plugin_dirs = ["{folder}/bin"]
network_backend = "cni"
network_config_dir = "{folder}/networks"
"""
STORAGE = """
[storage]
driver = "vfs"
graphroot = "{folder}/storage"
runroot = "{folder}/runroot"
"""


class Podman:
    """podman on the machine of a test."""

    def __init__(self, ground: Any, folder: Path) -> None:
        self.ground, self.folder = ground, folder
        for number in (1, 2):
            ground.nic(f"eth{number}", f"10.0.{number}.1/24")
        install(folder / "bin", folder / "no-daemon.sock", standalone=Path(sys.executable))
        (folder / "networks").mkdir()
        (folder / "networks" / "fast.conflist").write_text(EXAMPLE.read_text())
        (folder / "containers.conf").write_text(CONTAINERS.format(folder=folder))
        (folder / "storage.conf").write_text(STORAGE.format(folder=folder))
        self.root = self._root_file_system()
        self.environment = tools.environment() | {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }
        self._wrap("conmon")
        self._wrap("crun", f"--root {folder}/crun-state")
        command = ["nsenter", f"--net={ground.node}", "unshare", "--mount", "sh", "-ec", SETUP]
        self._room = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._room.stdout is not None
        if self._room.stdout.readline() != b"ready\n":
            self._room.communicate()
            raise AssertionError(f"no mount namespace for podman: status {self._room.returncode}")

    def _wrap(self, program: str, arguments: str = "") -> None:
        """podman gives these little of its environment, and its monitor calls podman itself."""
        path = self.folder / program
        names = ("CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "LD_LIBRARY_PATH", "PATH")
        exports = "".join(f'export {name}="{self.environment.get(name, "")}"\n' for name in names)
        path.write_text(f'#!/bin/sh\n{exports}exec "{tools.find(program)}" {arguments} "$@"\n')
        path.chmod(0o755)

    def _root_file_system(self) -> Path:
        root = self.folder / "rootfs"
        for name in ("bin", "dev", "etc", "proc", "run", "sys", "tmp"):
            (root / name).mkdir(parents=True)
        (root / "bin" / "busybox").write_bytes(tools.find("busybox").read_bytes())
        (root / "bin" / "busybox").chmod(0o755)
        for name in ("ip", "ping", "sh", "sleep", "true"):
            (root / "bin" / name).symlink_to("busybox")
        return root

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a command within the namespaces."""
        command = ["nsenter", "-t", str(self._room.pid), "--mount", "--net", *arguments]
        return subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @staticmethod
    def end(process: subprocess.Popen[str]) -> str:
        out, err = process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode == 0, (process.args, out, err)
        return out

    def run(self, *arguments: str) -> str:
        return self.end(self.start(str(tools.find("podman")), *arguments))

    def container(self, name: str, *command: str) -> list[str]:
        """Arguments that start a container on the example network."""
        return ["run", "--detach", "--name", name, "--network", "fast", "--rootfs", str(self.root), *command]

    def addresses(self, name: str) -> dict[str, str]:
        """Link to IPv4 address, as ``ip`` says within the container."""
        lines = self.run("exec", name, "ip", "-4", "-o", "address", "show").splitlines()
        return {words[1]: words[3] for words in map(str.split, lines) if words[1] != "lo"}

    def held(self) -> list[str]:
        """Addresses that the journal holds, sorted."""
        command = [sys.executable, "-m", "multinic_daemon", "dump", "--json"]
        rows = json.loads(self.end(self.start(*command, "--run-dir", "/run/multinic/standalone")))
        return sorted(each["address"] for row in rows["attachments"] for each in row["addresses"])

    def close(self) -> None:
        try:
            self.run("rm", "--all", "--force", "--time", "0")
        finally:
            self._room.communicate(timeout=LIMIT_SECONDS)


@pytest.fixture
def podman(ground: Any) -> Iterator[Podman]:
    # Not tmp_path: conmon cannot do its work where paths of sockets get longer than the kernel allows.
    with TemporaryDirectory(prefix="mnp-") as folder:
        made = Podman(ground, Path(folder))
        try:
            yield made
        finally:
            made.close()


FIRST = ["192.168.0.16/18", "192.168.64.16/18"]
SECOND = ["192.168.0.17/18", "192.168.64.17/18"]


def test_containers_talk_over_both_nics_and_give_their_addresses_back(podman):
    """podman run attaches two NICs; stop, start and rm go through DEL and ADD; an outsider reaches them as well."""
    for name in ("one", "two"):
        podman.run(*podman.container(name, "sleep", "10000"))
    assert podman.addresses("one") == dict(zip(("eth0-0", "eth0-1"), FIRST, strict=True))
    assert podman.addresses("two") == dict(zip(("eth0-0", "eth0-1"), SECOND, strict=True))
    assert podman.held() == sorted(FIRST + SECOND)
    for address in SECOND:
        podman.run("exec", "one", "ping", "-c", "1", "-W", "5", address.partition("/")[0])
    for number, block in ((1, 0), (2, 64)):
        outside = podman.ground.fabric
        podman.ground.ip(outside, "address", "add", f"192.168.{block}.1/18", "dev", f"far-eth{number}")
        ping = ["ip", "netns", "exec", outside.rpartition("/")[2], "ping", "-c", "1", "-W", "5"]
        done = subprocess.run([*ping, f"192.168.{block}.16"], env=tools.environment(), capture_output=True, check=False)
        assert done.returncode == 0, done
    shown = json.loads(podman.run("inspect", "one"))[0]["NetworkSettings"]["Networks"]["fast"]
    assert (shown["IPAddress"], shown["IPPrefixLen"]) == ("192.168.0.16", 18)
    podman.run("stop", "--time", "0", "one")
    assert podman.held() == SECOND
    podman.run("start", "one")
    assert sorted(podman.addresses("one").values()) == ["192.168.0.18/18", "192.168.64.18/18"]
    podman.run("rm", "--force", "--time", "0", "one", "two")
    assert podman.held() == []


def test_containers_started_at_once_share_no_address(podman):
    """podman starts its CNI executables without waiting for one another."""
    names = ["one", "two", "three"]
    started = [podman.start(str(tools.find("podman")), *podman.container(name, "sleep", "10000")) for name in names]
    for process in started:
        podman.end(process)
    found = [address for name in names for address in podman.addresses(name).values()]
    assert sorted(found) == podman.held()
    assert len(set(found)) == 6


def test_a_container_that_ends_by_itself_gives_its_addresses_back(podman):
    """Nobody calls podman then: its monitor cleans up, with DEL."""
    podman.run(*podman.container("one", "sleep", "2"))
    end = time.monotonic() + LIMIT_SECONDS
    while podman.held():
        assert time.monotonic() < end
    assert podman.run("ps", "--all", "--format", "{{.Names}} {{.ExitCode}}") == "one 0\n"
