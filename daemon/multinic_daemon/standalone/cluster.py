"""A cluster of one network, for the engine: nothing in it ever changes, and it knows no API."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from multinic_core.errors import ConfigError
from multinic_core.model import CIDR, DeviceClass, IPPool, MultiNicNetwork


class OneNetwork:
    """Implements :class:`multinic_daemon.cluster.ClusterView`."""

    synced = True

    def __init__(self, network: MultiNicNetwork | None, pools: Sequence[IPPool] = (), problems: Sequence[str] = ()):
        """``network``: None for calls that need none; ``problems``: why this machine cannot serve it."""
        self._network = network
        self._pools = sorted(pools, key=lambda pool: pool.name)
        self._problems = problems

    async def ready(self) -> None:
        """At once."""

    async def network(self, name: str) -> MultiNicNetwork:
        self._require()
        if self._network is None or self._network.name != name:
            raise ConfigError(f"name: found {name!r}, expected that of the configuration")
        return self._network

    def pools(self, network: str) -> Sequence[IPPool]:
        self._require()
        return self._pools

    def invalid_pools(self, network: str) -> Sequence[str]:
        return ()

    def cidr(self, network: str) -> CIDR | None:
        return None

    def device_class(self, name: str) -> DeviceClass | None:
        return None

    async def resources(self, network: str, namespace: str) -> Sequence[str]:
        return ()

    async def pools_changed(self) -> None:
        await trio.sleep_forever()

    def _require(self) -> None:
        if self._problems:
            raise ConfigError(*self._problems)
