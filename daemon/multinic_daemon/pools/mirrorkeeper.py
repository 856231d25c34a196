"""Writes the mirror: each pool of this node says within seconds what the journal says.

A pool that follows by arithmetic has no object until there is something to say, and keeps it afterwards.

Changes of the journal name pools, and so do changes of the pools by others. A pool named is looked at, compared and,
if it differs, written once, at most once per ``PAUSE_SECONDS``, however many pods came and went meanwhile. Writes hold
only for the version that was read; after a conflict the pool is read again and compared again. Pods never wait for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Set

import trio

from multinic_core.errors import ApiError
from multinic_core.model import HOST_INTERFACES, IPPOOLS, IPPool
from multinic_core.ports import Key, Kubernetes
from multinic_daemon import crashpoints
from multinic_daemon.gate import Gate
from multinic_daemon.journal.journal import Journal, JournalError
from multinic_daemon.pools.mirror import mirror_object, mirror_patch, with_derived
from multinic_daemon.pools.nodepools import NodePools

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""Between two writes of one pool."""
SETTLE_SECONDS = 0.1
"""Changes within this time of the first go out together."""
RETRY_SECONDS = (1.0, 30.0)
"""Pause after a write that failed, doubled from the first to the second while it goes on failing."""
ATTEMPTS = 3
"""To write one pool, each after reading it again; then later."""
AT_ONCE = 4
"""Writes in flight, so that a slow API server sees few."""


class MirrorKeeper:
    """The pools that may differ from the journal, and when each may be written again."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        node: str,
        pools: NodePools,
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
        self._store = pools
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
        if self._is_there(key.name) and self._written.get(key.name, ("",))[0] is None:
            del self._written[key.name]  # the object that was made has been seen: it may go again
        self._touch({key.name})

    def _is_there(self, name: str) -> bool:
        """Whether the watch shows an object of this name."""
        shown = self._store.get(name)
        return shown is not None and shown.metadata.resource_version is not None

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
        for attempt in range(1, ATTEMPTS + 1):
            try:
                made = await self._say(pool)
            except ApiError as error:
                if error.status == 404:
                    self._written.pop(name, None)
                    if pool is shown or self._store.derived(name) is None:
                        return False  # the watch is late: its news brings us back
                if error.status != 409 or attempt == ATTEMPTS:
                    raise
                pool = await self._afresh(name)
                continue
            if made is None:
                return attempt > 1
            crashpoints.reached("mirror.written")
            if version is not None or not self._is_there(name):
                self._written[name] = (version, made)
            log.debug("mirror written", extra={"pool": name, "held": len(made.spec.allocations)})
            return True
        return False

    async def _say(self, pool: IPPool) -> IPPool | None:
        """Write what the journal says, if the pool does not say it; what came of it.

        Raises:
            ApiError: status 404 when it is gone, 409 when it is another one by now.
        """
        name, derived = pool.name, self._store.derived(pool.name)
        # Whatever is about to be overwritten is held first, in case this version is news to the store.
        self._take_over(pool)
        rows, boot_id = list(self._journal.of_pool(name)), self._journal.boot_id
        if pool.metadata.resource_version is None:
            body = mirror_object(pool, rows, boot_id)
            if body is None:
                return None
            crashpoints.reached("mirror.differs")
            return await self._kubernetes.create(IPPOOLS, body)
        patch = mirror_patch(pool, rows, boot_id)
        if patch is None:
            return None
        crashpoints.reached("mirror.differs")
        return await self._kubernetes.patch(IPPOOLS, name, with_derived(patch, derived) if derived else patch)

    async def _afresh(self, name: str) -> IPPool:
        """The pool as the API has it now.

        Raises:
            ApiError: it cannot be read, or it is another node's.
        """
        pool = await self._kubernetes.get(IPPOOLS, name)
        if pool.spec.host_name != self._node:
            await self._require_departed(pool)
        return pool

    async def _require_departed(self, pool: IPPool) -> None:
        """Another node's pool may be written over when that node is gone: the block is this node's now."""
        try:
            await self._kubernetes.get(HOST_INTERFACES, pool.spec.host_name)
        except ApiError as error:
            if error.status == 404 and self._store.derived(pool.name) is not None:
                return
            raise
        raise ApiError(
            f"IPPool {pool.name!r}: spec.hostName: found {pool.spec.host_name!r}, which is a node, expected"
            f" {self._node!r}",
            status=409,
            api_reason="Conflict",
        )
