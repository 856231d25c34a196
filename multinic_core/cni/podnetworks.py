"""Which networks a pod asks for: annotation ``k8s.v1.cni.cncf.io/networks`` in both of its forms.

Source: the network custom resource de-facto standard 1.3, sections 4.1.1 and 4.1.2, as Multus 4 reads it: text with
any of ``[ { "`` is JSON, anything else a comma list of ``namespace/name@ifname``. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_interface
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from multinic_core.errors import ConfigError

NETWORKS_ANNOTATION = "k8s.v1.cni.cncf.io/networks"
STATUS_ANNOTATION = "k8s.v1.cni.cncf.io/network-status"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_MAC = re.compile(r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}")
MAX_IFNAME = 15
"""Source: IFNAMSIZ, linux/if.h."""


@dataclass(frozen=True, slots=True)
class NetworkSelection:
    """One network asked for, with every default filled in."""

    namespace: str
    name: str
    ifname: str
    ips: tuple[str, ...] = ()
    mac: str = ""
    cni_args: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    """``portMappings``, ``bandwidth`` and ``infinibandGUID``, by capability name."""


class _Element(BaseModel):
    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    name: str = Field(min_length=1)
    namespace: str = ""
    interface: str = ""
    old_interface: str = Field(default="", alias="interfaceRequest")
    ips: list[str] = Field(default_factory=list)
    mac: str = ""
    cni_args: dict[str, Any] | None = Field(default=None, alias="cni-args")
    port_mappings: list[dict[str, Any]] | None = Field(default=None, alias="portMappings")
    bandwidth: dict[str, Any] | None = None
    infiniband_guid: str = Field(default="", alias="infiniband-guid")


def parse_networks(annotation: str, pod_namespace: str) -> tuple[NetworkSelection, ...]:
    """What the annotation asks for, in its order; the k-th network without a name of its own is ``net<k>``, from 1.

    Raises:
        ConfigError: the annotation is malformed; names the element.
    """
    if not annotation.strip():
        return ()
    elements = _parse_json(annotation) if re.search(r'[\[{"]', annotation) else _parse_list(annotation)
    selections = tuple(_selection(element, k, pod_namespace) for k, element in enumerate(elements, 1))
    ifnames = [selection.ifname for selection in selections]
    if repeated := sorted({name for name in ifnames if ifnames.count(name) > 1}):
        raise ConfigError(f"{NETWORKS_ANNOTATION}: interface {repeated[0]!r} is asked for twice")
    return selections


def _parse_json(annotation: str) -> list[_Element]:
    try:
        documents = json.loads(annotation)
    except ValueError as error:
        raise ConfigError(f"{NETWORKS_ANNOTATION}: is not JSON: {error}") from error
    if not isinstance(documents, list):
        raise ConfigError(f"{NETWORKS_ANNOTATION}: found {type(documents).__name__}, expected a list of objects")
    elements = []
    for k, document in enumerate(documents):
        try:
            elements.append(_Element.model_validate(document))
        except ValidationError as error:
            faults = [f"{NETWORKS_ANNOTATION}[{k}].{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise ConfigError(*faults) from error
    return elements


def _parse_list(annotation: str) -> list[_Element]:
    elements = []
    for item in annotation.split(","):
        where, at, interface = item.strip().partition("@")
        namespace, slash, name = where.rpartition("/")
        namespace, name, interface = namespace.strip(), name.strip(), interface.strip()
        wrong = [part for part in (namespace, name) if part and not _LABEL.fullmatch(part)]
        if wrong or not name or (slash and not namespace) or (at and not interface) or "@" in interface:
            raise ConfigError(f"{NETWORKS_ANNOTATION}: found {item.strip()!r}, expected namespace/name@interface")
        elements.append(_Element(name=name, namespace=namespace, interface=interface))
    return elements


def _selection(element: _Element, k: int, pod_namespace: str) -> NetworkSelection:
    where = f"{NETWORKS_ANNOTATION}[{k - 1}]"
    ifname = element.interface or element.old_interface or f"net{k}"
    if len(ifname) > MAX_IFNAME or re.search(r"[\s/]", ifname):
        raise ConfigError(
            f"{where}.interface: found {ifname!r}, expected at most {MAX_IFNAME} characters, no space or /"
        )
    if element.mac and not _MAC.fullmatch(element.mac):
        raise ConfigError(f"{where}.mac: found {element.mac!r}, expected a MAC address")
    for ip in element.ips:
        try:
            ip_interface(ip)
        except ValueError as error:
            raise ConfigError(
                f"{where}.ips: found {ip!r}, expected an address, with or without prefix length"
            ) from error
    capabilities: dict[str, Any] = {}
    if element.port_mappings:
        capabilities["portMappings"] = element.port_mappings
    if element.bandwidth:
        capabilities["bandwidth"] = element.bandwidth
    if element.infiniband_guid:
        capabilities["infinibandGUID"] = element.infiniband_guid
    return NetworkSelection(
        element.namespace or pod_namespace,
        element.name,
        ifname,
        tuple(element.ips),
        element.mac,
        element.cni_args or {},
        capabilities,
    )
