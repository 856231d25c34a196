"""SR-IOV NICs of the emulated PC. Tests here have the marker ``sriov`` and run as uid 0 in it, nowhere else.

One of them, quickly: ``.venv/bin/python -m multinic_lab.emulator.sriov_tests -k name`` (``make tools emulator`` first).
The host's files are there, what is written to them is gone with the PC. Links have the names that the kernel gives.
Fixtures: `pfs` and `pf` (classes of ``multinic_lab.emulator.testing``), without VFs at the beginning and at the end of
each test; ``pf.make_vfs(4)`` gives the VFs, each with its ``ifname`` and ``pci_address``; `ip` asks the kernel.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from multinic_lab.emulator.testing import Pf, find_pfs
from multinic_lab.provision import tools

Ip = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def pfs() -> Iterator[list[Pf]]:
    """Every PF of the machine, by PCI address: the first on NUMA node 0, the second on node 1."""
    found = find_pfs()
    for pf in found:
        pf.make_vfs(0)
    yield found
    for pf in found:
        pf.make_vfs(0)


@pytest.fixture
def pf(pfs: list[Pf]) -> Pf:
    """The PF on NUMA node 0."""
    return pfs[0]


@pytest.fixture
def ip() -> Ip:
    """``ip -d -j`` in the machine's own network namespace; gives back its JSON answer as a list."""
    environment = tools.environment()

    def run(*arguments: str) -> list[dict[str, Any]]:
        command = ["ip", "-details", "-json", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout or "[]")

    return run
