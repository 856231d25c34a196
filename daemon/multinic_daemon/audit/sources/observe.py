"""One look at all sources, journal before kernel, both before the API."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from multinic_core.ports import Kubernetes
from multinic_daemon.audit.sources.cluster import not_compared, observe_cluster
from multinic_daemon.audit.sources.kernel import observe_kernel
from multinic_daemon.audit.sources.rundir import daemon_problem, observe_journal, observe_tombstones
from multinic_daemon.audit.world import NotCompared, World
from multinic_daemon.journal.journal import boot_id


@dataclass(frozen=True, slots=True)
class Node:
    """Where the sources of one node are."""

    run_dir: Path
    socket: Path
    name: str
    """In Kubernetes; may be "" without an API."""
    kubernetes: Kubernetes | NotCompared

    async def look(self, before: World | None) -> World:
        """See everything once. An API that did not answer the look before is not asked again.

        Raises:
            JournalError: the journal cannot be read.
            KernelError: the kernel cannot be asked.
        """
        now = time.time()
        daemon = not await trio.to_thread.run_sync(daemon_problem, self.socket)
        tombstones = await trio.to_thread.run_sync(observe_tombstones, self.socket)
        rows, cursors = await trio.to_thread.run_sync(observe_journal, self.run_dir)
        paths = dict.fromkeys(row.record.netns for row in rows)
        kernel = await trio.to_thread.run_sync(partial(observe_kernel, paths))
        if isinstance(self.kubernetes, NotCompared):
            cluster = not_compared(self.kubernetes.reason)
        elif before is not None and isinstance(before.pods, NotCompared):
            cluster = not_compared(before.pods.reason)
        else:
            cluster = await observe_cluster(self.kubernetes, self.name, [row.record.pod for row in rows])
        api = (cluster.pods, cluster.mirror, cluster.wishes)
        return World(now, boot_id(), daemon, rows, kernel, *api, tombstones=tombstones, cursors=cursors)
