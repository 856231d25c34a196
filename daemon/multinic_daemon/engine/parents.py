"""VLAN links under pod links: kept while pod links are being made on them, and removed with the last of those.

Who is on a VLAN link the journal counts (:mod:`multinic_daemon.journal.sharing`), also those whose links are still to
be made. Making pod links on one and removing it take turns, by a lock for each, so that no VLAN link goes from under
links that have just been made. Stopped at any instant, the rows tell the next daemon what is still to be done.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial

from multinic_core.plan import CreateLink
from multinic_daemon import crashpoints
from multinic_daemon.engine.context import Engine
from multinic_daemon.journal.records import Record
from multinic_daemon.podlinks.kernel import Parent, parent_of

_NO_VLANS = nullcontext()
"""Of nearly all attachments."""


def vlans_kept(engine: Engine, links: Iterable[CreateLink]) -> AbstractAsyncContextManager[None]:
    """As long as the context lasts, nobody removes the VLAN links that these pod links are made on.

    Raises:
        DaemonUnavailableError: on entering; another call has been at work on one of them for too long.
    """
    parents = {parent_of(link) for link in links if link.vlan}
    return _kept(engine, sorted(parents)) if parents else _NO_VLANS


@asynccontextmanager
async def _kept(engine: Engine, parents: Sequence[Parent]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for parent in parents:  # sorted, or two calls might wait for each other
            await stack.enter_async_context(engine.vlans(_lock_key(parent)))
        yield


async def leave_vlans(engine: Engine, record: Record) -> None:
    """Take a record, whose pod links are gone, off its VLAN links, and remove those that nobody else is on.

    Raises:
        KernelError: the kernel refused to remove one.
    """
    for parent in record.vlans:
        async with engine.vlans(_lock_key(parent)):
            engine.journal.leave_parents(record)
            crashpoints.reached("vlan.left")
            await _remove_unused(engine, parent, record.key.network)
            crashpoints.reached("vlan.removed")


async def remove_unused_vlans(engine: Engine) -> int:
    """Remove the VLAN links that we made and no row is on, as a lost journal leaves them; how many there were.

    Raises:
        KernelError: the kernel refused, or cannot be asked.
    """
    removed = 0
    for parent in await engine.in_thread(engine.kernel.read_vlans):
        async with engine.vlans(_lock_key(parent)):
            removed += await _remove_unused(engine, parent)
    return removed


async def _remove_unused(engine: Engine, parent: Parent, network: str = "") -> bool:
    """Whether there was one to remove. Nothing waits between asking the journal and asking the kernel but its lock."""
    if engine.journal.sharing.used(parent):
        return False
    return await engine.in_thread(partial(engine.kernel.remove_vlan, parent), network)


def _lock_key(parent: Parent) -> tuple[str, str]:
    return str(parent.ifindex), str(parent.vlan)
