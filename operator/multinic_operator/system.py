"""The namespace that the daemons' Leases live in: made when it is missing."""

from __future__ import annotations

import logging

from multinic_core.errors import ApiError
from multinic_core.model import NAMESPACES, Namespace, ObjectMeta
from multinic_operator.world import World

logger = logging.getLogger(__name__)


class SystemNamespace:
    """Reconciles one namespace, by its name."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def reconcile(self, name: str) -> float | None:
        """Have the namespace.

        Raises:
            ApiError: it could not be made.
        """
        if name != self._world.namespace or self._world.namespaces.get(name) is not None:
            return None
        try:
            await self._world.kube.create(
                NAMESPACES, Namespace(api_version="v1", kind="Namespace", metadata=ObjectMeta(name=name))
            )
        except ApiError as error:
            if error.api_reason != "AlreadyExists":
                raise
        else:
            logger.info("namespace made", extra={"namespace": name})
        return None
