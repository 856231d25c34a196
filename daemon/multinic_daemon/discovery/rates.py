"""How much each NIC carries now: bit/s sent and received, from the kernel's own counters, fresh within seconds.

The counters of all NICs are read every ``INTERVAL_SECONDS`` in one conversation. Of each interval the mean rate is
taken, and what is told is smoothed over about ``SMOOTHING_SECONDS``: of a new load 39 per cent show after one interval
and 86 after four, so that a burst makes no NIC look busy and a real load is seen before the next pods start. A counter
that goes backwards (a driver was loaded again, or counts in 32 bits) tells nothing about that interval, which is passed
over. A NIC is absent until two readings are there, and while it is in a pod. What bypasses the kernel, such as RDMA, is
in no counter that is read here.
"""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import trio

from multinic_core.errors import KernelError
from multinic_core.plan import NodeView
from multinic_daemon.netlink import Conversation, open_netns
from multinic_daemon.netlink.statistics import Carried, read_carried

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0
SMOOTHING_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters of one link at one moment, and what is made of them and those before."""

    ifindex: int
    carried: Carried
    at_seconds: float
    """Of a clock that never goes back."""
    rate: tuple[float, float] | None = None
    """bit/s sent and received, smoothed; None while nothing can be said."""


def advanced(last: Reading | None, ifindex: int, carried: Carried, at_seconds: float) -> Reading:
    """The next reading of a NIC after ``last``; of another link under its name nothing is taken over."""
    if last is None or last.ifindex != ifindex:
        return Reading(ifindex, carried, at_seconds)
    seconds = at_seconds - last.at_seconds
    grown = [now - before for now, before in zip(carried, last.carried, strict=True)]
    if seconds <= 0 or min(grown) < 0:
        return Reading(ifindex, carried, at_seconds, last.rate)
    sent, received = (8 * each / seconds for each in grown)
    if last.rate is not None:
        share = -math.expm1(-seconds / SMOOTHING_SECONDS)
        sent, received = (old + share * (new - old) for old, new in zip(last.rate, (sent, received), strict=True))
    return Reading(ifindex, carried, at_seconds, (sent, received))


class Rates:
    """The rates of the node's NICs; asked without I/O, fresh while ``serve`` runs.

    Args:
        view: the node's NICs as they are known now.
        netns: path of the node's network namespace; None: the process's own.
    """

    def __init__(self, view: Callable[[], NodeView], *, netns: str | None = None) -> None:
        self._view = view
        self._netns = netns
        self._readings: dict[str, Reading] = {}
        self._rates: Mapping[str, tuple[float, float]] = MappingProxyType({})
        self._failing = False

    def __call__(self) -> Mapping[str, tuple[float, float]]:
        """ifname to bit/s sent and received, a new value with each reading; absent of which nothing is known."""
        return self._rates

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the rates fresh; never returns.

        Raises:
            ContainerGoneError, KernelError: there is no way to talk to the kernel at all.
        """
        with open_netns(self._netns) as netns, Conversation(netns) as kernel:
            task_status.started()
            while True:
                await self._read(kernel)
                await trio.sleep(INTERVAL_SECONDS)

    async def _read(self, kernel: Conversation) -> None:
        nics = self._view().nics
        try:
            found = await trio.to_thread.run_sync(_read_all, kernel, [nic.ifindex for nic in nics.values()])
        except KernelError as error:
            if not self._failing:
                log.warning("rates not known, will retry", extra={"node": self._view().name, "error": str(error)})
            found, self._failing = {}, True
        else:
            self._failing = False
        now = trio.current_time()
        self._readings = {
            ifname: advanced(self._readings.get(ifname), nic.ifindex, found[nic.ifindex], now)
            for ifname, nic in nics.items()
            if nic.ifindex in found
        }
        rates = {ifname: reading.rate for ifname, reading in self._readings.items() if reading.rate is not None}
        self._rates = MappingProxyType(rates)


def _read_all(kernel: Conversation, ifindexes: list[int]) -> dict[int, Carried]:
    """ifindex to counters, of those links that are there."""
    found = {}
    for ifindex in ifindexes:
        try:
            found[ifindex] = read_carried(kernel, ifindex)
        except KernelError as error:
            if error.errno != errno.ENODEV:
                raise
    return found
