"""Rows that a call began to remove and could not: their ids wait here for :mod:`multinic_daemon.recovery.sweep`."""

from __future__ import annotations

import trio


class Leftovers:
    """A set of rows, each with the path by which its namespace was known last. Used from one thread."""

    def __init__(self) -> None:
        self._rows: dict[int, str] = {}
        self._added = trio.Event()

    def add(self, row: int, netns: str) -> None:
        """Name a row by its id; that it is named already, or finished meanwhile, does no harm.

        Args:
            netns: path at which its links may be beside the recorded one, or "".
        """
        self._rows[row] = netns
        self._added.set()

    async def take(self) -> dict[int, str]:
        """Wait until there are some, and take them all: row id to path."""
        while not self._rows:
            self._added = trio.Event()
            await self._added.wait()
        taken, self._rows = self._rows, {}
        return taken
