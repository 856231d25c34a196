"""A node with NICs and pods beside it: network namespaces of their own, seen by ``ip`` as an independent witness."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from multinic_lab.provision import tools


class Ground:
    """Namespaces of one test: ``node``, a ``fabric`` that its NICs lead to, and pods."""

    def __init__(self) -> None:
        self._tag = uuid4().hex[:8]
        self._names: list[str] = []
        self._environment = tools.environment()
        self.node = self.namespace("node")
        self.fabric = self.namespace("fabric")

    def namespace(self, name: str) -> str:
        """Make a namespace; gives its path."""
        unique = f"mnk-{self._tag}-{name}"
        subprocess.run(["ip", "netns", "add", unique], env=self._environment, check=True, timeout=60)
        self._names.append(unique)
        return f"/run/netns/{unique}"

    def remove(self, path: str) -> None:
        """Remove a namespace; what is gone is no error."""
        name = path.rpartition("/")[2]
        if name in self._names:
            self._names.remove(name)
            subprocess.run(["ip", "netns", "del", name], env=self._environment, check=True, timeout=60)

    def close(self) -> None:
        for name in list(self._names):
            self.remove(name)

    def ip(self, path: str, *arguments: str) -> list[dict[str, Any]]:
        """``ip -j -d`` in a namespace."""
        command = ["ip", "-n", path.rpartition("/")[2], "-d", "-j", *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.stderr}")
        return json.loads(done.stdout or "[]")

    def run(self, path: str, *command: str) -> None:
        """Run a command in a namespace; it must succeed."""
        inside = ["ip", "netns", "exec", path.rpartition("/")[2], *command]
        subprocess.run(inside, env=self._environment, check=True, timeout=60)

    def nic(self, ifname: str, *addresses: str) -> int:
        """Give the node a NIC (a veth into the fabric), up, with these addresses; gives its ifindex."""
        far = self.fabric.rpartition("/")[2]
        self.ip(self.node, "link", "add", ifname, "type", "veth", "peer", "name", f"far-{ifname}", "netns", far)
        self.ip(self.fabric, "link", "set", f"far-{ifname}", "up")
        self.ip(self.node, "link", "set", ifname, "up")
        for address in addresses:
            self.ip(self.node, "address", "add", address, "dev", ifname, *(["nodad"] if ":" in address else []))
        return self.link(self.node, ifname)["ifindex"]

    def link(self, path: str, ifname: str) -> dict[str, Any]:
        (found,) = self.ip(path, "link", "show", ifname)
        return found

    def names(self, path: str) -> set[str]:
        """Links of a namespace except its loopback."""
        return {link["ifname"] for link in self.ip(path, "link", "show")} - {"lo"}


@pytest.fixture
def ground() -> Iterator[Ground]:
    made = Ground()
    try:
        yield made
    finally:
        made.close()
