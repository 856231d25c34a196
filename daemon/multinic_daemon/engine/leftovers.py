"""What was to be removed and could not: it waits here for :mod:`multinic_daemon.recovery.sweep`.

Rows that a call began to remove, by their ids, and DELs that were kept as tombstones, by their files.
"""

from __future__ import annotations

from pathlib import Path

import trio


class Leftovers:
    """A set of both, rows with the path by which their namespace was known last. Used from one thread."""

    def __init__(self) -> None:
        self._found: dict[int | Path, str] = {}
        self._added = trio.Event()

    def add(self, what: int | Path, netns: str = "") -> None:
        """Name a row or a tombstone; that it is named already, or finished meanwhile, does no harm.

        Args:
            netns: path at which a row's links may be beside the recorded one, or "".
        """
        self._found[what] = netns
        self._added.set()

    async def take(self) -> dict[int | Path, str]:
        """Wait until there are some, and take them all: row id or tombstone to path."""
        while not self._found:
            self._added = trio.Event()
            await self._added.wait()
        taken, self._found = self._found, {}
        return taken
