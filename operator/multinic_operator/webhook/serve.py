"""The webhook as a service of one process: certificates, TLS and answers wired together."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Collection

import trio

from multinic_core.errors import MultinicError
from multinic_core.model import SECRETS, WEBHOOK_CONFIGURATIONS
from multinic_core.ports import Key
from multinic_operator.dependents.kinds import ForeignKinds
from multinic_operator.validation.surroundings import Watch
from multinic_operator.webhook.certificates import Bundle
from multinic_operator.webhook.judging import Judging
from multinic_operator.webhook.keeping import Keeper
from multinic_operator.webhook.review import answer
from multinic_operator.webhook.server import serve_https, tls_context
from multinic_operator.world import World

logger = logging.getLogger(__name__)

SERVICE = "multinic-webhook"
"""Of the Service, and of the Secret that holds its certificates."""
CONFIGURATION = "multinic"
"""Of the ValidatingWebhookConfiguration."""
LOOK_SECONDS = 600.0
"""How often it is looked whether certificates are due; changes of Secret and configuration are seen at once."""
GATHER_SECONDS = 0.1
RETRY_SECONDS = 5.0


class _Bell:
    """An event that can be waited for again and again."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self, key: Key | None = None) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()

    def reset(self) -> None:
        self._event = trio.Event()


async def serve_webhook(
    world: World,
    around: Watch,
    foreign: ForeignKinds | None = None,
    *,
    host: str = "",
    port: int,
    names: Collection[str] = (),
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer the API server until cancelled; ``started`` gets the port once TLS can be served.

    The stores of ``world`` are filled by somebody else. Until they are complete every network is let through.

    Args:
        foreign: kinds of others, as far as they are followed here.
        host: address to listen on; "" for all.
        port: 0 takes a free one.
        names: host names and addresses of the certificate, beside the Service's and those in the configuration.

    Raises:
        OSError: the address cannot be listened on.
    """
    service = f"{SERVICE}.{world.namespace}.svc"
    keeper = Keeper(
        world, secret=SERVICE, configuration=CONFIGURATION, names={service, f"{service}.cluster.local", *names}
    )
    judging = Judging(world, around, foreign)
    changed = _Bell()
    kube = world.kube
    kube.store(WEBHOOK_CONFIGURATIONS, field_selector=f"metadata.name={CONFIGURATION}").subscribe(changed.ring)
    kube.store(SECRETS, namespace=world.namespace, field_selector=f"metadata.name={SERVICE}").subscribe(changed.ring)
    listeners = await trio.open_tcp_listeners(port, host=host or None)
    taken: int = listeners[0].socket.getsockname()[1]
    bundle = await _first(keeper)
    context = tls_context(bundle)

    def current() -> ssl.SSLContext:
        return context

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_https, listeners, current, lambda body: answer(body, judging.judge))
        logger.info("webhook started", extra={"port": taken})
        task_status.started(taken)
        while True:
            with trio.move_on_after(LOOK_SECONDS):
                await changed.wait()
                await trio.sleep(GATHER_SECONDS)
            changed.reset()
            try:
                found = await keeper.keep()
            except MultinicError as error:
                logger.warning("webhook certificate not looked at, will retry", extra={"error": str(error)})
                changed.ring()
                await trio.sleep(RETRY_SECONDS)
                continue
            if found != bundle:
                bundle, context = found, tls_context(found)


async def _first(keeper: Keeper) -> Bundle:
    while True:
        try:
            return await keeper.keep()
        except MultinicError as error:
            logger.warning("webhook certificate not there yet, will retry", extra={"error": str(error)})
            await trio.sleep(RETRY_SECONDS)
