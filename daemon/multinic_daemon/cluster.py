"""What the engine knows of the cluster: networks, this node's pools and the blocks, all from watched objects.

Nothing here calls the API on the way of a pod, with one exception: a network that the watch has not brought yet is
fetched once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import trio

from multinic_core.errors import ApiError, ConfigError, DaemonUnavailableError
from multinic_core.model import (
    ATTACHMENT_DEFINITIONS,
    CIDR,
    CIDRS,
    DEVICE_CLASSES,
    GENERATED_LABEL,
    IPPOOLS,
    NETWORKS,
    RESOURCE_ANNOTATION,
    DeviceClass,
    IPPool,
    MultiNicNetwork,
    NetworkAttachmentDefinition,
)
from multinic_core.ports import Key, Kubernetes, Store
from multinic_daemon.pools.nodepools import NodePools

SYNC_SECONDS = 15.0
"""How long a call waits for the first complete lists."""
FETCH_SECONDS = 5.0
"""How long the one fetch of an unknown network may take."""


class ClusterView(Protocol):
    """The cluster as far as attaching pods needs it."""

    @property
    def synced(self) -> bool:
        """Whether first complete lists have arrived."""
        ...

    async def ready(self) -> None:
        """Wait for the first complete lists, for a bounded time.

        Raises:
            DaemonUnavailableError: they have not come.
        """
        ...

    async def network(self, name: str) -> MultiNicNetwork:
        """The network of this name.

        Raises:
            ConfigError: there is none, it does not fit its schema, or it is being deleted.
            DaemonUnavailableError: it is not known and the API cannot be asked.
        """
        ...

    def pools(self, network: str) -> Sequence[IPPool]:
        """This node's pools of a network, sorted by name; those being deleted are absent."""
        ...

    def invalid_pools(self, network: str) -> Sequence[str]:
        """What is wrong with pools that may be this network's, and what missing ones wait for, one sentence each."""
        ...

    def cidr(self, network: str) -> CIDR | None:
        """The blocks that the operator computed for a network, or None when it has not."""
        ...

    def device_class(self, name: str) -> DeviceClass | None:
        """The DeviceClass of this name, or None."""
        ...

    async def resources(self, network: str, namespace: str) -> Sequence[str]:
        """Names of the device plugin's resources that pods of this namespace have the network's devices from.

        Raises:
            DaemonUnavailableError: its attachment definition is not known and the API cannot be asked.
        """
        ...

    async def pools_changed(self) -> None:
        """Wait until a pool of this node changes."""
        ...


class Cluster:
    """The view over the stores of a Kubernetes port; filled while the port's ``serve`` runs."""

    def __init__(self, kubernetes: Kubernetes, node: str, pools: NodePools) -> None:
        self._kubernetes = kubernetes
        self._node = node
        self._networks = kubernetes.store(NETWORKS)
        self._pools = pools
        self._cidrs = kubernetes.store(CIDRS)
        self._classes = kubernetes.store(DEVICE_CLASSES)
        self._stores: dict[str, Store[Any] | NodePools] = {
            NETWORKS.plural: self._networks,
            IPPOOLS.plural: self._pools,
            CIDRS.plural: self._cidrs,
            DEVICE_CLASSES.plural: self._classes,
        }
        self._definitions: Store[NetworkAttachmentDefinition] | None = None
        self._changed = trio.Event()
        self._pools.subscribe(self._announce)

    @property
    def synced(self) -> bool:
        return all(store.synced for store in self._stores.values())

    async def ready(self) -> None:
        if self.synced:
            return
        with trio.move_on_after(SYNC_SECONDS):
            for store in self._stores.values():
                await store.wait_synced()
            return
        missing = [kind for kind, store in self._stores.items() if not store.synced]
        raise DaemonUnavailableError(
            f"daemon of node {self._node!r}: the Kubernetes API has not listed {', '.join(missing)} since it started;"
            " try again later"
        )

    async def network(self, name: str) -> MultiNicNetwork:
        network = self._networks.get(name)
        if network is None and (reason := self._networks.invalid.get(Key("", name))):
            raise ConfigError(f"MultiNicNetwork {name!r}: {reason}")
        network = network or await self._fetch(name)
        if network.metadata.deletion_timestamp:
            raise ConfigError(f"MultiNicNetwork {name!r}: is being deleted, no pod can be attached any more")
        return network

    async def _fetch(self, name: str) -> MultiNicNetwork:
        subject = f"MultiNicNetwork {name!r}: not known here"
        try:
            with trio.fail_after(FETCH_SECONDS):
                return await self._kubernetes.get(NETWORKS, name)
        except trio.TooSlowError as error:
            late = f"{subject}, and the API did not answer within {FETCH_SECONDS:g} seconds"
            raise DaemonUnavailableError(late) from error
        except ApiError as error:
            if error.status == 404:
                raise ConfigError(f"name: found {name!r}, expected the name of a MultiNicNetwork") from error
            raise DaemonUnavailableError(f"{subject}, and the API said: {error}") from error

    def pools(self, network: str) -> Sequence[IPPool]:
        return self._pools.of_network(network)

    def invalid_pools(self, network: str) -> Sequence[str]:
        return self._pools.problems(network)

    def cidr(self, network: str) -> CIDR | None:
        return self._cidrs.get(network)

    def device_class(self, name: str) -> DeviceClass | None:
        return self._classes.get(name)

    async def resources(self, network: str, namespace: str) -> Sequence[str]:
        # asked for by networks of devices alone: a node without such watches none of these objects
        if self._definitions is None:
            self._definitions = self._kubernetes.store(ATTACHMENT_DEFINITIONS, label_selector=f"{GENERATED_LABEL}=true")
        if not namespace:
            return ()  # the runtime does not say whose it is
        store = self._definitions
        # one that is not there may be too new for the watch: without it the pod would get another device than its own
        found = store.get(network, namespace) or await self._fetch_definition(network, namespace)
        names = (found.metadata.annotations or {}).get(RESOURCE_ANNOTATION, "") if found else ""
        return tuple(name.strip() for name in names.split(",") if name.strip())

    async def _fetch_definition(self, network: str, namespace: str) -> NetworkAttachmentDefinition | None:
        """The one that the watch has not brought yet; None where there is none, or where the API knows no such kind."""
        subject = f"network {network!r}: its NetworkAttachmentDefinition in {namespace!r} is not known here"
        try:
            with trio.fail_after(FETCH_SECONDS):
                return await self._kubernetes.get(ATTACHMENT_DEFINITIONS, network, namespace)
        except trio.TooSlowError as error:
            late = f"{subject}, and the API did not answer within {FETCH_SECONDS:g} seconds"
            raise DaemonUnavailableError(late) from error
        except ApiError as error:
            if error.status == 404:
                return None
            raise DaemonUnavailableError(f"{subject}, and the API said: {error}") from error

    async def pools_changed(self) -> None:
        await self._changed.wait()

    def _announce(self, _key: Key) -> None:
        self._changed.set()
        self._changed = trio.Event()
