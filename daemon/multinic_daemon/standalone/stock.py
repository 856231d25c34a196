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
from multinic_core.plan import IPNetwork
from multinic_daemon.engine.context import Engine
from multinic_daemon.engine.detach import detach
from multinic_daemon.engine.takenover import links_of
from multinic_daemon.journal import Journal
from multinic_daemon.journal_file import read_snapshot
from multinic_daemon.rebuild import read_blocks, take_missing

log = logging.getLogger(__name__)


def held_elsewhere(journal: Journal, pools: Set[str]) -> list[IPNetwork]:
    """Addresses that the journal holds in other pools: of other networks, or of this one when it was written
    differently. Pools may overlap, addresses must not."""
    rows = read_snapshot(journal.path).allocations.values()
    return [type(each.address.network)(each.address.ip) for row in rows for each in row if each.pool not in pools]


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
    blocks, _ = read_blocks(new)
    # Links of others, with a daemon on this machine, are none of our business unless they have our addresses.
    sandboxes = [
        replace(
            sandbox,
            links=tuple(
                link for link in sandbox.links if any(a.ip in b.network for a in link.addresses for b in blocks)
            ),
        )
        for sandbox in sandboxes
    ]
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
