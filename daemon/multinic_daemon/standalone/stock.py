"""What the kernel shows and the journal does not know: held before anything is given.

A journal may be lost, or kept aside as damaged, while containers run on. So the first time that a pool is used, every
network namespace is looked through for its addresses. What is found goes by a DEL of its container, or when no
namespace has it any more.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set
from dataclasses import replace

from multinic_core.errors import DaemonUnavailableError, KernelError
from multinic_core.model import IPPool
from multinic_core.plan import Allocation, IPNetwork
from multinic_daemon.engine.context import Engine
from multinic_daemon.engine.detach import detach
from multinic_daemon.engine.takenover import links_of
from multinic_daemon.journal.file import read_snapshot
from multinic_daemon.journal.journal import Journal
from multinic_daemon.podlinks.kernel import SandboxLink
from multinic_daemon.recovery.rebuild import read_blocks, take_missing

log = logging.getLogger(__name__)


def held_elsewhere(journal: Journal, pools: Set[str]) -> list[IPNetwork]:
    """Addresses that the journal holds in other pools: of other networks, or of this one when it was written
    differently. Pools may overlap, addresses must not."""
    return [type(each.address.network)(each.address.ip) for each in _recorded(journal) if each.pool not in pools]


def _recorded(journal: Journal) -> list[Allocation]:
    """All that the journal holds."""
    return [each for row in read_snapshot(journal.path).allocations.values() for each in row]


async def take_stock(engine: Engine, pools: Sequence[IPPool]) -> None:
    """Hold what containers have of pools that this journal has never seen.

    Raises:
        DaemonUnavailableError: a namespace cannot be looked into, so it is not known what is free.
    """
    journal = engine.journal
    new = [pool for pool in pools if not journal.marked(f"pool/{pool.name}")]
    if not new:
        return
    try:
        sandboxes = await engine.in_thread(engine.kernel.survey)
    except KernelError as error:
        raise DaemonUnavailableError(f"standalone: not known which addresses are held: {error}") from error
    networks = [block.network for block in read_blocks(new)[0]]
    recorded = {each.address.ip for each in _recorded(journal)}

    def unknown(link: SandboxLink) -> bool:
        return any(a.ip not in recorded and any(a.ip in network for network in networks) for a in link.addresses)

    # Other links are none of our business, though a daemon on this machine may have made them just like ours.
    sandboxes = [replace(each, links=tuple(filter(unknown, each.links))) for each in sandboxes]
    stock = take_missing(
        new, sandboxes, journal.boot_id, lambda pool, index: index in journal.held(pool), journal.groups()
    )
    journal.take_over(stock.rows, [f"pool/{pool.name}" for pool in new])
    for row in stock.rows:
        addresses = [str(each.address) for each in row.new.allocations]
        log.warning("taken over, the journal did not know it", extra={"netns": row.new.netns, "addresses": addresses})


async def release_dead(engine: Engine) -> None:
    """Let go of what was taken over and no namespace has any more. Raises as ``detach``."""
    if not engine.journal.any_taken_over:
        return
    sandboxes = await engine.in_thread(engine.kernel.survey)
    for record in engine.journal.taken_over():
        if not any(links_of(engine, record, sandbox) for sandbox in sandboxes):
            await detach(engine, record, point="proof")
