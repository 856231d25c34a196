"""Where the nodes live: this machine's kernel, or a lab kernel when this one cannot make the network's links."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

from multinic_core.errors import ConfigError
from multinic_lab.kernel.guest import open_guest
from multinic_lab.kernel.probe import native_link_kinds
from multinic_lab.machine.client import AgentClient, connect, open_agent
from multinic_lab.machine.protocol import Event
from multinic_lab.provision import tools

AGENT_SOCKET = "/run/multinic-lab/machine.sock"
"""Where the agent listens inside a lab kernel."""
GUEST_SECONDS = 7 * 24 * 3600.0
"""A lab that somebody left running ends by itself after a week."""

Kernel = Literal["native", "lab"]


def choose_kernel(wanted: Literal["auto", "native", "lab"], link_kinds: frozenset[str]) -> tuple[Kernel, str]:
    """Which kernel carries the nodes, and one phrase that says why.

    Raises:
        ConfigError: ``native`` is wanted, but this kernel or this user cannot make the links.
    """
    if wanted == "lab":
        return "lab", "the scenario asks for it"
    native = native_link_kinds()
    missing = sorted(link_kinds - native)
    if native and not missing:
        return "native", f"it makes {', '.join(sorted(link_kinds))}"
    lacks = f"this kernel has no {', '.join(missing)}" if native else "this user may not make network namespaces"
    if wanted == "native":
        raise ConfigError(f"kernel: found 'native', but {lacks}; expected 'auto' or 'lab'")
    return "lab", lacks


@asynccontextmanager
async def open_place(kernel: Kernel, nodes: int, on_event: Callable[[Event], None]) -> AsyncIterator[AgentClient]:
    """An agent in that kernel; what it makes, and the lab kernel itself, end with the block."""
    if kernel == "native":
        async with open_agent(on_event=on_event, env=tools.environment()) as agent:
            yield agent
        return
    command = [sys.executable, "-m", "multinic_lab.machine", "--listen", AGENT_SOCKET]
    memory_mb = 768 + 160 * nodes
    async with (
        open_guest(command, memory_mb=memory_mb, timeout_seconds=GUEST_SECONDS) as guest,
        connect(lambda: guest.connect(AGENT_SOCKET), on_event=on_event, timeout_seconds=120) as agent,
    ):
        yield agent
