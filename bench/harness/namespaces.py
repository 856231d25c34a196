"""A node with NICs, made of network namespaces with names of their own; the machine's own namespace is not changed.

The node's NICs are ends of veth pairs with addresses; the other ends are up in a second namespace, the fabric. The
bench itself moves into the node's namespace, so that all processes it starts are on the node.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from multinic_lab.provision import tools

from harness.report import BenchError

FOLDER = Path("/run/netns")
CLONE_NEWNET = 0x40000000
"""Source: linux/sched.h."""


@dataclass(frozen=True, slots=True)
class Node:
    """The node of a bench; NIC i (from 0) has the first address of 192.168.<100 + i>.0/24."""

    prefix: str
    """Of the names of all namespaces of this bench."""
    nics: tuple[str, ...]

    def network(self, position: int) -> str:
        return f"192.168.{100 + position}.0/24"

    def address(self, position: int) -> str:
        return f"192.168.{100 + position}.1"

    @contextmanager
    def pod(self) -> Iterator[Path]:
        """The path of a fresh pod namespace, gone afterwards."""
        with _namespace(f"{self.prefix}-{uuid4().hex[:8]}") as path:
            yield path


@contextmanager
def node_with_nics(count: int) -> Iterator[Node]:
    """A node, with this process moved into its namespace for the length of the block.

    Raises:
        BenchError: not root, or the kernel makes no veth pairs.
    """
    if os.geteuid() != 0:
        raise BenchError("network namespaces are needed: run it as root")
    prefix = f"mnb-{os.getpid()}"
    node = Node(prefix, tuple(f"eth{1 + position}" for position in range(count)))
    with _namespace(f"{prefix}-fabric") as fabric, _namespace(f"{prefix}-node") as path, _inside(path):
        lines = ["link set lo up"]
        for position, nic in enumerate(node.nics):
            lines += [
                f"link add {nic} type veth peer name {nic} netns {fabric.name}",
                f"address add {node.address(position)}/24 dev {nic}",
                f"link set {nic} up",
            ]
        _ip_batch(lines)
        _ip_batch([f"link set {nic} up" for nic in node.nics], netns=fabric.name)
        yield node


@contextmanager
def _namespace(name: str) -> Iterator[Path]:
    _ip("netns", "add", name)
    try:
        yield FOLDER / name
    finally:
        _ip("netns", "del", name)


@contextmanager
def _inside(path: Path) -> Iterator[None]:
    """Move the calling thread, which must be the only one, into a namespace and back."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(descriptor)
        finally:
            os.close(descriptor)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(home)


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        raise BenchError(f"setns: {os.strerror(ctypes.get_errno())}")


def _ip(*arguments: str, text: str | None = None) -> None:
    done = subprocess.run(
        [tools.find("ip"), *arguments], env=tools.environment(), input=text, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _ip_batch(lines: list[str], netns: str = "") -> None:
    _ip(*(["-netns", netns] if netns else []), "-batch", "-", text="\n".join(lines) + "\n")
