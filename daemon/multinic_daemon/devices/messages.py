"""The messages of the kubelet's podresources service, version 1, as protobuf classes made from a description in Python.

Only what is read here is described; protobuf passes over the rest, so fields that later versions add do no harm. The
description has a pool of its own, in which no other package of the process can meet it. Source:
k8s.io/kubelet/pkg/apis/podresources/v1, api.proto.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "v1"
SERVICE = "v1.PodResourcesLister"

_TEXT, _NUMBER = FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_INT64

_MESSAGES: dict[str, dict[str, tuple[int, int | str, bool]]] = {
    "ListPodResourcesRequest": {},
    "ListPodResourcesResponse": {"pod_resources": (1, "PodResources", True)},
    "GetPodResourcesRequest": {"pod_name": (1, _TEXT, False), "pod_namespace": (2, _TEXT, False)},
    "GetPodResourcesResponse": {"pod_resources": (1, "PodResources", False)},
    "PodResources": {
        "name": (1, _TEXT, False),
        "namespace": (2, _TEXT, False),
        "containers": (3, "ContainerResources", True),
    },
    "ContainerResources": {
        "name": (1, _TEXT, False),
        "devices": (2, "ContainerDevices", True),
        "cpu_ids": (3, _NUMBER, True),
    },
    "ContainerDevices": {
        "resource_name": (1, _TEXT, False),
        "device_ids": (2, _TEXT, True),
        "topology": (3, "TopologyInfo", False),
    },
    "TopologyInfo": {"nodes": (1, "NUMANode", True)},
    "NUMANode": {"ID": (1, _NUMBER, False)},
}
"""Message to field to its number, its type or message, and whether it is repeated."""


def _described() -> FileDescriptorProto:
    file = FileDescriptorProto(name="multinic/podresources.proto", package=PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, (number, type_, repeated) in fields.items():
            field = message.field.add(name=field_name, number=number)
            field.label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
            if isinstance(type_, str):
                field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{PACKAGE}.{type_}"
            else:
                field.type = FieldDescriptorProto.Type.ValueType(type_)
    return file


_pool = DescriptorPool()
_pool.Add(_described())


def _class(name: str) -> Any:
    return GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


ListRequest, ListResponse = _class("ListPodResourcesRequest"), _class("ListPodResourcesResponse")
GetRequest, GetResponse = _class("GetPodResourcesRequest"), _class("GetPodResourcesResponse")
