"""A machine without Kubernetes and without a daemon: real links, the real executables, one process per call."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from multinic_cni.install import install
from multinic_daemon.crashpoints import VARIABLE
from multinic_daemon.journal.file import read_rows
from multinic_lab.provision import tools

LIMIT_SECONDS = 120
NICS = ("eth1", "eth2")
MULTINIC = "from multinic_core.cli import main; main()"


class Host:
    """One machine with two NICs; what runs on it is in the namespace ``node``."""

    def __init__(self, ground: Any, folder: Path) -> None:
        self.ground = ground
        self.folder = folder
        self.data = folder / "data"
        self.containers: dict[str, str] = {}
        for number, ifname in enumerate(NICS, start=1):
            ground.nic(ifname, f"10.0.{number}.1/24")
        self.install(Path(sys.executable))

    def install(self, python: Path) -> None:
        install(self.folder / "bin", self.folder / "no-daemon.sock", standalone=python)

    def netns(self, container: str) -> str:
        """Path of a container's namespace, made at first."""
        if container not in self.containers:
            self.containers[container] = self.ground.namespace(container)
        return self.containers[container]

    def netconf(self, **fields: Any) -> dict[str, Any]:
        """A network over both NICs; None removes a key."""
        whole = {
            "cniVersion": "1.1.0",
            "name": "fast",
            "type": "multi-nic",
            "standalone": True,
            "subnet": "192.168.0.0/16",
            "masters": list(NICS),
            "ipam": {"type": "multi-nic-ipam", "interfaceBlock": 2, "hostBlock": 6},
            "plugin": {"type": "macvlan", "args": {"mode": "bridge"}},
            "dataDir": str(self.data),
        } | fields
        return {key: value for key, value in whole.items() if value is not None}

    def start(
        self,
        command: str,
        container: str = "",
        *,
        netns: str | None = None,
        crash_at: str = "",
        executable: Path | None = None,
        **fields: Any,
    ) -> subprocess.Popen[bytes]:
        """Begin a call as a runtime does."""
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": netns if netns is not None else self.netns(container) if container else "",
            "CNI_IFNAME": "net1" if container else "",
            "CNI_PATH": str(self.folder / "bin"),
            VARIABLE: crash_at,
        }
        name = self.ground.node.rpartition("/")[2]
        process = subprocess.Popen(
            ["ip", "netns", "exec", name, executable or self.folder / "bin" / "multi-nic"],
            env=tools.environment() | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(self.netconf(**fields)).encode())
        process.stdin.close()
        process.stdin = None
        return process

    def end(self, process: subprocess.Popen[bytes]) -> tuple[Any, str]:
        """Wait for a call; what it prints as JSON, None for nothing, and its standard error."""
        try:
            out, err = process.communicate(timeout=LIMIT_SECONDS)
        finally:
            process.kill()
        answer = json.loads(out) if out else None
        if process.returncode >= 0:
            assert process.returncode == (1 if answer and "code" in answer else 0), err
        return answer, err.decode()

    def call(self, command: str, container: str = "", **options: Any) -> Any:
        """One whole call that says nothing on standard error; what it prints."""
        answer, err = self.end(self.start(command, container, **options))
        assert err == ""
        return answer

    def addresses(self, container: str) -> list[str]:
        """IPv4 addresses that ``ip`` sees in a container, in the order of its links."""
        found = self.ground.ip(self.netns(container), "-4", "address", "show")
        return [
            f"{each['local']}/{each['prefixlen']}"
            for link in found
            if link["ifname"] != "lo"
            for each in link["addr_info"]
        ]

    def rows(self) -> list[tuple[str, str, int]]:
        """Container, state and number of addresses of each row of the journal."""
        rows = read_rows(self.data / "journal.db")["attachments"]
        return [(row["containerID"], row["state"], len(row["addresses"])) for row in rows]

    def audit(self) -> tuple[int, list[str]]:
        """Exit status of ``multinic audit``, and what differs."""
        command = ["ip", "netns", "exec", self.ground.node.rpartition("/")[2], sys.executable, "-c", MULTINIC, "audit"]
        command += ["--no-api", "--json", "--run-dir", str(self.data)]
        done = subprocess.run(command, env=tools.environment(), capture_output=True, timeout=LIMIT_SECONDS, check=False)
        found = json.loads(done.stdout)["findings"]
        return done.returncode, [each["kind"] for each in found if each["verdict"] == "difference"]

    def pings(self, container: str, address: str) -> bool:
        """Whether this address answers the container."""
        command = [
            "ip",
            "netns",
            "exec",
            self.netns(container).rpartition("/")[2],
            "ping",
            "-c",
            "1",
            "-W",
            "5",
            address,
        ]
        return not subprocess.run(command, env=tools.environment(), capture_output=True, check=False).returncode


@pytest.fixture
def host(ground: Any, tmp_path: Path) -> Host:
    return Host(ground, tmp_path)
