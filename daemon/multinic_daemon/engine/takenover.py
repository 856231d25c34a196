"""DEL and CHECK of what was taken over: no row knows its container id, so the kernel and the pod's name tell.

What the asking container's namespace holds under the names of this interface belongs to it, whatever anybody else says.
An address that another namespace holds never goes: a late DEL of an old sandbox may carry the name of a pod that lives
again. What no namespace holds goes with the DEL of its pod.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from multinic_core.cni import parse_result
from multinic_core.plan import PodReference
from multinic_daemon import crashpoints
from multinic_daemon.engine.context import Engine
from multinic_daemon.engine.detach import delete, detach
from multinic_daemon.engine.invocation import Invocation
from multinic_daemon.engine.recorded import kernel_differences, same_netns
from multinic_daemon.journal.journal import AttachmentKey, Record
from multinic_daemon.podlinks.kernel import Sandbox, SandboxLink

log = logging.getLogger(__name__)


def links_of(engine: Engine, record: Record, sandbox: Sandbox) -> list[SandboxLink]:
    """The links of a namespace that have an address of this row, or are its own."""
    addresses = {each.address.ip for each in engine.journal.allocations(record)}
    return [
        link
        for link in sandbox.links
        if (link.here and any(each.ip in addresses for each in link.addresses))
        or (record.has_links and link.on_node and link.group == record.group)
    ]


async def delete_any(
    engine: Engine, key: AttachmentKey, netns: str, pod: PodReference, *, only: int | None = None
) -> None:
    """DEL of what a row names and of what was taken over for this pod. ``only`` as ``delete``, raises as ``detach``."""
    known = await delete(engine, key, netns, only=only)
    if engine.journal.any_taken_over:
        await delete_taken_over(engine, key, netns, pod, known=known)


async def delete_taken_over(
    engine: Engine, key: AttachmentKey, netns: str, pod: PodReference, *, known: bool = False
) -> None:
    """DEL of an attachment as far as no row names it.

    Args:
        known: a row did name it, perhaps as an old mirror has it, so only what this namespace holds is meant.

    Raises:
        KernelError: the kernel refused, or could not be asked where there is something to ask about.
    """
    candidates = [
        record
        for record in engine.journal.taken_over()
        if _may_be(record, key) and (not known or same_netns(record.netns, netns))
    ]
    if not candidates:
        return
    sandboxes = await engine.in_thread(engine.kernel.survey)
    here = find_sandbox(sandboxes, netns)
    for record in candidates:
        async with engine.locks((record.key.container_id, record.key.ifname)):
            if (found := engine.journal.find(record.key)) is None or found.id != record.id or not found.taken_over:
                continue
            links = _under(key.ifname, links_of(engine, record, here)) if here else []
            if links:
                if not record.has_links:
                    names = {link.ifname for link in links}
                    await engine.in_thread(partial(engine.kernel.remove_foreign, netns, names))
                    crashpoints.reached("takenover.unlinked")
            elif known or not _means(record, pod) or any(links_of(engine, record, sandbox) for sandbox in sandboxes):
                continue
            await detach(engine, record, netns, point="takenover")
        pod_name = f"{record.pod.namespace}/{record.pod.name}"
        log.info("detached, taken over", extra={**key.log_fields, "pod": pod_name})


def _may_be(record: Record, key: AttachmentKey) -> bool:
    return record.nameless and record.key.network in ("", key.network)


def _means(record: Record, pod: PodReference) -> bool:
    """Whether a row is for this pod; a UID that one side does not know is no objection."""
    return (
        record.pod.name != ""
        and (record.pod.namespace, record.pod.name) == (pod.namespace, pod.name)
        and (not pod.uid or not record.pod.uid or pod.uid == record.pod.uid)
    )


def _under(ifname: str, links: Sequence[SandboxLink]) -> list[SandboxLink]:
    """Links of one CNI interface: ``<ifname>-<i>``."""
    return [
        link for link in links if link.ifname.startswith(f"{ifname}-") and link.ifname[len(ifname) + 1 :].isdecimal()
    ]


def find_sandbox(sandboxes: Sequence[Sandbox], netns: str) -> Sandbox | None:
    """The namespace that a path leads to, whichever path it was found by."""
    if not netns:
        return None
    try:
        found = Path(netns).stat()
    except OSError:
        return None
    return next((each for each in sandboxes if each.inode == (found.st_dev, found.st_ino)), None)


async def check_taken_over(engine: Engine, call: Invocation) -> list[str] | None:
    """How the pod differs from what was taken over for it, one sentence each; None: nothing was.

    The addresses recorded and those of ``prevResult`` must be in the pod, and links that we made as they were found.
    """
    rows = [
        record
        for record in engine.journal.taken_over()
        if record.key == call.key or (_may_be(record, call.key) and (_means(record, call.pod) or not record.pod.name))
    ]
    if not rows:
        return None
    sandboxes = await engine.in_thread(engine.kernel.survey)
    here = find_sandbox(sandboxes, call.netns)
    links = _under(call.ifname, here.links) if here else []
    there = {each.ip for link in links for each in link.addresses}
    recorded = {each.address.ip for record in rows for each in engine.journal.allocations(record)}
    given = {ip.address.ip for ip in parse_result(call.netconf.prev_result or {}).ips}
    if not given & recorded:
        return None
    found = [f"link {call.ifname}-<i> with address {each} is missing" for each in sorted(given - there, key=str)]
    found += [f"address {each} is not recorded" for each in sorted(given - recorded, key=str)]
    for record in rows:
        if record.has_links and {each.address.ip for each in engine.journal.allocations(record)} & given:
            found += await kernel_differences(engine, record)
    return found
