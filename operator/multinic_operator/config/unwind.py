"""Taking down what the last Config set up, step by step and never without an end.

While pods hold addresses it waits, ``PODS_SECONDS`` at most. Then CIDRs go, so daemons drop their host routes, then
pools that hold nothing, and after that, ``ROUTES_SECONDS`` later at most, the DaemonSet. Networks and their attachment
definitions are the users' and stay; pools with addresses in use stay as the record of them, so that a Config made later
goes on with the same numbers.
"""

from __future__ import annotations

import logging
from datetime import datetime
from functools import partial
from typing import TypeVar

import trio

from multinic_core.errors import ApiError
from multinic_core.model import CIDRS, DAEMONSETS, IPPOOLS, Config, IPPool, KubeObject, Resource
from multinic_core.ports import Store
from multinic_operator.config.daemonset import MANAGED
from multinic_operator.leading.catchup import UNREADABLE
from multinic_operator.status.daemons import Daemons
from multinic_operator.status.routes import name_some
from multinic_operator.together import each
from multinic_operator.world import World

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=KubeObject)

PODS_SECONDS = 300.0
ROUTES_SECONDS = 30.0
LOOK_SECONDS = 5.0


def holders(pools: list[IPPool]) -> list[str]:
    """Pods that hold addresses, ``namespace/name``, sorted."""
    return sorted({f"{a.namespace}/{a.pod}" for pool in pools for a in pool.spec.allocations})


class Unwinding:
    """Where the deletion of the last Config stands."""

    def __init__(self, world: World, daemons: Daemons) -> None:
        self._world = world
        self._daemons = daemons
        self._begun: tuple[str | None, float] = (None, 0.0)
        """uid of the Config, and when its deletion was first seen."""
        self._unrouted: float | None = None
        """When the last CIDR was deleted."""
        self.message = ""
        """What is waited for, or ""."""

    async def advance(self, config: Config) -> float | None:
        """Go as far as can be gone now; gives the seconds after which to look again, None when all is done.

        Raises:
            ApiError: a read or write failed; that counts as no answer, never as "none left".
        """
        kube, namespace = self._world.kube, self._world.namespace
        left = PODS_SECONDS - self._waited(config)
        pools = await self._listed(IPPOOLS, self._world.pools, patient=left > 0)
        pods = holders(pools)
        if pods and left > 0:
            self.message = f"waits for {len(pods)} pods with addresses, at most {PODS_SECONDS:g} s: {name_some(pods)}"
            return min(left, LOOK_SECONDS)
        cidrs = await self._listed(CIDRS, self._world.cidrs, patient=left > 0)
        await each(partial(kube.delete, CIDRS, cidr.name, uid=cidr.metadata.uid) for cidr in cidrs)
        empty = [pool for pool in pools if not pool.spec.allocations]
        await each(partial(kube.delete, IPPOOLS, pool.name, uid=pool.metadata.uid) for pool in empty)
        if self._unrouted is None:
            self._unrouted = trio.current_time()
        routing = sorted(n for n, d in self._daemons.view().items() if d.alive and d.report and d.report.routes)
        left = self._unrouted + ROUTES_SECONDS - trio.current_time()
        if routing and left > 0:
            self.message = f"waits for host routes to go, at most {ROUTES_SECONDS:g} s: {name_some(routing)}"
            return min(left, LOOK_SECONDS)
        selector = ",".join(f"{name}={value}" for name, value in MANAGED.items())
        for daemonset in await kube.list(DAEMONSETS, namespace=namespace, label_selector=selector):
            await kube.delete(DAEMONSETS, daemonset.name, namespace, uid=daemonset.metadata.uid)
            logger.info("DaemonSet deleted with its Config", extra={"daemonset": daemonset.name})
        self.message, self._unrouted = "", None
        return None

    async def _listed(self, resource: Resource[M], store: Store[M], *, patient: bool) -> list[M]:
        """All objects of a kind; without those that cannot be read once there is no time left to mend them.

        Raises:
            ApiError: the API did not answer, or an object cannot be read and there is time.
        """
        try:
            return await self._world.kube.list(resource)
        except ApiError as error:
            if patient or error.api_reason != UNREADABLE:
                raise
            return store.list()

    def _waited(self, config: Config) -> float:
        """Seconds since the deletion, by whichever clock says more, so that neither can make it endless."""
        uid, now = config.metadata.uid, trio.current_time()
        if self._begun[0] != uid:
            self._begun = uid, now
        try:
            since = datetime.fromisoformat(config.metadata.deletion_timestamp or "")
            by_wall = (self._world.now() - since).total_seconds()
        except ValueError:
            by_wall = 0.0
        return max(now - self._begun[1], by_wall)
