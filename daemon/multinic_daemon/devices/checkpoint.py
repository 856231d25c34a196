"""The checkpoint file of the kubelet's device manager: who was given what, kept for the kubelet's own restart.

It is the kubelet's private file. Its entries name pods by UID only and know nothing of processors. Two shapes are
known, and everything else is refused rather than half understood: ``DeviceIDs`` is a list (Kubernetes before 1.20), or
it maps NUMA nodes to lists, with -1 for devices that have none. The checksum covers Go's own print of its structures
and cannot be computed here; the kubelet replaces the file in one piece, so it is never read half written. Source:
k8s.io/kubernetes/pkg/kubelet/cm/devicemanager/checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from multinic_core.plan import PodReference
from multinic_daemon.devices.given import GivenDevice, PodDevices, merged

_ENTRY = {"PodUID": str, "ContainerName": str, "ResourceName": str}


class CheckpointError(Exception):
    """The file is away or has a shape that is not known; the text says what was found where."""


def read_checkpoint(path: Path) -> dict[str, PodDevices]:
    """Pod UID to what the pod was given; init containers and containers count alike. Blocks.

    Raises:
        CheckpointError: there is no such file, or it is not understood as a whole.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{str(path)!r}: {error}") from error
    try:
        return _pods(json.loads(text))
    except (CheckpointError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{str(path)!r}: {error}") from error


def _pods(file: Any) -> dict[str, PodDevices]:
    data = _member(file, "Data", dict, "")
    # Go writes null for a list that was never filled
    entries = data.get("PodDeviceEntries")
    if "PodDeviceEntries" not in data or not isinstance(entries, list | None):
        raise CheckpointError(f"Data.PodDeviceEntries: found {_short(data)}, expected a list of entries")
    parts: dict[str, list[GivenDevice]] = {}
    for position, entry in enumerate(entries or ()):
        where = f"Data.PodDeviceEntries[{position}]"
        uid, container, resource = (_member(entry, name, kind, where) for name, kind in _ENTRY.items())
        for id_, nodes in _ids(_member(entry, "DeviceIDs", object, where), f"{where}.DeviceIDs"):
            parts.setdefault(uid, []).append(GivenDevice(resource, id_, container, nodes))
    return {uid: merged(PodReference(uid=uid), given) for uid, given in parts.items()}


def _ids(found: Any, where: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    if isinstance(found, dict):
        for key, ids in found.items():
            node = _node(key, where)
            yield from ((id_, (node,) if node >= 0 else ()) for id_ in _texts(ids, f"{where}[{key!r}]"))
    else:
        yield from ((id_, ()) for id_ in _texts(found, where))


def _node(key: str, where: str) -> int:
    try:
        return int(key)
    except ValueError as error:
        raise CheckpointError(f"{where}: found key {key!r}, expected the number of a NUMA node") from error


def _texts(found: Any, where: str) -> list[str]:
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise CheckpointError(f"{where}: found {_short(found)}, expected a list of device ids, or lists by NUMA node")
    return found


def _member(found: Any, name: str, kind: type, where: str) -> Any:
    path = f"{where}.{name}" if where else name
    if not isinstance(found, dict) or name not in found:
        raise CheckpointError(f"{path}: found {_short(found)}, expected an object with {name!r}")
    if not isinstance(found[name], kind):
        raise CheckpointError(f"{path}: found {_short(found[name])}, expected a value of type {kind.__name__}")
    return found[name]


def _short(found: Any) -> str:
    """A value as an error can name it: its kind where it is long."""
    text = repr(found)
    return text if len(text) <= 60 else f"{type(found).__name__} with {len(found)} members"
