"""The agent: reads requests from one controller, runs them concurrently, and ends with it.

The end comes when the stream closes or on SIGTERM, SIGINT or SIGHUP: running operations are cancelled and the lab
is removed, then the process ends. The launcher (:mod:`multinic_lab.machine.launcher`) does the removing when the
agent is killed.
"""

from __future__ import annotations

import logging
import os
import signal

import trio

from multinic_lab.machine.answering import Answering, operations_of
from multinic_lab.machine.commands import Commands
from multinic_lab.machine.launching import Launcher

logger = logging.getLogger(__name__)


class Agent:
    """One agent on one stream."""

    def __init__(self, stream: trio.abc.Stream, launcher: Launcher) -> None:
        self._answering, self._launcher = Answering(stream), launcher

    async def run(self) -> None:
        """Serve the controller until it goes or a signal comes; everything made is removed on return."""
        async with trio.open_nursery() as outer:
            await outer.start(self._launcher.serve)
            outer.start_soon(self._answering.write)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end_on_signal, nursery.cancel_scope)
                operations = operations_of(Commands(nursery, self._launcher, self._answering.tell))
                self._answering.hello(operations, os.getpid())
                await self._answering.read(operations, nursery)
                nursery.cancel_scope.cancel()
            outer.cancel_scope.cancel()

    async def _end_on_signal(self, scope: trio.CancelScope) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async for number in signals:
                logger.info("ending", extra={"signal": number})
                scope.cancel()
