"""Leaving a tombstone: the daemon does what the executable does when no daemon is there."""

from __future__ import annotations

import uuid
from pathlib import Path

from multinic_core.errors import DaemonUnavailableError
from multinic_daemon.calls.request import CniRequest, encode_request


def leave(folder: Path, request: CniRequest) -> Path:
    """Write a DEL down to be honoured later.

    Raises:
        DaemonUnavailableError: it cannot be written, so the runtime must ask again.
    """
    name = uuid.uuid4().hex
    unfinished, file = folder / f".{name}", folder / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished.write_bytes(encode_request(request))
        unfinished.rename(file)
    except OSError as error:
        raise DaemonUnavailableError(f"DEL: cannot be kept in {str(folder)!r}: {error}; try again later") from error
    return file
