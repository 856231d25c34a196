"""Taking over what exists already, and letting go of it on proof.

A journal that is new (the first start on a node of another generation, a lost or a refused file, a reboot) knows
nothing and says so: it carries no mark. Until kernel and mirror have been read nothing is given. Then everything found
is held, in one transaction with the mark, so that a crash at any instant means to begin again or to be done. From then
on each entry that somebody else writes into a pool is taken over in the same turn of the event loop in which the pool's
store shows it, before any ADD can look at that pool.

What was taken over goes by DEL or GC, or when its death is proven: no network namespace of the node holds any of its
addresses, and its pod is gone, by a complete list of the pods of this node and by the API's own word on that pod. An
error of the API or of the kernel proves nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import trio

from multinic_core.errors import ApiError, KernelError, MultinicError
from multinic_core.model import PODS, IPPool, Pod
from multinic_core.plan import PodReference
from multinic_core.ports import Key, Kubernetes, Store
from multinic_daemon import crashpoints
from multinic_daemon.engine.context import Engine
from multinic_daemon.engine.detach import detach
from multinic_daemon.engine.parents import remove_unused_vlans
from multinic_daemon.engine.takenover import links_of
from multinic_daemon.journal.journal import NODE_MARK, Journal, JournalError, Record
from multinic_daemon.podlinks.kernel import Sandbox
from multinic_daemon.recovery.rebuild import Stock, take_missing, take_pool, take_stock
from multinic_daemon.recovery.tombstones import replay

log = logging.getLogger(__name__)

WAITING = "this node does not know yet which addresses its pods hold"
RETRY_SECONDS = 5.0
"""Between attempts to take stock or to take over a pool."""
SETTLE_SECONDS = 1.0
"""Changes of pods within this time of the first are looked at together."""
PROOF_SECONDS = 30.0
"""Between looks for proof of death, unless a pod of this node changes before."""


def closed_reason(journal: Journal, refused: str) -> str:
    """Why a node may not give addresses when its daemon starts.

    Args:
        refused: what ``Journal.open_or_replace`` says.
    """
    why = f": {refused or 'its journal is new'}" if not journal.complete else ""
    return f"{WAITING}{why}; the Kubernetes API has not listed its pools yet"


class Adoption:
    """One node's taking over."""

    def __init__(self, engine: Engine, kubernetes: Kubernetes, node: str, pools: Store[IPPool]) -> None:
        self.engine = engine
        self.node = node
        self._kubernetes = kubernetes
        self._pools = pools
        self._refused: set[str] = set()
        """Pools that could not be taken over yet."""
        self._taken: dict[str, tuple[str | None, str]] = {}
        """Pool, and what of it was taken over last: version and block."""
        self._closed = False
        self._stirred = trio.Event()
        self._pods_store: Store[Pod] | None = None

    # What is held

    async def take_stock(self) -> None:
        """Wait for the API, then hold everything there is, and open the gate.

        A journal that knows its node is compared as well: a file that lost its end can look whole.

        Raises:
            KernelError: a namespace could not be looked into.
            JournalError: it could not be written.
        """
        await self._pools.wait_synced()
        await self.free_devices()  # before rows are taken over, which may get the groups of such marks
        self.hold(await self.engine.in_thread(self.engine.kernel.survey))

    def hold(self, sandboxes: Sequence[Sandbox]) -> None:
        """Hold what mirror and kernel show and the journal does not hold; then watch the pools. Once."""
        journal = self.engine.journal
        crashpoints.reached("adoption.surveyed")
        pools = self._own_pools()
        if journal.complete:
            stock = take_missing(pools, sandboxes, journal.boot_id, self._is_held, journal.groups())
        else:
            stock = take_stock(pools, sandboxes, journal.boot_id)
        journal.take_over(stock.rows, [NODE_MARK, *(f"pool/{pool.name}" for pool in pools)])
        self._taken = {pool.name: _version(pool) for pool in pools}
        crashpoints.reached("adoption.held")
        _tell(stock)
        # From now on what others write is taken over as the store shows it, and not before may anything be given.
        self._pools.subscribe(self._changed)
        self._open()

    def _open(self) -> None:
        if not self._refused:
            self.engine.gate.open()

    def close(self) -> None:
        """Touch the journal no more."""
        self._closed = True

    def take_pool(self, pool: IPPool) -> None:
        """Take over the entries of one pool that the journal does not know.

        Of a version that was taken over already it has known them all: what it does not hold now was let go of since.

        Raises:
            JournalError: nothing is taken over.
        """
        journal, mark = self.engine.journal, f"pool/{pool.name}"
        if pool.spec.host_name != self.node:
            return
        known = journal.marked(mark)
        if known and (not pool.spec.allocations or self._taken.get(pool.name) == _version(pool)):
            return
        stock = take_pool(pool, self._is_held, journal.boot_id, first=not known)
        if stock.rows or not known:
            journal.take_over(stock.rows, [mark])
            _tell(stock)
            self._stir()
        self._taken[pool.name] = _version(pool)

    def _changed(self, key: Key) -> None:
        pool = self._pools.get(key.name)
        if pool is None or self._closed:
            return
        try:
            self.take_pool(pool)
        except JournalError as error:
            self._refused.add(pool.name)
            self.engine.gate.close(f"entries of IPPool {pool.name!r} cannot be taken over: {error}")
            fields = {"pool": pool.name, "cause": str(error)}
            log.error("pool not taken over, no addresses are given", extra=fields)  # noqa: TRY400  # cause says it all

    def retry(self) -> None:
        """Try again what was refused; the gate opens when nothing is left."""
        for name in sorted(self._refused):
            self._refused.discard(name)
            self._changed(Key("", name))
        self._open()

    @property
    def refused(self) -> bool:
        """Whether a pool waits to be taken over."""
        return bool(self._refused)

    def _is_held(self, pool: str, index: int) -> bool:
        return index in self.engine.journal.held(pool)

    def _own_pools(self) -> list[IPPool]:
        return [pool for pool in self._pools.list() if pool.spec.host_name == self.node]

    def _pods(self) -> Store[Pod]:
        """Asked for only while something is to be proven: a node with nothing to take over watches no pods."""
        if self._pods_store is None:
            self._pods_store = self._kubernetes.store(PODS, field_selector=f"spec.nodeName={self.node}")
            self._pods_store.subscribe(lambda _: self._stir())
        return self._pods_store

    def _stir(self) -> None:
        self._stirred.set()

    # What has died

    async def release_dead(self) -> int:
        """Let go of whatever is proven dead; how many rows went."""
        released = 0
        sandboxes: Sequence[Sandbox] | None = None
        for found in self.engine.journal.taken_over():
            record = self._learn(found)
            if not await self._pod_gone(record.pod, unnamed=record.state == "unknown"):
                continue
            if sandboxes is None:
                sandboxes = await self.engine.in_thread(self.engine.kernel.survey)
            if any(links_of(self.engine, record, sandbox) for sandbox in sandboxes):
                continue
            released += await self._release(record)
        return released

    def _learn(self, record: Record) -> Record:
        """A row that names a pod by name alone means the one that lives now, unless that one has a row of its own."""
        pod, store = record.pod, self._pods()
        living = store.get(pod.name, pod.namespace) if pod.name and not pod.uid and store.synced else None
        if living is None or not living.metadata.uid:
            return record
        uid, journal = living.metadata.uid, self.engine.journal
        others = journal.of_network(record.key.plugin, record.key.network)
        if any(each.pod.uid == uid and not each.taken_over for each in others):
            return record
        journal.learn_uid(record, uid)
        return replace(record, pod=replace(pod, uid=uid))

    async def _release(self, record: Record) -> bool:
        key = record.key
        async with self.engine.locks((key.container_id, key.ifname)):
            found = self.engine.journal.find(key)
            if found is None or found.id != record.id or not found.taken_over:
                return False
            await detach(self.engine, found, point="proof")
        fields = {"network": key.network, "pod": f"{record.pod.namespace}/{record.pod.name}"}
        log.info("released, proven dead: no sandbox holds it and its pod is gone", extra=fields)
        return True

    async def _pod_gone(self, pod: PodReference, *, unnamed: bool) -> bool:
        """Whether the pod is known to be gone from this node.

        Args:
            unnamed: what to say when nobody knows the pod.
        """
        if not pod.name:
            return unnamed
        store = self._pods()
        if not store.synced or self._is(store.get(pod.name, pod.namespace), pod):
            return False
        # The list may be old; the word of the API on this very pod is not.
        try:
            return not self._is(await self._kubernetes.get(PODS, pod.name, pod.namespace), pod)
        except ApiError as error:
            return error.status == 404

    def _is(self, found: Pod | None, pod: PodReference) -> bool:
        if found is None or found.spec.node_name not in ("", self.node):
            return False
        return not pod.uid or found.metadata.uid == pod.uid

    async def _news(self) -> None:
        """Wait for something that may prove more than the last look did."""
        if self._pods_store is not None and not self._pods_store.synced:
            await self._pods_store.wait_synced()  # a list that names no pod stirs nobody
        else:
            await self._stirred.wait()
            await trio.sleep(SETTLE_SECONDS)

    async def _remove_vlans(self) -> None:
        """Those that no row is on; what is refused stays for the next start, and the audit tells of it."""
        try:
            removed = await remove_unused_vlans(self.engine)
        except MultinicError as error:
            log.warning("unused VLAN links not removed", extra={"node": self.node, "cause": str(error)})
        else:
            if removed:
                log.info("unused VLAN links removed", extra={"node": self.node, "count": removed})

    async def free_devices(self) -> None:
        """Those back on the node whose mark is no row's, as a lost journal leaves them: nothing else takes it off."""
        engine = self.engine
        try:
            marked = await engine.in_thread(engine.kernel.marked_groups)
            # a row comes before its marks, so a mark that was there and has no row now is nobody's
            if strays := set(marked) - engine.journal.groups():
                await engine.in_thread(partial(engine.kernel.free_devices, strays))
        except MultinicError as error:
            log.warning("marked devices not freed", extra={"node": self.node, "cause": str(error)})

    async def serve(self, folder: Path, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take over, then watch for what can be let go; never returns.

        Args:
            folder: of the tombstones, honoured once it is known what they are about.
        """
        task_status.started()
        while True:
            try:
                await self.take_stock()
                break
            except (JournalError, KernelError) as error:
                self.engine.gate.close(f"{WAITING}: {error}")
                fields = {"node": self.node, "cause": str(error)}
                log.error("stock not taken, will retry", extra=fields)  # noqa: TRY400  # the cause says it all
                await trio.sleep(RETRY_SECONDS)
        await replay(self.engine, folder)
        await self._remove_vlans()
        unknown = False
        while True:
            self._stirred = trio.Event()
            before, unknown = unknown, self.engine.journal.any_taken_over
            if unknown:
                try:
                    await self.release_dead()
                except MultinicError as error:
                    log.warning("nothing proven dead this time", extra={"node": self.node, "cause": str(error)})
            if unknown or before:  # also when DEL let go of the last one
                await self.free_devices()
            with trio.move_on_after(RETRY_SECONDS if self.refused else PROOF_SECONDS):
                await self._news()
            if self.refused:
                self.retry()


def _version(pool: IPPool) -> tuple[str | None, str]:
    """Of a pool that follows by arithmetic and has no object the first is None: it names nobody."""
    return pool.metadata.resource_version, pool.spec.pod_cidr


def _tell(stock: Stock) -> None:
    for problem in stock.problems:
        log.warning("left out while taking over", extra={"cause": problem})
    for row in stock.rows:
        log.info(
            "taken over",
            extra={
                "network": row.new.key.network,
                "pod": f"{row.new.pod.namespace}/{row.new.pod.name}",
                "state": row.state,
                "addresses": [str(each.address) for each in row.new.allocations],
            },
        )
