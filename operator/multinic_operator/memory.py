"""Keeps the garbage collector from walking through the whole cluster again and again.

What the stores hold has no cycles and goes by reference counts. A full collection that took long has therefore walked
through what stays, and after it is exempt from the next ones.
"""

from __future__ import annotations

import gc
import time
from typing import Any

LONG_SECONDS = 0.03


class LongCollections:
    """A callback of the collector, which exempts the survivors of each long full collection."""

    def __init__(self) -> None:
        self._began = 0.0

    def __call__(self, phase: str, info: dict[str, Any]) -> None:
        if info.get("generation") != 2:
            return
        if phase == "start":
            self._began = time.perf_counter()
        elif time.perf_counter() - self._began > LONG_SECONDS:
            gc.freeze()


def exempt_what_stays() -> None:
    """Begin; for the life of the process."""
    gc.callbacks.append(LongCollections())
