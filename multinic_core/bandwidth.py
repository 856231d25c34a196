"""Bandwidth as people write it: ``10Gbps``, ``2.5 Gbit/s``, ``500Mbps besteffort``; inside, whole bits per second."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from multinic_core.errors import ConfigError

PATTERN = r"^[0-9]+(\.[0-9]+)?\s*([GMK]bps|[GMK]bit/s)(\s+besteffort)?$"
"""Of ``spec.attachPolicy.target`` and of the pod's ``target``."""
BEST_EFFORT = "besteffort"
MEGABIT = 1_000_000
"""bit."""
_FACTORS = {"G": 1_000_000_000, "M": MEGABIT, "K": 1_000}
_WRITTEN = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<prefix>[GMK])(?:bps|bit/s)(?P<effort>\s+besteffort)?")


@dataclass(frozen=True, slots=True)
class Target:
    """A bandwidth that is asked for."""

    rate: int
    """bit/s, above 0."""
    best_effort: bool = False
    """It is wished for, not promised: it counts for nobody and is never refused for lack of bandwidth."""


@lru_cache(maxsize=256)
def parse_target(text: str, path: str = "target") -> Target:
    """Read a target.

    Args:
        path: of the field that it was found in.

    Raises:
        ConfigError: it is not of this form, or nothing is asked for.
    """
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            f"{path}: found {text!r}, expected a number with Gbps, Mbps, Kbps, Gbit/s, Mbit/s or Kbit/s, such as"
            f" '2.5Gbps', and {BEST_EFFORT!r} behind it where nothing shall be promised"
        )
    whole, _, fraction = found["number"].partition(".")
    factor = _FACTORS[found["prefix"]]
    rate = int(whole) * factor + int(fraction or "0") * factor // 10 ** len(fraction)
    if not rate:
        raise ConfigError(f"{path}: found {text!r}, expected a bandwidth above 0")
    return Target(rate, bool(found["effort"]))


def show(rate: float) -> str:
    """A bandwidth for people: ``12.5 Gbit/s``.

    Args:
        rate: bit/s.
    """
    if rate >= 1e9:
        return f"{rate / 1e9:.4g} Gbit/s"
    if rate >= 1e6:
        return f"{rate / 1e6:.4g} Mbit/s"
    return f"{rate / 1e3:.4g} Kbit/s" if rate >= 1e3 else f"{rate:.0f} bit/s"
