"""Tombstones: DELs that came while no daemon was there, honoured at start.

The executable leaves the bytes of the request as a file in ``tombstones`` beside the socket. Each is replayed as the
DEL that it is and removed when that has succeeded; until then :mod:`multinic_daemon.recovery.sweep` tries again. One
that is older than the attachment it names was meant for an
earlier attachment of that name and is dropped.
"""

from __future__ import annotations

import logging
from pathlib import Path

import trio

from multinic_core.errors import InvocationError, MultinicError
from multinic_core.plan import PodReference
from multinic_daemon import crashpoints
from multinic_daemon.calls.request import LIMIT, parse_request
from multinic_daemon.engine import Engine
from multinic_daemon.engine.invocation import read_key, read_pod
from multinic_daemon.engine.takenover import delete_any
from multinic_daemon.journal.journal import AttachmentKey

log = logging.getLogger(__name__)

FOLDER = "tombstones"
NO_ROW = 0
"""No row has this id."""


async def replay(engine: Engine, folder: Path) -> int:
    """Replay every tombstone; how many are left because the kernel refused. A missing folder holds none."""
    refused: list[tuple[Path, MultinicError]] = []

    async def one(file: Path) -> None:
        try:
            await honour(engine, file)
        except MultinicError as error:
            refused.append((file, error))
            engine.leftovers.add(file)

    async with trio.open_nursery() as nursery:
        for file in _files(folder):
            nursery.start_soon(one, file)
    for file, error in refused:
        log.error("tombstone not honoured yet, will retry", extra={"file": str(file), "cause": str(error)})
    return len(refused)


def _files(folder: Path) -> list[Path]:
    """The finished ones; a leading dot marks one that the executable is still writing."""
    return sorted(file for file in folder.iterdir() if not file.name.startswith(".")) if folder.is_dir() else []


def _read(file: Path) -> tuple[AttachmentKey, str, PodReference, float]:
    """What a tombstone names, its namespace and pod, and when it was written, in seconds since the epoch.

    Raises:
        MultinicError: no executable of ours wrote it, or it names no attachment.
    """
    written = file.stat().st_mtime
    with file.open("rb") as opened:
        frame = opened.read(LIMIT + 1)
    request = parse_request(frame)
    if request.command != "DEL" or len(frame) > LIMIT:
        raise InvocationError(f"found {request.command} of {len(frame)} bytes, expected a DEL")
    return read_key(request), request.netns, read_pod(request), written


async def honour(engine: Engine, file: Path) -> None:
    """Replay one and remove it; nothing to do where it is gone.

    Raises:
        MultinicError: it could not be done, and is kept.
    """
    fields = {"file": str(file)}
    try:
        key, netns, pod, written = _read(file)
    except FileNotFoundError:
        return  # honoured by another replay: there is one when calls are answered, and one when the node is known
    except MultinicError as error:
        log.warning("tombstone removed, it names no attachment", extra={**fields, "cause": str(error)})
    else:
        record = engine.journal.find(key)
        if record is not None and record.created > written:
            log.warning("tombstone removed, older than the attachment", extra={**fields, "ifname": key.ifname})
        else:
            # an ADD that comes while this one waits for its turn makes a row of its own
            await delete_any(engine, key, netns, pod, only=record.id if record is not None else NO_ROW)
            crashpoints.reached("tombstone.honoured")
            log.info("tombstone honoured", extra={"container_id": key.container_id, "ifname": key.ifname})
    file.unlink(missing_ok=True)  # noqa: ASYNC240  # of a tmpfs, before any call is answered
