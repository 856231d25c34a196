"""Asking what an attachment would be: the node's own daemon, which knows best."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multinic_core.errors import DaemonUnavailableError
from multinic_daemon.calls.client import exchange
from multinic_daemon.calls.request import PLAN, CniRequest

ANSWER_SECONDS = 30.0


def plan_request(ifname: str, cni_args: str, netconf: Mapping[str, Any], labels: Mapping[str, str]) -> CniRequest:
    """The question about one network of a pod; no container has this id."""
    document = {"netconf": netconf, "labels": dict(labels)}
    return CniRequest("multi-nic", PLAN, "plan", "", ifname, cni_args, "", json.dumps(document).encode())


def ask_daemon(path: Path, request: CniRequest) -> dict[str, Any]:
    """The answer of the daemon at a socket.

    Raises:
        DaemonUnavailableError: nobody answers there, or not to this.
    """
    try:
        reply = exchange(path, request, ANSWER_SECONDS)
    except OSError as error:
        raise DaemonUnavailableError(
            f"daemon at {str(path)!r}: {error}; expected to run on its node as root"
        ) from error
    try:
        document: dict[str, Any] = json.loads(reply.body)
    except ValueError as error:
        raise DaemonUnavailableError(f"daemon at {str(path)!r}: answered {reply.body[:80]!r}") from error
    if reply.status:
        raise DaemonUnavailableError(f"daemon at {str(path)!r}: {document.get('msg')}")
    return document
