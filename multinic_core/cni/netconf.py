"""The network configuration that a runtime passes to ``multi-nic``, and the ``CNI_ARGS`` beside it.

Source: CNI specification 1.1.0, sections 1 and 2; the keys of type ``multi-nic`` are those of the
NetworkAttachmentDefinitions that Multi-NIC CNI 1.3 wrote, so that both generations serve each other's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_interface
from typing import Any

from pydantic import Field, ValidationError, field_validator

from multinic_core.errors import ConfigError, DecodeError, IncompatibleVersionError
from multinic_core.model.base import JsonModel
from multinic_core.plan import IPInterface, PodReference

SUPPORTED_VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")


class CniArgs(JsonModel):
    """``args.cni``: what the pod's annotation asks of this network (Multus' ``cni-args``)."""

    nics: int | None = Field(default=None, ge=0)
    """Number of NICs; None or 0: all."""
    masters: list[str] = Field(default_factory=list)
    """NICs by name; ``master`` is accepted too, a string or a list."""
    device_class: str = Field(default="", alias="class")
    target: str = ""
    """Bandwidth wanted, such as ``10Gbps``."""
    mac: list[str] = Field(default_factory=list)
    """MAC addresses of the pod's links, in their order; a string is one."""

    @field_validator("mac", mode="before")
    @classmethod
    def _accept_one(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value


class Args(JsonModel):
    cni: CniArgs = Field(default_factory=CniArgs)

    @field_validator("cni", mode="before")
    @classmethod
    def _accept_master(cls, value: object) -> object:
        if isinstance(value, Mapping) and "master" in value and "masters" not in value:
            master = value["master"]
            return {**value, "masters": [master] if isinstance(master, str) else master}
        return value


class ValidAttachment(JsonModel):
    container_id: str = Field(alias="containerID")
    ifname: str


class NetConf(JsonModel):
    """One network configuration of type ``multi-nic``."""

    cni_version: str = "0.3.0"
    name: str = Field(default="", pattern=r"^([a-zA-Z0-9][\w.\-]*)?$")
    type: str = ""
    plugin: dict[str, Any] = Field(default_factory=dict)
    """The main plugin's block; ``type`` names the main plugin."""
    ipam: dict[str, Any] = Field(default_factory=dict)
    subnet: str = ""
    master_nets: list[str] | None = None
    masters: list[str] | None = None
    device_ids: list[str] | None = Field(default=None, alias="deviceIDs")
    device_id: str = Field(default="", alias="deviceID")
    """As Multus adds it for a network with a device plugin's resource."""
    standalone: bool = False
    """Served by the executable itself, never by a daemon."""
    multi_nic_ipam: bool = Field(default=False, alias="multiNICIPAM")
    args: Args = Field(default_factory=Args)
    runtime_config: dict[str, Any] = Field(default_factory=dict)
    prev_result: dict[str, Any] | None = None
    valid_attachments: list[ValidAttachment] | None = Field(default=None, alias="cni.dev/valid-attachments")
    """GC: what is still wanted. None when the key is absent, which is not the same as an empty list."""

    @field_validator("args", "plugin", "ipam", "runtime_config", mode="before")
    @classmethod
    def _null_is_absent(cls, value: object) -> object:
        return {} if value is None else value


def parse_netconf(text: str | bytes) -> NetConf:
    """Read the standard input of a CNI call.

    Raises:
        DecodeError: not JSON, or not an object.
        IncompatibleVersionError: ``cniVersion`` is not one of ``SUPPORTED_VERSIONS``.
        ConfigError: a field has the wrong type; every problem with its path.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise DecodeError(f"network configuration is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise DecodeError(f"network configuration: found a JSON {type(document).__name__}, expected an object")
    version = document.get("cniVersion") or "0.3.0"
    if version not in SUPPORTED_VERSIONS:
        raise IncompatibleVersionError(
            f"cniVersion: found {version!r}, expected one of {', '.join(SUPPORTED_VERSIONS)}"
        )
    if "cni.dev/valid-attachments" not in document and "cni.dev/attachments" in document:
        document["cni.dev/valid-attachments"] = document["cni.dev/attachments"]
    try:
        return NetConf.model_validate({**document, "cniVersion": version})
    except ValidationError as error:
        raise ConfigError(
            *(f"{'.'.join(map(str, e['loc']))}: found {e['input']!r}: {e['msg']}" for e in error.errors())
        ) from error


def parse_cni_args(text: str) -> tuple[PodReference, tuple[IPInterface, ...]]:
    """``CNI_ARGS``: the pod that is meant, and the static addresses asked for (``IP=a/p,b/p``).

    Raises:
        ConfigError: a part is not ``key=value`` or an address is not one.
    """
    values: dict[str, str] = {}
    problems = []
    for part in filter(None, text.split(";")):
        key, separator, value = part.partition("=")
        if not separator:
            problems.append(f"CNI_ARGS: found {part!r}, expected key=value")
        values[key] = value
    addresses: list[IPInterface] = []
    for address in filter(None, values.get("IP", "").split(",")):
        try:
            addresses.append(ip_interface(address.strip()))
        except ValueError:
            problems.append(f"CNI_ARGS: IP: found {address!r}, expected an address such as '192.168.0.1/18'")
    if problems:
        raise ConfigError(*problems)
    pod = PodReference(
        values.get("K8S_POD_NAMESPACE", ""), values.get("K8S_POD_NAME", ""), values.get("K8S_POD_UID", "")
    )
    return pod, tuple(addresses)
