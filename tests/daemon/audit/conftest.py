"""A node in memory whose daemon answers on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from multinic_daemon.calls.server import serve_socket
from multinic_daemon.engine import handler
from multinic_daemon.testing import Rig


@pytest.fixture
def serving() -> Callable[[Rig], Any]:
    """``async with serving(rig) as socket``: the rig's engine behind the daemon's socket."""

    @asynccontextmanager
    async def serve(rig: Rig) -> AsyncIterator[Path]:
        path = rig.folder / "run" / "cni.sock"
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_socket, path, handler(rig.engine))
            yield path
            nursery.cancel_scope.cancel()

    return serve
