"""CIDRs and pools made by the original carry finalizers that nobody else would remove; here they may go."""

from __future__ import annotations

from multinic_core.model import CIDRS, IPPOOLS
from multinic_operator.ownership import release
from multinic_operator.world import World


class LegacyFinalizers:
    """Reconciles CIDRs and IPPools that are being deleted, keyed ``<plural>/<name>``."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def reconcile(self, key: str) -> float | None:
        """Take the original's finalizers off.

        Raises:
            ApiError: the object changed meanwhile, or the write failed.
        """
        plural, _, name = key.partition("/")
        if plural == CIDRS.plural:
            if (cidr := self._world.cidrs.get(name)) is not None:
                await release(self._world.kube, CIDRS, cidr)
        elif (pool := self._world.pools.get(name)) is not None:
            await release(self._world.kube, IPPOOLS, pool)
        return None
