"""One CNI call, read and checked: environment, network configuration and ``CNI_ARGS`` as one frozen value."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_interface
from typing import Any

from multinic_core.cni import NetConf, parse_cni_args, parse_netconf
from multinic_core.errors import (
    ConfigError,
    DecodeError,
    IncompatibleVersionError,
    InvocationError,
    UnsupportedFieldError,
)
from multinic_core.plan import IPInterface, PodReference
from multinic_daemon.calls.request import CniRequest
from multinic_daemon.engine.macs import AskedMacs, read_macs
from multinic_daemon.journal.journal import AttachmentKey

IFNAME_LIMIT = 15
"""Bytes. Source: linux/if.h, IFNAMSIZ less the closing zero."""
CONTAINER_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
"""Source: CNI specification 1.1.0, section 2, ``CNI_CONTAINERID``."""
FIRST_VERSION = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
"""Command to the version of the specification that brought it."""
KEPT_BYTES = 16 << 10
"""Longer network configurations are read anew each time."""
UNSUPPORTED_RUNTIME = ("infinibandGUID", "bandwidth")
"""Keys of ``runtimeConfig`` that ask for what the engine cannot give yet."""
STANDALONE = "standalone: found true, expected a network of this node's daemon; such a one the executable serves itself"


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call that may go on."""

    plugin: str
    command: str
    container_id: str
    netns: str
    ifname: str
    netconf: NetConf
    pod: PodReference
    static: tuple[IPInterface, ...]
    """Addresses that the pod asks for."""
    macs: AskedMacs
    """MAC addresses that it asks for."""
    digest: str
    """Of everything in the call that decides what the attachment is like."""
    path: str = ""
    """``CNI_PATH``."""

    @property
    def key(self) -> AttachmentKey:
        return AttachmentKey(self.plugin, self.netconf.name, self.container_id, self.ifname)


def check_environment(request: CniRequest) -> None:
    """Refuse a wrong ``CNI_*`` environment.

    Raises:
        InvocationError: every fault at once.
    """
    needed = {
        "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
        "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
        "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    }.get(request.command, ())
    values = {"CNI_CONTAINERID": request.container_id, "CNI_NETNS": request.netns, "CNI_IFNAME": request.ifname}
    problems = [f"{variable}: missing" for variable in needed if not values[variable]]
    if request.container_id and not CONTAINER_ID.fullmatch(request.container_id):
        problems.append(
            f"CNI_CONTAINERID: found {request.container_id!r}, expected letters, digits, '_', '.' and '-',"
            " the first a letter or digit"
        )
    if request.ifname and not _is_ifname(request.ifname):
        problems.append(
            f"CNI_IFNAME: found {request.ifname!r}, expected at most {IFNAME_LIMIT} bytes without spaces, '/' and ':'"
        )
    if request.command == "ADD" and _is_own_netns(request.netns):
        problems.append(f"CNI_NETNS: found {request.netns!r}, the node's own network namespace, expected the pod's")
    if problems:
        raise InvocationError("; ".join(problems))


def _is_ifname(ifname: str) -> bool:
    return (
        0 < len(os.fsencode(ifname)) <= IFNAME_LIMIT
        and ifname not in (".", "..")
        and not any(char in "/:" or char.isspace() for char in ifname)
    )


def _is_own_netns(netns: str) -> bool:
    try:
        return bool(netns) and os.path.samestat(os.stat(netns), os.stat("/proc/self/ns/net"))  # noqa: PTH116 -- twice as fast
    except OSError:
        return False  # what is not there is reported by whoever opens it


def read_invocation(request: CniRequest) -> Invocation:
    """The call as a value.

    Raises:
        InvocationError: the environment is wrong.
        DecodeError, IncompatibleVersionError, ConfigError: the network configuration or ``CNI_ARGS`` is.
        UnsupportedFieldError: a field asks for what the engine cannot do.
    """
    check_environment(request)
    netconf = _read_netconf(request.stdin) if len(request.stdin) <= KEPT_BYTES else parse_netconf(request.stdin)
    first = FIRST_VERSION.get(request.command, "")
    if netconf.cni_version < first:  # all versions have one digit per part, so text sorts as versions do
        raise IncompatibleVersionError(
            f"cniVersion: found {netconf.cni_version!r}, which does not allow {request.command};"
            f" expected {first!r} or newer"
        )
    if not netconf.name:
        raise ConfigError("name: missing, expected the name of a network")
    if netconf.standalone:
        raise ConfigError(STANDALONE)
    pod, static = parse_cni_args(request.args)
    if request.command == "ADD":
        _refuse_unsupported(netconf)
    return Invocation(
        request.plugin,
        request.command,
        request.container_id,
        request.netns,
        request.ifname,
        netconf,
        pod,
        tuple(dict.fromkeys((*static, *_runtime_addresses(netconf.runtime_config)))),
        read_macs(netconf, request.args),
        _digest(request),
        request.path,
    )


@lru_cache(maxsize=64)
def _read_netconf(stdin: bytes) -> NetConf:
    """Kept, as pods of a network come with the same text; nobody changes the value."""
    return parse_netconf(stdin)


def read_key(request: CniRequest) -> AttachmentKey:
    """What DEL needs to know, read as tolerantly as can be: a network edited into nonsense must not keep a pod alive.

    Raises:
        InvocationError: the environment does not name an attachment.
        DecodeError: the network configuration is no JSON object.
        ConfigError: it has no name, or is not for a daemon.
    """
    check_environment(request)
    try:
        document = json.loads(request.stdin)
    except ValueError as error:
        raise DecodeError(f"network configuration is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise DecodeError(f"network configuration: found a JSON {type(document).__name__}, expected an object")
    name = document.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"name: found {name!r}, expected the name of a network")
    if document.get("standalone") is True:
        raise ConfigError(STANDALONE)
    return AttachmentKey(request.plugin, name, request.container_id, request.ifname)


def read_pod(request: CniRequest) -> PodReference:
    """The pod that DEL is for, as far as ``CNI_ARGS`` says."""
    try:
        return parse_cni_args(request.args)[0]
    except ConfigError:
        return PodReference()


def _refuse_unsupported(netconf: NetConf) -> None:
    for key in UNSUPPORTED_RUNTIME:
        if netconf.runtime_config.get(key):
            raise UnsupportedFieldError(f"runtimeConfig.{key}: found {netconf.runtime_config[key]!r}, not supported")


def _runtime_addresses(runtime_config: Mapping[str, Any]) -> tuple[IPInterface, ...]:
    """``runtimeConfig.ips``, the capability by which some runtimes pass static addresses."""
    found = runtime_config.get("ips") or []
    try:
        return tuple(ip_interface(address) for address in found)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"runtimeConfig.ips: found {found!r}, expected a list of addresses") from error


def _digest(request: CniRequest) -> str:
    return hashlib.sha256(b"\0".join((request.plugin.encode(), os.fsencode(request.args), request.stdin))).hexdigest()
