"""Which of several operators works: the one that holds a Lease, as long as it keeps renewing it.

The rules are those of Kubernetes' own controllers, so clocks of different machines are never compared: a Lease counts
as given up when it has not changed for its whole duration by the clock of the one who looks. A leader counts its own
time from before it sent the renewal and stops writing ``renew_seconds`` after that, while nobody else begins within
``lease_seconds``. The fence holds that for every single request, right before it is sent, so that also a process that
was stopped and goes on later writes nothing.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import trio

from multinic_core.errors import ApiError
from multinic_core.model import LEASES, NAMESPACES, Lease, Namespace, ObjectMeta
from multinic_core.ports import Kubernetes
from multinic_operator.world import utc_now

logger = logging.getLogger(__name__)

LEASE_NAME = "5aaf67fd.fms.io"
"""The original's, so that in one namespace never both work. Source: original.md, section 1.3."""
ATTEMPT_SECONDS = 3.0
"""Limit of one attempt to renew; the next one may find a server that answers."""
DRAIN_SECONDS = 2.0
"""How long a leader that ends waits for the answers to what it has sent, before it hands over."""


class NotLeadingError(ApiError):
    """A write was refused because this process does not lead, or not any more; trying again at once is no use."""

    reason = "NotLeading"

    def __init__(self) -> None:
        super().__init__("this operator does not lead: nothing is written", status=423, api_reason="NotLeading")


@dataclass(frozen=True, slots=True)
class Terms:
    """How long everything lasts, in seconds; ``renew`` + one request must fit into ``lease``."""

    lease: float = 15.0
    """Without a renewal for so long, somebody else may lead."""
    renew: float = 10.0
    """Without a renewal for so long, the leader stops."""
    retry: float = 2.0
    """Between two renewals, and between two looks of those that wait."""


def boot_time() -> float:
    """Seconds that run on also while this process is stopped or the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def own_identity() -> str:
    """Unique for this process; starts with a name that people know."""
    return f"{os.environ.get('POD_NAME') or os.uname().nodename}_{uuid.uuid4().hex[:12]}"


class Fence:
    """Until when this process may write, and what it is writing; used by worker threads too."""

    def __init__(self, clock: Callable[[], float] = boot_time) -> None:
        self._clock = clock
        self._until = float("-inf")
        self._lock = threading.Lock()
        self.in_flight = 0
        """Requests that were sent and not answered yet."""

    @property
    def seconds_left(self) -> float:
        return self._until - self._clock()

    def open_until(self, moment: float) -> None:
        self._until = moment

    def close(self) -> None:
        self._until = float("-inf")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Held around one request.

        Raises:
            NotLeadingError: it must not be sent.
        """
        with self._lock:
            if self.seconds_left <= 0:
                raise NotLeadingError
            self.in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self.in_flight -= 1


class Election:
    """One candidate for one Lease."""

    def __init__(
        self,
        kube: Kubernetes,
        namespace: str,
        identity: str,
        fence: Fence,
        *,
        terms: Terms | None = None,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        """``kube`` should be a connection of its own, so that no other request delays a renewal."""
        self.identity = identity
        self._kube = kube
        self._namespace = namespace
        self._fence = fence
        self._terms = terms or Terms()
        self._now = now
        self._clock = clock
        self._seen: tuple[str | None, ...] = ()
        self._seen_at = float("-inf")
        self._lease: Lease | None = None
        """As written by us last."""

    async def win(self) -> None:
        """Wait until this candidate leads."""
        problem = ""
        while True:
            try:
                with trio.move_on_after(self._terms.renew):
                    if await self._take():
                        logger.info("leading", extra={"identity": self.identity})
                        return
                    problem = ""
            except ApiError as error:
                if str(error) != problem:
                    logger.warning("Lease cannot be read or written, will retry", extra={"cause": str(error)})
                problem = str(error)
            await trio.sleep(self._terms.retry)

    async def hold(self) -> None:
        """Go on leading; returns when that could not be renewed in time or somebody else has the Lease."""
        while (left := self._fence.seconds_left) > 0:
            renewed: bool | None = None
            with trio.move_on_after(left):
                await trio.sleep(self._terms.retry)
                while renewed is None:
                    renewed = await self._renew()
            if not renewed:
                break
        self._fence.close()
        logger.error("leadership lost", extra={"identity": self.identity})

    async def release(self) -> None:
        """Hand over at once, unless a request of ours may still be on its way; takes a bounded time."""
        with trio.move_on_after(DRAIN_SECONDS):
            while self._fence.in_flight:  # noqa: ASYNC110 -- worker threads tell nobody
                await trio.sleep(0.02)
        left = self._fence.seconds_left
        self._fence.close()
        if left <= 0 or self._lease is None or self._fence.in_flight:
            return  # nobody else begins before the Lease has run out
        with trio.move_on_after(min(left, ATTEMPT_SECONDS)):
            try:
                if not await self._write(self._lease, holder="", seconds=1):  # annotated by somebody meanwhile
                    lease = await self._kube.get(LEASES, LEASE_NAME, self._namespace)
                    if lease.spec.holder_identity == self.identity:
                        await self._write(lease, holder="", seconds=1)
            except ApiError as error:
                logger.warning("Lease not handed over, it runs out", extra={"cause": str(error)})
            else:
                logger.info("leadership handed over", extra={"identity": self.identity})

    async def _take(self) -> bool:
        """Look at the Lease, and take it when nobody holds it."""
        try:
            lease = await self._kube.get(LEASES, LEASE_NAME, self._namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            return await self._create()
        self._look(lease)
        holder = lease.spec.holder_identity
        if holder not in (None, "", self.identity):
            duration = max(float(lease.spec.lease_duration_seconds or 0), self._terms.lease)
            if self._clock() < self._seen_at + duration:
                return False
        return await self._write(lease)

    def _look(self, lease: Lease) -> None:
        spec = lease.spec
        seen = (spec.holder_identity, spec.renew_time, spec.acquire_time, lease.metadata.uid)
        if seen == self._seen:
            return
        if spec.holder_identity not in ("", self.identity, *self._seen[:1]):
            logger.info("another operator leads", extra={"holder": spec.holder_identity})
        self._seen, self._seen_at = seen, self._clock()

    async def _create(self) -> bool:
        sent = self._clock()
        lease = Lease(metadata=ObjectMeta(name=LEASE_NAME, namespace=self._namespace))
        lease.spec = lease.spec.model_validate(self._spec(self.identity, int(self._terms.lease), None, 0))
        try:
            self._lease = await self._kube.create(LEASES, lease)
        except ApiError as error:
            if error.status == 409:
                return False  # somebody was faster
            if error.status != 404:
                raise
            name = ObjectMeta(name=self._namespace)
            await self._kube.create(NAMESPACES, Namespace(api_version="v1", kind="Namespace", metadata=name))
            return False
        self._fence.open_until(sent + self._terms.renew)
        return True

    async def _renew(self) -> bool | None:
        """True: renewed. False: somebody else has it. None: to be tried again, after a pause."""
        try:
            with trio.move_on_after(ATTEMPT_SECONDS):
                if self._lease is not None and await self._write(self._lease):
                    return True
                lease = await self._kube.get(LEASES, LEASE_NAME, self._namespace)
                if lease.spec.holder_identity != self.identity:
                    return False
                self._lease = lease  # written by us with the answer lost, or annotated by somebody
                return True if await self._write(lease) else None
        except ApiError as error:
            if error.status == 404:
                return False
            logger.warning("Lease not renewed, will retry", extra={"cause": str(error)})
        await trio.sleep(self._terms.retry / 2)
        return None

    async def _write(self, lease: Lease, *, holder: str | None = None, seconds: int | None = None) -> bool:
        """Make the Lease ours, or ``holder``'s, unless it has changed since it was read."""
        sent = self._clock()
        mine = lease.spec.holder_identity == self.identity
        transitions = (lease.spec.lease_transitions or 0) + (0 if mine else 1)
        spec = self._spec(
            self.identity if holder is None else holder,
            seconds or int(self._terms.lease),
            lease.spec.acquire_time if mine else None,
            transitions,
        )
        body = {"metadata": {"resourceVersion": lease.metadata.resource_version}, "spec": spec}
        try:
            written = await self._kube.patch(LEASES, LEASE_NAME, body, namespace=self._namespace)
        except ApiError as error:
            if error.status != 409:
                raise
            return False
        if holder is None:
            self._lease = written
            self._fence.open_until(sent + self._terms.renew)
        return True

    def _spec(self, holder: str, seconds: int, acquired: str | None, transitions: int) -> dict[str, str | int]:
        moment = self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "holderIdentity": holder,
            "leaseDurationSeconds": seconds,
            "acquireTime": acquired or moment,
            "renewTime": moment,
            "leaseTransitions": transitions,
        }


async def serve_elected(election: Election, work: Callable[[], Awaitable[None]]) -> None:
    """Wait for the Lease, then run ``work`` as long as it is held; returns when it is lost.

    Cancelled or failing, it ends ``work`` first and then hands the Lease over.
    """
    await election.win()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            await election.hold()
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await election.release()
