"""Events on pods: why a policy could not be met, where people look who wait for a pod to start.

Told on a best-effort basis beside the answer to the runtime, never before it: a queue of a bounded length, of which the
oldest are kept. An Event's name is made from what it says, figures left out, so that a runtime that tries again every
few seconds makes a new one every few minutes, when the figures may have changed.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import trio

from multinic_core.errors import ApiError
from multinic_core.model import EVENTS, Event, ObjectMeta
from multinic_core.plan import PodReference
from multinic_core.ports import Kubernetes

log = logging.getLogger(__name__)

COMPONENT = "multinic-daemon"
MESSAGE_LENGTH = 1024
"""Most characters of a message that the API takes. Source: Kubernetes, core event validation."""
REPEAT_SECONDS = 300
"""An Event that differs in figures alone is written once in so long."""
WAITING = 256
"""Events that may wait; more are not told, the log has them."""

_FIGURE = re.compile(r"(?<![\w'.-])[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?( [GMK]?bit/s)?")
"""A number by itself, with its unit; not one in a name or a quoted word."""


@dataclass(frozen=True, slots=True)
class PodEvent:
    """What is to be told of one pod."""

    pod: PodReference
    reason: str
    """Such as ``PolicyNotMet``."""
    message: str


class PodEvents:
    """A queue of Events to write."""

    def __init__(self, kubernetes: Kubernetes, node: str, *, clock: Callable[[], float] = time.time) -> None:
        """``clock``: seconds since the epoch."""
        self._kubernetes = kubernetes
        self._clock = clock
        self._node = node
        self._send, self._receive = trio.open_memory_channel[PodEvent](WAITING)

    def tell(self, event: PodEvent) -> None:
        """Have an Event written soon; of a pod without a name, or when too many wait, nothing is told."""
        if not (event.pod.namespace and event.pod.name):
            return
        try:
            self._send.send_nowait(event)
        except trio.WouldBlock:
            log.warning("event not written, too many wait", extra=_fields(event))

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write what is to be told; never returns."""
        task_status.started()
        async for event in self._receive:
            try:
                await self._kubernetes.create(EVENTS, self._written(event))
            except ApiError as error:
                if error.api_reason != "AlreadyExists":
                    log.warning("event not written", extra={**_fields(event), "cause": str(error)})

    def _written(self, event: PodEvent) -> Event:
        pod = event.pod
        seconds = self._clock()
        said = (pod.uid or pod.name, event.reason, _FIGURE.sub("#", event.message), str(int(seconds // REPEAT_SECONDS)))
        digest = hashlib.sha256("/".join(said).encode()).hexdigest()[:16]
        now = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Event(
            metadata=ObjectMeta(name=f"{pod.name[:200].rstrip('-.')}.{digest}", namespace=pod.namespace),
            involved_object={
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": pod.namespace,
                "name": pod.name,
                "uid": pod.uid or None,
            },
            reason=event.reason,
            message=event.message[:MESSAGE_LENGTH],
            type="Warning",
            count=1,
            first_timestamp=now,
            last_timestamp=now,
            source={"component": COMPONENT, "host": self._node},
            reporting_component=COMPONENT,
            reporting_instance=self._node,
        )


def _fields(event: PodEvent) -> dict[str, str]:
    return {"pod": f"{event.pod.namespace}/{event.pod.name}", "reason": event.reason}
