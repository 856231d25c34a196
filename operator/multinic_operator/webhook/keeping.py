"""The certificates in the cluster: one Secret that all replicas share, and their authority in the configuration.

Every replica looks from time to time, does what is due and takes what another one did. A write is based on what was
read, so of two replicas that renew at once one wins and the other takes the winner's.
"""

from __future__ import annotations

import logging
from base64 import b64decode, b64encode
from collections.abc import Collection
from urllib.parse import urlsplit

from multinic_core.errors import ApiError
from multinic_core.model import SECRETS, WEBHOOK_CONFIGURATIONS, ObjectMeta, Secret, WebhookConfiguration
from multinic_operator.webhook.certificates import Bundle, renewed, split_certificates
from multinic_operator.world import World

logger = logging.getLogger(__name__)

AUTHORITIES, AUTHORITY_KEY, CERTIFICATE, KEY = "ca.crt", "ca.key", "tls.crt", "tls.key"
"""Keys of the Secret; the last two are those of the type ``kubernetes.io/tls``."""


def read_bundle(secret: Secret) -> Bundle | None:
    """What the Secret holds; None when it cannot be read."""
    try:
        texts = {key: b64decode(value, validate=True).decode() for key, value in (secret.data or {}).items()}
        authorities = split_certificates(texts[AUTHORITIES])
        return Bundle(authorities, texts[AUTHORITY_KEY], texts[CERTIFICATE], texts[KEY])
    except (KeyError, ValueError):
        return None


def bundle_data(bundle: Bundle) -> dict[str, str]:
    """The bundle as the Secret holds it."""
    texts = {
        AUTHORITIES: "".join(bundle.authorities),
        AUTHORITY_KEY: bundle.authority_key,
        CERTIFICATE: bundle.certificate,
        KEY: bundle.key,
    }
    return {key: b64encode(text.encode()).decode() for key, text in texts.items()}


def called_names(configuration: WebhookConfiguration) -> set[str]:
    """The host names and addresses under which API servers call, as the configuration says."""
    found: set[str] = set()
    for webhook in configuration.webhooks:
        client = webhook.get("clientConfig") or {}
        if service := client.get("service"):
            found.add(f"{service.get('name')}.{service.get('namespace')}.svc")
        elif host := urlsplit(client.get("url") or "").hostname:
            found.add(host)
    return found


class Keeper:
    """Keeps Secret and configuration as they should be."""

    def __init__(self, world: World, *, secret: str, configuration: str, names: Collection[str]) -> None:
        self._world = world
        self._secret = secret
        self._configuration = configuration
        self._names = frozenset(names)

    async def keep(self) -> Bundle:
        """Do what is due; gives the bundle to serve with.

        Raises:
            ApiError: something could not be read or written; the next time goes on.
        """
        configuration = await self._read_configuration()
        bundle = await self._keep_secret(self._names | (called_names(configuration) if configuration else set()))
        if configuration is not None:
            await self._trust("".join(bundle.authorities))
        return bundle

    async def _read_configuration(self) -> WebhookConfiguration | None:
        try:
            return await self._world.kube.get(WEBHOOK_CONFIGURATIONS, self._configuration)
        except ApiError as error:
            if error.status != 404:
                raise
            return None  # nobody is to call yet

    async def _keep_secret(self, names: Collection[str]) -> Bundle:
        kube, namespace, now = self._world.kube, self._world.namespace, self._world.now()
        try:
            found = await kube.get(SECRETS, self._secret, namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            bundle = renewed(None, names, now)
            metadata = ObjectMeta(name=self._secret, namespace=namespace)
            body = Secret(metadata=metadata, type="kubernetes.io/tls", data=bundle_data(bundle))
            try:
                await kube.create(SECRETS, body)
            except ApiError as taken:
                if taken.api_reason != "AlreadyExists":
                    raise
                found = await kube.get(SECRETS, self._secret, namespace)
            else:
                logger.info("webhook certificate made", extra={"secret": self._secret})
                return bundle
        have = read_bundle(found)
        bundle = renewed(have, names, now)
        if bundle == have:
            return bundle

        def change(item: Secret) -> Secret:
            nonlocal bundle
            bundle = renewed(read_bundle(item), names, now)
            return item.model_copy(update={"data": {**(item.data or {}), **bundle_data(bundle)}})

        await kube.modify(SECRETS, self._secret, change, namespace=namespace)
        logger.info("webhook certificate renewed", extra={"secret": self._secret})
        return bundle

    async def _trust(self, authorities: str) -> None:
        """Have API servers trust exactly these authorities, by the configuration."""
        encoded = b64encode(authorities.encode()).decode()
        changed = False

        def change(item: WebhookConfiguration) -> WebhookConfiguration | None:
            nonlocal changed
            webhooks = [
                {**webhook, "clientConfig": {**(webhook.get("clientConfig") or {}), "caBundle": encoded}}
                for webhook in item.webhooks
            ]
            changed = webhooks != item.webhooks
            return item.model_copy(update={"webhooks": webhooks}) if changed else None

        await self._world.kube.modify(WEBHOOK_CONFIGURATIONS, self._configuration, change)
        if changed:
            logger.info("webhook authority written", extra={"configuration": self._configuration})
