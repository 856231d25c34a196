"""Reading the protobuf bodies that kubectl's typed commands send (``create namespace``, ``create configmap``, …).

Kubernetes' own clients post built-in kinds as protobuf and do not fall back when refused. Only reading is done
here, and only of the messages in ``MESSAGES``; answers are always JSON, which those clients accept. A field that is
not in the table refuses the whole body, so that nothing is lost in silence.
Source: the field numbers of the published Kubernetes API (generated.proto); protobuf encoding documentation.
"""

from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from .errors import ApiError, Json, bad_request

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"

MESSAGES: dict[str, str] = {
    "ObjectMeta": "1 name, 2 generateName, 3 namespace, 4 selfLink, 5 uid, 6 resourceVersion, 7 generation:int, "
    "8 creationTimestamp:Time, 9 deletionTimestamp:Time, 10 deletionGracePeriodSeconds:int, 11 labels:map, "
    "12 annotations:map, 13 ownerReferences:[OwnerReference], 14 finalizers:[str]",
    "OwnerReference": "1 kind, 3 name, 4 uid, 5 apiVersion, 6 controller:bool, 7 blockOwnerDeletion:bool",
    "Namespace": "1 metadata:ObjectMeta, 2 spec:NamespaceSpec, 3 status:NamespaceStatus",
    "NamespaceSpec": "1 finalizers:[str]",
    "NamespaceStatus": "1 phase",
    "ConfigMap": "1 metadata:ObjectMeta, 2 data:map, 3 binaryData:bytesmap, 4 immutable:bool",
    "Secret": "1 metadata:ObjectMeta, 2 data:bytesmap, 3 type, 4 stringData:map, 5 immutable:bool",
    "ServiceAccount": "1 metadata:ObjectMeta, 2 secrets:[ObjectReference], 3 imagePullSecrets:[LocalObjectReference], "
    "4 automountServiceAccountToken:bool",
    "ObjectReference": "1 kind, 2 namespace, 3 name, 4 uid, 5 apiVersion, 6 resourceVersion, 7 fieldPath",
    "LocalObjectReference": "1 name",
    "Event": "1 metadata:ObjectMeta, 2 involvedObject:ObjectReference, 3 reason, 4 message, 5 source:EventSource, "
    "6 firstTimestamp:Time, 7 lastTimestamp:Time, 8 count:int, 9 type, 10 eventTime:Time, 12 action, "
    "13 related:ObjectReference, 14 reportingComponent, 15 reportingInstance",
    "EventSource": "1 component, 2 host",
    "Binding": "1 metadata:ObjectMeta, 2 target:ObjectReference",
    "Eviction": "1 metadata:ObjectMeta, 2 deleteOptions:DeleteOptions",
    "DeleteOptions": "1 gracePeriodSeconds:int, 2 preconditions:Preconditions, 3 orphanDependents:bool, "
    "4 propagationPolicy, 5 dryRun:[str]",
    "Preconditions": "1 uid, 2 resourceVersion",
    "Lease": "1 metadata:ObjectMeta, 2 spec:LeaseSpec",
    "LeaseSpec": "1 holderIdentity, 2 leaseDurationSeconds:int, 3 acquireTime:Time, 4 renewTime:Time, "
    "5 leaseTransitions:int",
    "Role": "1 metadata:ObjectMeta, 2 rules:[PolicyRule]",
    "ClusterRole": "1 metadata:ObjectMeta, 2 rules:[PolicyRule]",
    "PolicyRule": "1 verbs:[str], 2 apiGroups:[str], 3 resources:[str], 4 resourceNames:[str], 5 nonResourceURLs:[str]",
    "RoleBinding": "1 metadata:ObjectMeta, 2 subjects:[Subject], 3 roleRef:RoleRef",
    "ClusterRoleBinding": "1 metadata:ObjectMeta, 2 subjects:[Subject], 3 roleRef:RoleRef",
    "Subject": "1 kind, 2 apiGroup, 3 name, 4 namespace",
    "RoleRef": "1 apiGroup, 2 kind, 3 name",
    "Scale": "1 metadata:ObjectMeta, 2 spec:ScaleSpec, 3 status:ScaleStatus",
    "ScaleSpec": "1 replicas:int",
    "ScaleStatus": "1 replicas:int, 2 selector",
    "PriorityClass": "1 metadata:ObjectMeta, 2 value:int, 3 globalDefault:bool, 4 description, 5 preemptionPolicy",
    "Deployment": "1 metadata:ObjectMeta, 2 spec:DeploymentSpec, 3 status:Ignored",
    "DeploymentSpec": "1 replicas:int, 2 selector:LabelSelector, 3 template:PodTemplateSpec, "
    "4 strategy:DeploymentStrategy, 5 minReadySeconds:int, 6 revisionHistoryLimit:int, 7 paused:bool, "
    "9 progressDeadlineSeconds:int",
    "DeploymentStrategy": "1 type",
    "Job": "1 metadata:ObjectMeta, 2 spec:JobSpec, 3 status:Ignored",
    "JobSpec": "1 parallelism:int, 2 completions:int, 3 activeDeadlineSeconds:int, 4 selector:LabelSelector, "
    "5 manualSelector:bool, 6 template:PodTemplateSpec, 7 backoffLimit:int, 8 ttlSecondsAfterFinished:int",
    "LabelSelector": "1 matchLabels:map",
    "PodTemplateSpec": "1 metadata:ObjectMeta, 2 spec:PodSpec",
    "PodSpec": "2 containers:[Container], 3 restartPolicy, 4 terminationGracePeriodSeconds:int, 6 dnsPolicy, "
    "7 nodeSelector:map, 8 serviceAccountName, 9 serviceAccount, "
    "10 nodeName, 11 hostNetwork:bool, 12 hostPID:bool, 13 hostIPC:bool, "
    "14 securityContext:Empty, 16 hostname, 17 subdomain, 19 schedulerName, 24 priorityClassName",
    "Container": "1 name, 2 image, 3 command:[str], 4 args:[str], 5 workingDir, 6 ports:[ContainerPort], "
    "7 env:[EnvVar], 8 resources:Empty, 13 terminationMessagePath, 14 imagePullPolicy, 16 stdin:bool, "
    "17 stdinOnce:bool, 18 tty:bool, 20 terminationMessagePolicy",
    "ContainerPort": "1 name, 2 hostPort:int, 3 containerPort:int, 4 protocol, 5 hostIP",
    "EnvVar": "1 name, 2 value",
    "Empty": "",
    "SelfSubjectAccessReview": "1 metadata:ObjectMeta, 2 spec:AccessReviewSpec, 3 status:AccessReviewStatus",
    "AccessReviewSpec": "1 resourceAttributes:ResourceAttributes, 2 nonResourceAttributes:NonResourceAttributes",
    "ResourceAttributes": "1 namespace, 2 verb, 3 group, 4 version, 5 resource, 6 subresource, 7 name, "
    "8 fieldSelector:Ignored, 9 labelSelector:Ignored",
    "NonResourceAttributes": "1 path, 2 verb",
    "AccessReviewStatus": "1 allowed:bool, 2 reason, 3 evaluationError, 4 denied:bool",
    "SelfSubjectRulesReview": "1 metadata:ObjectMeta, 2 spec:RulesReviewSpec, 3 status:Ignored",
    "RulesReviewSpec": "1 namespace",
    "SelfSubjectReview": "1 metadata:ObjectMeta, 2 status:Ignored",
}
"""Message name to its fields: number, JSON name, and type (string when none is given; ``[T]`` repeated)."""

_ZERO_COUNTS = frozenset({"replicas", "gracePeriodSeconds", "value", "parallelism", "completions", "backoffLimit"})
"""Numbers whose zero means something; other zeros and empty strings are fields that were not set."""
_Field = tuple[str, str, bool]
_tables: dict[str, dict[int, _Field]] = {}


def _table(message: str) -> dict[int, _Field]:
    if message not in _tables:
        rows: dict[int, _Field] = {}
        for part in filter(None, MESSAGES[message].split(", ")):
            number, _, rest = part.partition(" ")
            name, _, kind = rest.partition(":")
            repeated = kind.startswith("[")
            rows[int(number)] = (name, kind.strip("[]") or "str", repeated)
        _tables[message] = rows
    return _tables[message]


class BodyError(ValueError):
    """A body that is not the protobuf it should be."""


def decode(body: bytes) -> Json:
    """The JSON form of a Kubernetes protobuf body.

    Raises:
        ApiError: 400 when it is broken, 415 for a kind or field that is not in the table.
    """
    if not body.startswith(MAGIC):
        raise bad_request("protobuf: the body does not begin as Kubernetes protobuf does")
    try:
        envelope = dict(_fields(body[4:]))
        kind_fields = dict(_fields(bytes(envelope.get(1, b""))))
        api_version, kind = (bytes(kind_fields.get(n, b"")).decode() for n in (1, 2))
        if kind not in MESSAGES:
            raise ApiError(415, "UnsupportedMediaType", f"protobuf: kind {kind!r} is only accepted as application/json")
        obj = _message(kind, bytes(envelope.get(2, b"")))
    except (IndexError, UnicodeDecodeError, ValueError) as error:
        raise bad_request(f"protobuf: the body is broken: {error}") from error
    return {"apiVersion": api_version, "kind": kind, **obj}


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) in order: integers for varints, bytes for everything with a length."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        match tag & 7:
            case 0:
                value, position = _varint(data, position)
                yield tag >> 3, value
            case 2:
                size, position = _varint(data, position)
                if position + size > len(data):
                    raise ValueError("a field is longer than the body")
                yield tag >> 3, data[position : position + size]
                position += size
            case other:
                raise ValueError(f"wire type {other} is not used by Kubernetes")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _message(name: str, data: bytes) -> Json:
    table = _table(name)
    found: Json = {}
    for number, value in _fields(data):
        if number not in table:
            raise ApiError(
                415,
                "UnsupportedMediaType",
                f"protobuf: field {number} of {name} is only accepted as application/json",
            )
        field, kind, repeated = table[number]
        if kind in ("map", "bytesmap"):
            entry = dict(_fields(_bytes(value)))
            text = _bytes(entry.get(2, b""))
            shown = text.decode() if kind == "map" else b64encode(text).decode()
            found.setdefault(field, {})[_bytes(entry.get(1, b"")).decode()] = shown
            continue
        one = _value(kind, value)
        if repeated:
            found.setdefault(field, []).append(one)
        elif one not in (None, "", {}) and not (one in (0, False) and field not in _ZERO_COUNTS):
            found[field] = one
    return found


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise BodyError("a number where bytes belong")
    return value


def _value(kind: str, value: int | bytes) -> Any:
    match kind:
        case "int":
            if not isinstance(value, int):
                raise BodyError("bytes where a number belongs")
            return value - (1 << 64) if value >= 1 << 63 else value
        case "bool":
            return bool(value)
        case "str":
            return _bytes(value).decode()
        case "Ignored":
            return None
        case "Time":
            parts = dict(_fields(_bytes(value)))
            seconds = parts.get(1)
            if not isinstance(seconds, int):
                return None
            return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return _message(kind, _bytes(value))
