"""This node's Lease: says that the daemon lives, and carries its report to the operator.

Renewed every ``RENEW_SECONDS`` on average, never in step with other nodes, and earlier when the report changes: within
the time that the cluster's size allows, so that a cause that all nodes have in common is no burst of writes. Only the
operator watches it, so a write costs one delivery however many nodes there are.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import trio

from multinic_core.errors import ApiError
from multinic_core.model import (
    LEASE_PREFIX,
    LEASE_SECONDS,
    LEASES,
    NODE_LABEL,
    NODES,
    RENEW_SECONDS,
    REPORT_ANNOTATION,
    SYSTEM_NAMESPACE,
)
from multinic_core.ports import Kubernetes
from multinic_daemon.report.report import Reporter

log = logging.getLogger(__name__)

SETTLE_SECONDS = 0.1
"""Changes of the report within this time of the first go out together."""
JITTER = 0.2
"""Each renewal comes up to this part of ``RENEW_SECONDS`` earlier or later."""
RETRY_SECONDS = 0.5
"""Pause after a write that failed, doubled up to ``RENEW_SECONDS`` while it goes on failing."""
FIELD_MANAGER = "multinic-daemon"


def utc_now() -> datetime:
    return datetime.now(UTC)


async def serve_lease(
    kubernetes: Kubernetes,
    node: str,
    reporter: Reporter,
    *,
    namespace: str = SYSTEM_NAMESPACE,
    now: Callable[[], datetime] = utc_now,
    chance: Callable[[], float] = random.random,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep the Lease of this node; never returns. ``started()`` is called at once.

    Args:
        chance: a new number from 0 to 1 at each call, by which this node differs from the others.
    """
    task_status.started()
    acquired = now()
    owners: list[dict[str, Any]] = []
    pause = RETRY_SECONDS
    while True:
        changed = reporter.changed
        try:
            owners = owners or await _find_owner(kubernetes, node)
            body = _lease(node, namespace, reporter, acquired, now(), owners)
            await kubernetes.patch(
                LEASES,
                body["metadata"]["name"],
                body,
                namespace=namespace,
                kind="apply",
                field_manager=FIELD_MANAGER,
            )
        except ApiError as error:
            if pause == RETRY_SECONDS:
                log.warning("Lease not renewed, will retry", extra={"node": node, "cause": str(error)})
            await trio.sleep(pause)
            pause = min(2 * pause, RENEW_SECONDS)
            continue
        if pause != RETRY_SECONDS:
            log.info("Lease renewed again", extra={"node": node})
            pause = RETRY_SECONDS
        with trio.move_on_after(RENEW_SECONDS * (1 + JITTER * (2 * chance() - 1))):
            await changed.wait()
            await trio.sleep(SETTLE_SECONDS + chance() * reporter.spread_seconds)


async def _find_owner(kubernetes: Kubernetes, node: str) -> list[dict[str, Any]]:
    """The Node object, so that the Lease goes with it; [] where a node has no such object."""
    try:
        uid = (await kubernetes.get(NODES, node)).metadata.uid
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        return []
    return [{"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}] if uid else []


def _lease(
    node: str, namespace: str, reporter: Reporter, acquired: datetime, renewed: datetime, owners: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "apiVersion": LEASES.api_version,
        "kind": LEASES.kind,
        "metadata": {
            "name": f"{LEASE_PREFIX}{node}",
            "namespace": namespace,
            "labels": {NODE_LABEL: node},
            "annotations": {REPORT_ANNOTATION: reporter.report().model_dump_json(by_alias=True, exclude_none=True)},
            "ownerReferences": owners,
        },
        "spec": {
            "holderIdentity": node,
            "leaseDurationSeconds": LEASE_SECONDS,
            "acquireTime": _micro_time(acquired),
            "renewTime": _micro_time(renewed),
        },
    }


def _micro_time(moment: datetime) -> str:
    """As Kubernetes' MicroTime: RFC 3339 with six decimals, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
