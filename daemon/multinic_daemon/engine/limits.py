"""A time limit for what plugins decide: strategies, IPAMs and main plugins run in the event loop, under an alarm.

They are pure functions and nearly always done in a fraction of a millisecond, which a hand-over to another thread would
double (0.04 ms each on an idle machine, 0.2 ms on a busy one); and a choice of addresses must not be overtaken by
another. So they stay in the loop, and an interval timer's signal breaks off one that does not end: after
``PROCESSOR_SECONDS`` of work, or ``WALL_SECONDS`` of waiting for something it must not wait for. (A thread could not be
broken off, and one that spins would slow all others for ever.) That costs 4 µs per function. What neither could stop is
a function that stays inside compiled code without ever looking for signals.

One that was broken off is not asked again for ``REST_FACTOR`` times what it wasted, doubled each time it happens
again, so it can take a twentieth of the loop's time at first and ever less later. Its calls are refused at once.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

from multinic_core.errors import PluginError

T = TypeVar("T")

PROCESSOR_SECONDS = 0.25
"""Of the loop's thread, so that a busy machine breaks off nothing that would have ended."""
WALL_SECONDS = 1.0
"""Counted by the ticks that arrive: a process that gets no processor sees few, and has not been kept waiting."""
TICK_SECONDS = 0.05
UNWIND_SECONDS = 0.2
"""Between one attempt to break off and the next, for plugins that catch everything."""
REST_FACTOR = 20
LONGEST_REST_SECONDS = 300.0


class BrokenOff(BaseException):
    """Raised inside a plugin by the alarm; no ``Exception``, so that few catch it."""


@dataclass(slots=True)
class _Run:
    """A plugin at work."""

    processor: float | None
    """When it is used up, on the thread's own clock; None until the first tick begins to count it."""
    ticks: int
    """How many more it may see."""


@dataclass(slots=True)
class _Rest:
    """A plugin that is left alone."""

    until: float
    seconds: float
    failure: str


_run: _Run | None = None
_resting: dict[str, _Rest] = {}
"""Subject to its rest; kept after its end until the plugin has done its work once, to double it otherwise."""


def limited(subject: str, function: Callable[[], T]) -> T:
    """What the function returns or raises, unless it takes too long.

    Args:
        subject: the plugin and its distribution, as an error shall name it.

    Raises:
        PluginError: it took too long now, or did a short while ago.
    """
    global _run
    now = time.monotonic()
    rest = _resting.get(subject)
    if rest and now < rest.until:
        raise PluginError(f"{subject}: {rest.failure}; not asked again for {rest.until - now:.0f} seconds")
    if threading.current_thread() is not threading.main_thread():
        return function()  # only the main thread has signals; the daemon's loop runs in it
    if (before := signal.getsignal(signal.SIGALRM)) is not _alarm:
        signal.signal(signal.SIGALRM, _alarm)
    left = 0.0
    try:
        try:
            _run = _Run(None, round(WALL_SECONDS / TICK_SECONDS))
            left, _ = signal.setitimer(signal.ITIMER_REAL, TICK_SECONDS, TICK_SECONDS)
            result = function()
        finally:
            _run = None  # an alarm after this does nothing
    except BrokenOff:
        _run = None
        failure = f"did not end and was broken off after {time.monotonic() - now:.2f} seconds"
        seconds = min(LONGEST_REST_SECONDS, 2 * rest.seconds if rest else REST_FACTOR * (time.monotonic() - now))
        _resting[subject] = _Rest(time.monotonic() + seconds, seconds, failure)
        raise PluginError(f"{subject}: {failure}; not asked again for {seconds:.0f} seconds") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if left:  # the alarm of a process that serves one call goes on
            signal.signal(signal.SIGALRM, before)
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - now), TICK_SECONDS))
    if rest:
        del _resting[subject]
    return result


def _alarm(number: int, frame: FrameType | None) -> None:
    used = time.thread_time()
    if _run is None:
        return
    if _run.processor is None:
        _run.processor = used + PROCESSOR_SECONDS
    _run.ticks -= 1
    if used < _run.processor and _run.ticks > 0:
        return
    _run.processor, _run.ticks = float("inf"), round(UNWIND_SECONDS / TICK_SECONDS)
    raise BrokenOff
