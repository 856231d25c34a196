"""Events on networks and Configs: what went wrong and when it was well again, for ``kubectl describe``.

An Event's name is made from what it says, so saying the same twice is one Event. They are told on a best-effort basis:
a failure to write one is logged and stops nothing.
"""

from __future__ import annotations

import hashlib
import logging

from multinic_core.errors import ApiError
from multinic_core.model import EVENTS, Event, KubeObject, ObjectMeta
from multinic_operator.status.derive import timestamp
from multinic_operator.world import World

logger = logging.getLogger(__name__)

COMPONENT = "multinic-operator"
NAMESPACE = "default"
"""Events on cluster-scoped objects live here. Source: Kubernetes, events of nodes."""
MESSAGE_LENGTH = 1024
"""Most bytes of a message that the API takes. Source: Kubernetes, core event validation."""


async def tell(world: World, subject: KubeObject, kind: str, reason: str, message: str, *, since: str) -> None:
    """Write one Event.

    Args:
        kind: ``Normal`` or ``Warning``.
        since: start of the state it speaks of; the same state told again is the same Event.
    """
    text = "/".join((subject.metadata.uid or "", kind, reason, message, since))
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    now = timestamp(world.now())
    event = Event(
        metadata=ObjectMeta(name=f"{subject.name[:200]}.{digest}", namespace=NAMESPACE),
        involved_object={
            "apiVersion": subject.api_version,
            "kind": subject.kind,
            "name": subject.name,
            "uid": subject.metadata.uid,
        },
        reason=reason,
        message=message[:MESSAGE_LENGTH],
        type=kind,
        count=1,
        first_timestamp=now,
        last_timestamp=now,
        source={"component": COMPONENT},
        reporting_component=COMPONENT,
    )
    try:
        await world.kube.create(EVENTS, event)
    except ApiError as error:
        if error.api_reason != "AlreadyExists":
            logger.warning("event not written", extra={"object": subject.name, "reason": reason, "error": str(error)})
