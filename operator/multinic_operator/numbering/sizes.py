"""Whether a CIDR lists its nodes or is compact. Pure.

The API server and every watcher handle an object whole, so none may grow with the cluster. A list that would pass the
limit is left out; it comes back only when it would fill less than half, so that a node that comes and goes at the limit
does not turn the network over each time.
"""

from __future__ import annotations

import json

from multinic_core.model import CIDR

LIMIT_BYTES = 100_000
"""Most bytes of a CIDR as the API takes it."""
ROW_BYTES = 110
"""Fewer than any row of a list takes; so many rows alone pass a limit that nothing needs to be written out."""


def limit_bytes(was_compact: bool) -> int:
    """Up to how many bytes the list is kept, or comes back."""
    return LIMIT_BYTES // 2 if was_compact else LIMIT_BYTES


def surely_too_long(rows: int, was_compact: bool) -> bool:
    """Whether so many rows pass the limit whatever is in them."""
    return rows * ROW_BYTES > limit_bytes(was_compact)


def too_long(cidr: CIDR, was_compact: bool) -> bool:
    """Whether this object, with its list, passes the limit."""
    return len(json.dumps(cidr.to_json(), separators=(",", ":")).encode()) > limit_bytes(was_compact)
