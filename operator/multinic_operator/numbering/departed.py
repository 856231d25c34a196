"""The indexes of nodes that have left: one ConfigMap, so that a node that comes back finds its blocks.

A record is written before the node's HostInterface is deleted, many nodes at a time. It is forgotten after the
retention time, when its index is needed and no other is free, oldest first, or when the ConfigMap would grow too large.
Losing the ConfigMap moves nothing that is in use: whoever is there has its index in its own object.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from pydantic import Field, TypeAdapter, ValidationError

from multinic_core.errors import ApiError
from multinic_core.model import CONFIG_MAPS, ConfigMap, IndexClaim, JsonModel, ObjectMeta
from multinic_core.ports import Kubernetes

logger = logging.getLogger(__name__)

INDEXES_NAME = "multinic-indexes"
"""Name of the ConfigMap, in the operator's namespace."""
DATA_KEY = "departed"
NONE = "[]"
BYTES = 90_000
"""Most bytes of records; the oldest are forgotten beyond it."""


class Departure(JsonModel):
    """What one node held when it left."""

    node: str
    host_index: int = Field(ge=0)
    exceptions: list[IndexClaim] | None = None
    left: str
    """RFC 3339 time."""

    @property
    def indexes(self) -> set[int]:
        """All that it held."""
        return {self.host_index} | {c.host_index for c in self.exceptions or () if c.host_index is not None}

    def expired(self, now: datetime, retention_seconds: float) -> bool:
        """Whether the retention time has passed; a time that cannot be read has."""
        try:
            return now - datetime.fromisoformat(self.left) > timedelta(seconds=retention_seconds)
        except (ValueError, TypeError):
            return True


RECORDS = TypeAdapter(list[Departure])


def encode_departed(departures: Iterable[Departure]) -> str:
    """The records as JSON, oldest first, without the oldest ones that would not fit."""
    size, texts = 2, []
    for departure in sorted(departures, key=lambda d: (d.left, d.node), reverse=True):
        text = json.dumps(departure.to_json(), separators=(",", ":"))
        size += len(text.encode()) + 1
        if size > BYTES:
            break
        texts.append(text)
    return f"[{','.join(reversed(texts))}]"


def decode_departed(text: str) -> list[Departure]:
    """The records in the order written; none when the text cannot be read."""
    try:
        return RECORDS.validate_json(text)
    except ValidationError as error:
        logger.warning("indexes of nodes that left cannot be read", extra={"error": str(error)})
        return []


async def read_departed(kube: Kubernetes, namespace: str) -> str:
    """The records that are there, as JSON; of none when there is no ConfigMap.

    Raises:
        ApiError: it could not be read.
    """
    try:
        found = await kube.get(CONFIG_MAPS, INDEXES_NAME, namespace)
    except ApiError as error:
        if error.status != 404:
            raise
        return NONE
    return (found.data or {}).get(DATA_KEY, NONE)


async def write_departed(kube: Kubernetes, namespace: str, text: str) -> None:
    """Have exactly these records there.

    Raises:
        ApiError: they could not be written.
    """
    data = {DATA_KEY: text}
    try:
        await kube.patch(CONFIG_MAPS, INDEXES_NAME, {"data": data}, namespace=namespace)
    except ApiError as error:
        if error.status != 404:
            raise
        await kube.create(
            CONFIG_MAPS, ConfigMap(metadata=ObjectMeta(name=INDEXES_NAME, namespace=namespace), data=data)
        )
