"""After a change of leader the local stores may lag behind what the last leader wrote; here they are waited for.

The nodes' objects carry indexes that are given out by looking at all of them, so a new leader that has not seen the
last one given would give it again. One fresh list says how far the store has to be.
"""

from __future__ import annotations

import logging

import trio

from multinic_core.errors import ApiError
from multinic_core.model import HOST_INTERFACES, HostInterface
from multinic_operator.world import World

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.05
RETRY_SECONDS = 1.0
UNREADABLE = "UnexpectedObject"
"""An object of the list does not fit its model."""
LIST_AGAIN_SECONDS = 5.0
"""What is not shown by then may have gone meanwhile."""


def _version(host: HostInterface) -> int:
    """The resourceVersion as a number, which it is on every server that orders its writes by one counter."""
    text = host.metadata.resource_version or ""
    return int(text) if text.isdecimal() else 0


async def caught_up(world: World) -> None:
    """Wait until the store shows every HostInterface at least as it is now."""
    while True:
        try:
            fresh = await world.kube.list(HOST_INTERFACES)
        except ApiError as error:
            if error.api_reason == UNREADABLE:
                await trio.sleep(LIST_AGAIN_SECONDS)  # far longer than a watch lags
                return
            logger.warning("nodes cannot be listed, will retry", extra={"cause": str(error)})
            await trio.sleep(error.retry_after_seconds or RETRY_SECONDS)
            continue
        with trio.move_on_after(LIST_AGAIN_SECONDS):
            await _shown(world, {host.name: _version(host) for host in fresh})
            return


async def _shown(world: World, versions: dict[str, int]) -> None:
    """Wait until the store shows these versions or later ones."""
    while versions := {  # noqa: ASYNC110 -- a store cannot be unsubscribed from, and this is needed once
        name: version
        for name, version in versions.items()
        if (seen := world.hosts.get(name)) is None or _version(seen) < version
    }:
        await trio.sleep(LOOK_SECONDS)
