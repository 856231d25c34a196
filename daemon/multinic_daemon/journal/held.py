"""Which devices of the node the attachments hold, kept in memory beside the journal's rows."""

from __future__ import annotations

from collections.abc import Iterable

from multinic_core.deviceplans import device_key
from multinic_core.devices import TakeDevice


class HeldDevices:
    """Devices by row. Used from one thread."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[TakeDevice, ...]] = {}
        """Rows with devices only."""
        self._keys: frozenset[str] = frozenset()

    def set(self, row: int, devices: Iterable[TakeDevice]) -> None:
        """A row holds these, in place of what was said of it before."""
        self.remove(row)
        if found := tuple(devices):
            self._rows[row] = found
            self._keys = frozenset(map(device_key, self.devices))

    def remove(self, row: int) -> None:
        """A row is gone."""
        if self._rows.pop(row, ()):
            self._keys = frozenset(map(device_key, self.devices))

    @property
    def keys(self) -> frozenset[str]:
        """PCI addresses, or ifnames of devices without one."""
        return self._keys

    @property
    def devices(self) -> tuple[TakeDevice, ...]:
        """All that are held, with what they were like before."""
        return tuple(step for steps in self._rows.values() for step in steps)

    def holder(self, key: str) -> int | None:
        """The row that holds a device, or None."""
        return next((row for row, steps in self._rows.items() if key in map(device_key, steps)), None)
