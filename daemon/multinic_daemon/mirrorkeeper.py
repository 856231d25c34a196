"""Writes the mirror: each pool of this node says within seconds what the journal says.

Changes of the journal name pools, and so do changes of the pools by others. A pool named is looked at, compared and,
if it differs, written once, at most once per ``PAUSE_SECONDS``, however many pods came and went meanwhile. Writes hold
only for the version that was read; after a conflict the pool is read again and compared again. Pods never wait for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Set

import trio

from multinic_core.errors import ApiError
from multinic_core.model import HOSTNAME_LABEL, IPPOOLS, IPPool
from multinic_core.ports import Key, Kubernetes, Store
from multinic_daemon import crashpoints
from multinic_daemon.gate import Gate
from multinic_daemon.journal import Journal, JournalError
from multinic_daemon.mirror import mirror_patch

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""Between two writes of one pool."""
SETTLE_SECONDS = 0.1
"""Changes within this time of the first go out together."""
RETRY_SECONDS = (1.0, 30.0)
"""Pause after a write that failed, doubled from the first to the second while it goes on failing."""
AT_ONCE = 4
"""Writes in flight, so that a slow API server sees few."""


def pool_store(kubernetes: Kubernetes, node: str) -> Store[IPPool]:
    """The pools of a node; the same store that the engine reads."""
    return kubernetes.store(IPPOOLS, label_selector=f"{HOSTNAME_LABEL}={node}")


class MirrorKeeper:
    """The pools that may differ from the journal, and when each may be written again."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        node: str,
        journal: Journal,
        gate: Gate,
        take_over: Callable[[IPPool], None],
    ) -> None:
        """``take_over`` makes the journal hold the entries of a pool that it does not know; may raise JournalError."""
        self._kubernetes = kubernetes
        self._node = node
        self._journal = journal
        self._gate = gate
        self._take_over = take_over
        self._store = pool_store(kubernetes, node)
        self._due: dict[str, float] = {}
        """Pool that is to be looked at, and when, in seconds of trio's clock."""
        self._free_at: dict[str, float] = {}
        """Pool that was written or failed, and when it may be again."""
        self._pauses: dict[str, float] = {}
        """Pool whose last write failed, and the next pause."""
        self._written: dict[str, tuple[str | None, IPPool]] = {}
        """Pool, version that the store showed when it was written, and what came of it."""
        self._changed = trio.Event()
        self._started = False

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the mirror; never returns. Nothing is written before it is known what the journal has to take over."""
        self._started = True
        self._journal.listen(self._touch)
        self._store.subscribe(self._announce)
        task_status.started()
        await self._gate.wait_open()
        limiter = trio.CapacityLimiter(AT_ONCE)
        while True:
            changed, now = self._changed, trio.current_time()
            ready = sorted(pool for pool, at in self._due.items() if at <= now)
            async with trio.open_nursery() as nursery:
                for pool in ready:
                    del self._due[pool]
                    nursery.start_soon(self._look, pool, limiter)
            if ready:
                continue
            with trio.move_on_at(min(self._due.values(), default=float("inf"))):
                await changed.wait()

    def _announce(self, key: Key) -> None:
        self._touch({key.name})

    def _touch(self, pools: Set[str]) -> None:
        if not self._started:
            return
        now = trio.current_time()
        for pool in pools:
            self._due.setdefault(pool, max(now + SETTLE_SECONDS, self._free_at.get(pool, 0.0)))
        self._changed.set()
        self._changed = trio.Event()

    async def _look(self, pool: str, limiter: trio.CapacityLimiter) -> None:
        """Compare one pool and write it if it differs; again later if that fails."""
        try:
            async with limiter:
                wrote = await self._write(pool)
        except (ApiError, JournalError) as error:
            pause = self._pauses.get(pool, RETRY_SECONDS[0])
            if pool not in self._pauses:
                log.warning("mirror not written, will retry", extra={"pool": pool, "cause": str(error)})
            self._pauses[pool] = min(2 * pause, RETRY_SECONDS[1])
            self._free_at[pool] = self._due[pool] = trio.current_time() + pause
            return
        self._pauses.pop(pool, None)
        if wrote:
            self._free_at[pool] = trio.current_time() + PAUSE_SECONDS
            if pool in self._due:
                self._due[pool] = max(self._due[pool], self._free_at[pool])

    async def _write(self, name: str) -> bool:
        shown = self._store.get(name)
        if shown is None or shown.spec.host_name != self._node:
            return False
        version = shown.metadata.resource_version
        seen, written = self._written.get(name, (None, shown))
        pool = written if seen == version else shown  # the watch has not brought our own write yet
        for attempt in (1, 2):
            # Whatever is about to be overwritten is held first, in case this version is news to the store.
            self._take_over(pool)
            patch = mirror_patch(pool, self._journal.of_pool(name), self._journal.boot_id)
            if patch is None:
                return attempt > 1
            crashpoints.reached("mirror.differs")
            try:
                made = await self._kubernetes.patch(IPPOOLS, name, patch)
            except ApiError as error:
                if error.status == 404:
                    return False
                if error.status != 409 or attempt == 2:
                    raise
                pool = await self._kubernetes.get(IPPOOLS, name)
                continue
            crashpoints.reached("mirror.written")
            self._written[name] = (version, made)
            log.debug("mirror written", extra={"pool": name, "held": len(made.spec.allocations)})
            return True
        return False
