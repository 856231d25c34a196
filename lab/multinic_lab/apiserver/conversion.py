"""One stored object in another version or group.

Versions of a CRD differ in apiVersion alone (conversion strategy None). Events are one set of objects under two groups,
with other names for the same fields; they are kept in the core form.
Source: Kubernetes API reference, Event v1 core and Event v1 events.k8s.io.
"""

from typing import Any

Json = dict[str, Any]

_EVENT_FIELDS = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
"""Core name of each Event field to its name in events.k8s.io."""
_TO_CORE = {new: core for core, new in _EVENT_FIELDS.items()}
_NEW_GROUP = "events.k8s.io/"


def convert(obj: Json, api_version: str) -> Json:
    """The object as ``api_version`` shows it; the argument stays as it is and may be the answer."""
    own = obj["apiVersion"]
    if own == api_version:
        return obj
    converted = {**obj, "apiVersion": api_version}
    if obj["kind"] != "Event" or own.startswith(_NEW_GROUP) is api_version.startswith(_NEW_GROUP):
        return converted
    names = _TO_CORE if own.startswith(_NEW_GROUP) else _EVENT_FIELDS
    return {names.get(name, name): value for name, value in converted.items()}


def core_event_field(path: str) -> str:
    """The core name of an events.k8s.io field path."""
    head, dot, rest = path.partition(".")
    return _TO_CORE.get(head, head) + dot + rest
