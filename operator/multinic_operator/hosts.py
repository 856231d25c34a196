"""HostInterfaces: written by the daemons, removed here when their node has gone for good."""

from __future__ import annotations

import logging

from multinic_core.errors import ApiError
from multinic_core.model import HOST_INTERFACES, NODES
from multinic_core.ports import Key
from multinic_operator.ownership import release
from multinic_operator.world import World

logger = logging.getLogger(__name__)


class Hosts:
    """Reconciles HostInterfaces, by node name."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def reconcile(self, name: str) -> float | None:
        """Delete the HostInterface of a node that no longer exists, unless it is unmanaged.

        Gone is proven by the store of Nodes and by the API's own "not found", never by another error: a store may be
        behind, and a daemon may be quicker than it.

        Raises:
            ApiError: the proof or the deletion failed otherwise.
        """
        world = self._world
        host = world.hosts.get(name)
        if host is None or await release(world.kube, HOST_INTERFACES, host):
            return None
        if host.unmanaged or host.metadata.deletion_timestamp is not None or self._node_known(name):
            return None
        try:
            await world.kube.get(NODES, name)
        except ApiError as error:
            if error.status != 404:
                raise
        else:
            return None
        await world.kube.delete(HOST_INTERFACES, name, uid=host.metadata.uid)
        logger.info("host interface deleted, its node is gone", extra={"node": name})
        return None

    def _node_known(self, name: str) -> bool:
        nodes = self._world.nodes
        return not nodes.synced or nodes.get(name) is not None or Key("", name) in nodes.invalid
