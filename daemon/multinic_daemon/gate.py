"""Whether this node may give addresses yet: not before it knows which ones are held."""

from __future__ import annotations

import trio

from multinic_core.errors import DaemonUnavailableError


class Gate:
    """Open, or closed for a reason that whoever asks is told."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        """Why it is closed; "" when it is open."""
        self._opened = trio.Event()
        if not reason:
            self._opened.set()

    @property
    def is_open(self) -> bool:
        return not self.reason

    def open(self) -> None:
        self.reason = ""
        self._opened.set()

    def close(self, reason: str) -> None:
        """Close it, or say a new reason."""
        self.reason = reason
        if self._opened.is_set():
            self._opened = trio.Event()

    async def wait_open(self) -> None:
        while not self.is_open:
            await self._opened.wait()

    def check(self) -> None:
        """Raise DaemonUnavailableError while closed."""
        if self.reason:
            raise DaemonUnavailableError(f"{self.reason}; try again later")

    async def passed(self, seconds: float) -> None:
        """Wait for it to open, for a bounded time.

        Raises:
            DaemonUnavailableError: it has not.
        """
        if not self.is_open:
            with trio.move_on_after(seconds):
                await self.wait_open()
        self.check()
