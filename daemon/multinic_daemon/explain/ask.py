"""Asking what an attachment would be: the node's own daemon, which knows best."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multinic_core.errors import DaemonUnavailableError
from multinic_daemon.calls.request import LIMIT, PLAN, CniRequest, encode_request

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
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(path))
            connection.sendall(encode_request(request))
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(LIMIT, socket.MSG_WAITALL)
    except OSError as error:
        raise DaemonUnavailableError(
            f"daemon at {str(path)!r}: {error}; expected to run on its node as root"
        ) from error
    try:
        document: dict[str, Any] = json.loads(answer[1:])
    except ValueError as error:
        raise DaemonUnavailableError(f"daemon at {str(path)!r}: answered {answer[:80]!r}") from error
    if answer[:1] != b"0":
        raise DaemonUnavailableError(f"daemon at {str(path)!r}: {document.get('msg')}")
    return document
