"""What networks of whole devices want in the cluster: the names by which a device plugin gives the devices to pods.

For ``mellanox`` the NVIDIA network operator's policy holds the configuration of its device plugin, as JSON text; the
pools in it are what pods ask for. Pure; the operator of multinic reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from multinic_core import ConfigError, NetworkConfig
from multinic_core.args import read_args
from multinic_core.clusterfacts import ClusterFacts
from multinic_core.model import (
    RESOURCE_ANNOTATION,
    JsonModel,
    KubeObject,
    MultiNicNetwork,
    Resource,
    parse_ipam,
)
from multinic_plugin_host_device.args import MellanoxArgs, host_device_args

DEFAULT_PREFIX = "nvidia.com"
"""Of a pool without ``resourcePrefix``. Source: the device plugin as the NVIDIA network operator runs it."""
PREFIX = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
"""Source of both: Kubernetes documentation, names of extended resources."""
ITEMS_IN_MESSAGE = 40
"""Characters of a value that is shown."""


class DevicePlugin(JsonModel):
    config: Any = None
    """JSON text; anything, since others write it."""


class NicClusterPolicySpec(JsonModel):
    sriov_device_plugin: DevicePlugin | None = None


class NicClusterPolicy(KubeObject):
    """How the NVIDIA network operator sets up nodes; of it the SR-IOV device plugin. Source: mellanox.com/v1alpha1."""

    spec: NicClusterPolicySpec = Field(default_factory=NicClusterPolicySpec)


NIC_CLUSTER_POLICIES = Resource(
    NicClusterPolicy, "mellanox.com", "v1alpha1", "NicClusterPolicy", "nicclusterpolicies", namespaced=False
)


def _ipam(network: MultiNicNetwork) -> dict[str, object]:
    try:
        return parse_ipam(network)
    except ConfigError:
        return {}  # told with the network's other faults


def host_device_config(network: MultiNicNetwork) -> NetworkConfig:
    """The configuration of a ``host-device`` network.

    Raises:
        ConfigError: arguments that do not fit.
    """
    args = host_device_args(network.spec.plugin.args or {})
    block = args.model_dump(exclude_unset=True, by_alias=True, exclude={"resource_name"})
    annotations = {RESOURCE_ANNOTATION: args.resource_name} if args.resource_name else {}
    return NetworkConfig({**block, "name": network.name, "ipam": _ipam(network)}, annotations)


def mellanox_config(network: MultiNicNetwork, facts: ClusterFacts) -> NetworkConfig:
    """The configuration of a ``mellanox`` network, which nodes serve as ``host-device``.

    Raises:
        ConfigError: arguments, or a policy that does not say what its pools are called.
    """
    read_args(MellanoxArgs, network.spec.plugin.args or {})
    block = {"type": "host-device", "name": network.name, "ipam": _ipam(network)}
    kind = NIC_CLUSTER_POLICIES.kind
    policies = facts.of(NIC_CLUSTER_POLICIES)
    if policies is None:
        missing = (
            f"the cluster does not serve {kind} ({NIC_CLUSTER_POLICIES.group}); install the NVIDIA network operator,"
            " or use the plugin 'host-device'",
        )
        return NetworkConfig(block, waits=missing if facts.lacks(NIC_CLUSTER_POLICIES) else ())
    if not policies:
        return NetworkConfig(block, waits=(f"there is no {kind}; make one with spec.sriovDevicePlugin.config",))
    policy = policies[0]
    pools = _pools(policy)
    if not pools:
        return NetworkConfig(
            block,
            waits=(
                f"failed to get resource annotation from sriov plugin config: {kind} {policy.name!r} names no pool;"
                " expected at least one with resourceName in resourceList of spec.sriovDevicePlugin.config",
            ),
        )
    return NetworkConfig(block, {RESOURCE_ANNOTATION: ",".join(pools)})


def _pools(policy: NicClusterPolicy) -> list[str]:
    """The pools' full names in the policy's order, each once; [] when the policy sets up no such device plugin.

    Raises:
        ConfigError: the configuration cannot be read, or pools have no proper name; all problems, with their places.
    """
    plugin = policy.spec.sriov_device_plugin
    where = f"{NIC_CLUSTER_POLICIES.kind} {policy.name!r} spec.sriovDevicePlugin.config"
    if plugin is None or plugin.config in (None, ""):
        return []
    items = _items(plugin.config, where)
    problems: list[str] = []
    names: list[str] = []
    for position, item in enumerate(items):
        path = f"{where}.resourceList[{position}]"
        if not isinstance(item, Mapping):
            problems.append(f"{path}: found {_shown(item)}, expected an object with resourceName")
            continue
        prefix, name = item.get("resourcePrefix") or DEFAULT_PREFIX, item.get("resourceName")
        if not isinstance(prefix, str) or not PREFIX.fullmatch(prefix):
            problems.append(f"{path}.resourcePrefix: found {_shown(prefix)}, expected a domain such as 'nvidia.com'")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            problems.append(f"{path}.resourceName: found {_shown(name)}, expected a name such as 'hostdev'")
        names.append(f"{prefix}/{name}")
    if problems:
        raise ConfigError(*problems)
    return list(dict.fromkeys(names))


def _items(config: Any, where: str) -> Sequence[Any]:
    if not isinstance(config, str):
        raise ConfigError(f"{where}: found {_shown(config)}, expected JSON text")
    try:
        read = json.loads(config)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where}: not JSON at line {error.lineno} column {error.colno}: {error.msg}") from error
    if not isinstance(read, Mapping):
        raise ConfigError(f"{where}: found {_shown(read)}, expected an object with resourceList")
    items = read.get("resourceList")
    if items is None:
        return []
    if not isinstance(items, list):
        raise ConfigError(f"{where}.resourceList: found {_shown(items)}, expected a list of pools")
    return items


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= ITEMS_IN_MESSAGE else text[: ITEMS_IN_MESSAGE - 1] + "…"
