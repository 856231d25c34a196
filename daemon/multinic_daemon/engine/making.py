"""ADD in stages: each of those who have a part in an attachment does it, in turn.

Nothing waits between deciding and the first row, and what others will do is written down before they are asked, so
whatever happens is undone from the row alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

import trio

from multinic_core.cni import Result
from multinic_core.plan import LinkRequest, Plan
from multinic_daemon import crashpoints
from multinic_daemon.engine.answer import encode_result
from multinic_daemon.engine.context import Engine
from multinic_daemon.engine.invocation import Invocation
from multinic_daemon.engine.lookup import found
from multinic_daemon.engine.merging import merged_result
from multinic_daemon.engine.parents import vlans_kept
from multinic_daemon.engine.progress import Progress
from multinic_daemon.engine.stages import Stages, kernel_part, late_part, plan_addressed, plan_plugged
from multinic_daemon.journal.journal import NewAttachment, Record
from multinic_daemon.podlinks.kernel import MadeLink


async def make_in_stages(
    engine: Engine,
    call: Invocation,
    new: NewAttachment,
    links: tuple[LinkRequest, ...],
    stages: Stages | None,
    undo: Callable[[Engine, Record], Awaitable[None]],
) -> Result:
    """Write down what is decided, and have it done by everybody in turn.

    Raises:
        MultinicError: nothing is left of it, or what ``undo`` could not take back.
    """
    assert stages is not None
    plan = found(engine, call, new.plan)
    crashpoints.reached("add.decided")
    record, progress = engine.journal.begin(replace(new, plan=plan)), Progress()
    crashpoints.reached("add.journaled")
    try:
        if plan.ipams and not stages.after_links:
            links, record = await _address(engine, call, record, links, stages, progress)
            plan = record.plan
        await engine.outside.act(record, engine.registry, plan.actions)
        made = await _make_links(engine, record, plan)
        if stages.after_links:
            links, record = await _address(engine, call, record, links, stages, progress)
            plan = record.plan
            await engine.outside.act(record, engine.registry, plan.actions)
        plugged = [await progress.add(engine, record, step) for step in plan.plugins]
        if plugged:
            crashpoints.reached("outside.plugged")
        plan = plan_plugged(call, links, plan, plugged)
        result = merged_result(call, links, made, plan)
        late = late_part(plan, everything=stages.after_links)
        if late.steps:
            complete = partial(engine.kernel.complete, late, record.netns, record.group)
            await engine.in_thread(complete, record.key.network, engine.making)
        engine.journal.finish(record, encode_result(result), plan)
    except BaseException:
        await undo(engine, await progress.settle(engine, record))
        raise
    crashpoints.reached("add.ready")
    return result


async def _address(
    engine: Engine,
    call: Invocation,
    record: Record,
    links: tuple[LinkRequest, ...],
    stages: Stages,
    progress: Progress,
) -> tuple[tuple[LinkRequest, ...], Record]:
    """Let IPAM executables give addresses, plan anew with them, and write that down."""
    answered = [await progress.add(engine, record, step) for step in record.plan.ipams]
    crashpoints.reached("outside.addressed")
    links, plan = plan_addressed(call, links, answered, stages.plan_for)
    record = engine.journal.replan(record, found(engine, call, plan))
    crashpoints.reached("outside.planned")
    return links, record


async def _make_links(engine: Engine, record: Record, plan: Plan) -> Sequence[MadeLink]:
    """The kernel's part, as far as it comes before main plugin executables."""
    own = kernel_part(plan)
    if not own.steps:
        return ()
    apply = partial(engine.kernel.apply_plan, own, record.netns, record.group)
    with await engine.making.worker(record.key.network) as worker:
        async with vlans_kept(engine, plan.links):
            made = await worker.run(apply)
    crashpoints.reached("add.applied")
    await trio.lowlevel.checkpoint_if_cancelled()  # the kernel's work may have taken longer than the runtime waits
    return made
