"""The webhook's certificates in the cluster: one Secret for all replicas, trusted by the configuration."""

from __future__ import annotations

from base64 import b64decode
from datetime import timedelta
from typing import Any

import trio
from multinic_operator.webhook.certificates import AUTHORITY_LIFE, LIFE, SETTLE
from multinic_operator.webhook.keeping import Keeper, called_names
from multinic_operator.world import World

from multinic_core.model import SECRETS, SYSTEM_NAMESPACE, WEBHOOK_CONFIGURATIONS, WebhookConfiguration


def keeper(cluster: Any) -> Keeper:
    world = World.watch(cluster.kube, cluster.registry, now=cluster.now)
    return Keeper(world, secret="hook", configuration="multinic", names=["hook.svc"])


def configure(cluster: Any, **client: Any) -> None:
    webhooks = [{"name": "a", "clientConfig": client, "timeoutSeconds": 3}, {"name": "b", "clientConfig": client}]
    cluster.kube.seed(WEBHOOK_CONFIGURATIONS, {"metadata": {"name": "multinic"}, "webhooks": webhooks})


async def trusted(cluster: Any) -> set[str]:
    found = await cluster.kube.get(WEBHOOK_CONFIGURATIONS, "multinic")
    return {b64decode(webhook["clientConfig"].get("caBundle", "")).decode() for webhook in found.webhooks}


async def test_a_secret_is_made_and_its_authority_trusted(cluster: Any, autojump_clock: Any) -> None:
    """All webhooks of the configuration get it, and keep whatever else they say."""
    configure(cluster, url="https://192.0.2.9:8443/x")
    bundle = await keeper(cluster).keep()
    assert await trusted(cluster) == {"".join(bundle.authorities)}
    found = await cluster.kube.get(WEBHOOK_CONFIGURATIONS, "multinic")
    assert found.webhooks[0]["timeoutSeconds"] == 3
    assert found.webhooks[0]["clientConfig"]["url"] == "https://192.0.2.9:8443/x"
    secret = await cluster.kube.get(SECRETS, "hook", SYSTEM_NAMESPACE)
    assert (secret.type, sorted(secret.data)) == ("kubernetes.io/tls", ["ca.crt", "ca.key", "tls.crt", "tls.key"])


async def test_a_second_look_writes_nothing(cluster: Any, autojump_clock: Any) -> None:
    """Nor does another replica, which serves with the same certificate."""
    configure(cluster, url="https://192.0.2.9:8443/x")
    bundle = await keeper(cluster).keep()
    writes = len(cluster.kube.writes)
    assert await keeper(cluster).keep() == bundle
    assert len(cluster.kube.writes) == writes


async def test_without_a_configuration_there_is_a_secret_all_the_same(cluster: Any, autojump_clock: Any) -> None:
    """It may be applied later, and is then filled in."""
    bundle = await keeper(cluster).keep()
    configure(cluster, service={"name": "hook", "namespace": "here"})
    later = await keeper(cluster).keep()
    assert later.authorities == bundle.authorities
    assert await trusted(cluster) == {"".join(bundle.authorities)}


async def test_replicas_that_begin_at_once_agree(cluster: Any, autojump_clock: Any) -> None:
    """One makes the Secret, the other takes it."""
    configure(cluster, url="https://192.0.2.9/")
    found = []

    async def begin() -> None:
        found.append(await keeper(cluster).keep())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(begin)
    assert len(set(found)) == 1
    assert cluster.kube.count("create", SECRETS) == 1


async def test_replicas_that_renew_at_once_agree(cluster: Any, autojump_clock: Any) -> None:
    """Who comes second finds nothing due any more in what it reads again."""
    bundle = await keeper(cluster).keep()
    await trio.sleep((LIFE * 0.7).total_seconds())
    found = []

    async def renew() -> None:
        found.append(await keeper(cluster).keep())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(renew)
    assert len(set(found)) == 1
    assert found[0].certificate != bundle.certificate
    assert cluster.kube.count("update", SECRETS) == 1


async def test_a_change_of_authority_reaches_the_configuration_first(cluster: Any, autojump_clock: Any) -> None:
    """Both authorities are trusted while the old one's certificate still serves."""
    configure(cluster, url="https://192.0.2.9/")
    one = keeper(cluster)
    await one.keep()
    await trio.sleep((AUTHORITY_LIFE * 0.67).total_seconds())
    both = await one.keep()
    assert len(both.authorities) == 2
    assert await trusted(cluster) == {"".join(both.authorities)}
    await trio.sleep((SETTLE + timedelta(seconds=1)).total_seconds())
    signed = await one.keep()
    assert (signed.authorities, signed.certificate != both.certificate) == (both.authorities, True)


async def test_a_secret_that_cannot_be_read_is_replaced(cluster: Any, autojump_clock: Any) -> None:
    """Somebody's mistake does not stop the webhook for ever."""
    body = {
        "metadata": {"name": "hook", "namespace": SYSTEM_NAMESPACE},
        "data": {"tls.crt": "bm9uZQ==", "note": "eA=="},
    }
    cluster.kube.seed(SECRETS, body)
    bundle = await keeper(cluster).keep()
    secret = await cluster.kube.get(SECRETS, "hook", SYSTEM_NAMESPACE)
    assert b64decode(secret.data["tls.crt"]).decode() == bundle.certificate
    assert secret.data["note"] == "eA=="


def test_the_names_that_are_called_stand_in_the_configuration() -> None:
    """Those of Services and the hosts of URLs."""
    clients: list[dict[str, Any]] = [
        {"service": {"name": "hook", "namespace": "here"}},
        {"url": "https://[fd00::1]:9443/path"},
        {},
    ]
    webhooks = [{"name": "x", "clientConfig": client} for client in clients]
    assert called_names(WebhookConfiguration(webhooks=webhooks)) == {"hook.here.svc", "fd00::1"}
